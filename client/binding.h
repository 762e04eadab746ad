/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Binding: giving a PCI device to vfio-pci, and back to the driver that it would have without. Writes
 * to sysfs, for which it takes root.
 *
 * Says what stands in the way before it changes anything. Needs no daemon and tells it nothing.
 */
#ifndef CLIENT_BINDING_H
#define CLIENT_BINDING_H

#include <stdbool.h>

#include "common/fault.h"
#include "common/pci.h"

struct binding_options {
    bool force;          /* although the host or a program uses it */
    bool unsafe_noiommu; /* switch vfio.enable_unsafe_noiommu_mode on if that is what it takes */
};

/**
 * binding_take() - bind a device to vfio-pci
 *
 * Return: 1: it is now; 0: it was already; or a negative errno with @fault, and nothing changed.
 */
int binding_take(const struct pci_address *address, const struct binding_options *options,
                 struct fault *fault);

/**
 * binding_give_back() - take it from vfio-pci, and let the kernel choose a driver
 *
 * Refused while a program has the device open, since the kernel would wait for that without end;
 * with force it does wait.
 *
 * Return: 0, or a negative errno with @fault.
 */
int binding_give_back(const struct pci_address *address, const struct binding_options *options,
                      struct fault *fault);

#endif
