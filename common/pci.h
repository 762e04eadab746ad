/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pci: devices as sysfs shows them (Documentation/ABI/testing/sysfs-bus-pci). Looks only; taking a
 * device from one driver and giving it to another is client/binding.c.
 */
#ifndef COMMON_PCI_H
#define COMMON_PCI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PCI_NAME_MAX 64

/** Where a device is: "0000:00:04.0", always in full. */
struct pci_address {
    char text[16];
};

/** Prefix of the character devices that VFIO makes where no IOMMU translates. */
#define PCI_VFIO_NOIOMMU "noiommu-"

/**
 * pci_sysfs - where sysfs is mounted, "/sys". Tests put a tree of their own there.
 */
extern const char *pci_sysfs;

/** pci_parse() - the domain may be left out. Return: 0 or -EINVAL. */
int pci_parse(const char *text, struct pci_address *ret);

/** pci_exists() - whether the host has such a device. */
bool pci_exists(const struct pci_address *address);

/**
 * pci_path() - path of a file in the device's folder
 * @name: relative, "" for the folder itself
 * @path: receives it, or "" if it does not fit, which no file has as its name
 */
void pci_path(const struct pci_address *address, const char *name, char *path, size_t size);

/** pci_driver() - name of the driver it is bound to, "" if none. */
void pci_driver(const struct pci_address *address, char *name, size_t size);

/** pci_number() - a file with one hexadecimal number, such as "vendor". Return: 0 or -ENOENT. */
int pci_number(const struct pci_address *address, const char *name, uint32_t *ret);

/**
 * pci_vfio_node() - name of its VFIO character device, in /dev/vfio/devices
 * Return: 0; -ENOENT: it has none, or its driver is not of VFIO.
 */
int pci_vfio_node(const struct pci_address *address, char *name, size_t size);

/**
 * pci_iommu_group() - number of the group of devices that an IOMMU cannot tell apart
 * @name: receives it; "" if no IOMMU translates for this device. VFIO makes a group of its own for
 *        such a device while it is bound; that is not one.
 */
void pci_iommu_group(const struct pci_address *address, char *name, size_t size);

/**
 * pci_list() - all devices of the host, in the order of their addresses
 * @ret: receives an array of *@count, the caller's to free(3); NULL if there are none
 * Return: 0, -ENOENT: no PCI bus; -ENOMEM.
 */
int pci_list(struct pci_address **ret, size_t *count);

#endif
