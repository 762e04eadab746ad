/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * One thin wrapper for each ioctl of /dev/iommu and of a VFIO device that the keeper uses, named
 * after it. Each returns 0 or the negative errno; what that means is the caller's business.
 */
#ifndef KEEPER_IOMMU_IOCTL_H
#define KEEPER_IOMMU_IOCTL_H

#include <stdint.h>

int iommu_ioas_alloc(int iommufd, uint32_t *ret_ioas);
/** A software domain for @ioas while @device is bound: from now on its mappings are pinned. */
int iommu_hwpt_alloc(int iommufd, uint32_t device, uint32_t ioas, uint32_t *ret_hwpt);
/** At exactly @iova, readable and writable for devices. Linux 6.13. */
int iommu_ioas_map_file(int iommufd, uint32_t ioas, int fd, uint64_t start, uint64_t length,
                        uint64_t iova);
int iommu_ioas_unmap(int iommufd, uint32_t ioas, uint64_t iova, uint64_t length);
/** See resolve.h for what @ret_run may be. Linux 7.3. */
int iommu_ioas_noiommu_get_pa(int iommufd, uint32_t ioas, uint64_t iova, uint64_t length,
                              uint64_t *ret_pa, uint64_t *ret_run);
int vfio_device_bind_iommufd(int device, int iommufd, uint32_t *ret_device);

#endif
