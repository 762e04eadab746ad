/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Donor: finding the no-IOMMU VFIO device that is bound for a moment at start so that the domains
 * that hold the pins can be made. Looks in sysfs and opens; maps nothing.
 */
#ifndef KEEPER_DONOR_H
#define KEEPER_DONOR_H

#include <stddef.h>
#include <stdint.h>

#include "common/fault.h"

/**
 * donor_bind() - bind the first usable of some devices to an iommufd context
 * @bdfs: PCI addresses such as "0000:00:04.0" (the domain may be left out)
 * @ret_fd: the device, close-on-exec; closing it unbinds
 * @ret_device: its id in the context
 * @ret_index: which of @bdfs it was
 *
 * Binding resets the device.
 *
 * Return: 0; -EBUSY with @fault (never NULL) if one of them would do but is in use; or a negative
 * errno with what stands in the way of the last one tried. With no @bdfs the sentence lists the
 * devices that could be named.
 */
int donor_bind(int iommufd, const char *const *bdfs, size_t count, int *ret_fd,
               uint32_t *ret_device, size_t *ret_index, struct fault *fault);

#endif
