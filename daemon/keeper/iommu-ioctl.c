/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ioctls; see iommu-ioctl.h. */
#include "daemon/keeper/iommu-ioctl.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "common/kernel-abi.h"

static int call(int fd, unsigned long request, void *argument)
{
    return ioctl(fd, request, argument) < 0 ? -errno : 0;
}

int iommu_ioas_alloc(int iommufd, uint32_t *ret_ioas)
{
    struct abi_iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
    int r = call(iommufd, ABI_IOMMU_IOAS_ALLOC, &cmd);

    if (r == 0)
        *ret_ioas = cmd.out_ioas_id;
    return r;
}

int iommu_hwpt_alloc(int iommufd, uint32_t device, uint32_t ioas, uint32_t *ret_hwpt)
{
    struct abi_iommu_hwpt_alloc cmd = { .size = sizeof(cmd), .dev_id = device, .pt_id = ioas };
    int r = call(iommufd, ABI_IOMMU_HWPT_ALLOC, &cmd);

    if (r == 0)
        *ret_hwpt = cmd.out_hwpt_id;
    return r;
}

int iommu_ioas_map_file(int iommufd, uint32_t ioas, int fd, uint64_t start, uint64_t length,
                        uint64_t iova)
{
    struct abi_iommu_ioas_map_file cmd = {
        .size = sizeof(cmd),
        .flags = ABI_IOMMU_MAP_FIXED_IOVA | ABI_IOMMU_MAP_READABLE | ABI_IOMMU_MAP_WRITEABLE,
        .ioas_id = ioas,
        .fd = fd,
        .start = start,
        .length = length,
        .iova = iova,
    };

    return call(iommufd, ABI_IOMMU_IOAS_MAP_FILE, &cmd);
}

int iommu_ioas_unmap(int iommufd, uint32_t ioas, uint64_t iova, uint64_t length)
{
    struct abi_iommu_ioas_unmap cmd = {
        .size = sizeof(cmd), .ioas_id = ioas, .iova = iova, .length = length
    };

    return call(iommufd, ABI_IOMMU_IOAS_UNMAP, &cmd);
}

int iommu_ioas_noiommu_get_pa(int iommufd, uint32_t ioas, uint64_t iova, uint64_t length,
                              uint64_t *ret_pa, uint64_t *ret_run)
{
    struct abi_iommu_ioas_noiommu_get_pa cmd = {
        .size = sizeof(cmd), .ioas_id = ioas, .iova = iova, .length = length
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_NOIOMMU_GET_PA, &cmd);

    if (r == 0) {
        *ret_pa = cmd.out_phys;
        *ret_run = cmd.length;
    }
    return r;
}

int vfio_device_bind_iommufd(int device, int iommufd, uint32_t *ret_device)
{
    struct abi_vfio_device_bind_iommufd cmd = { .argsz = sizeof(cmd), .iommufd = iommufd };
    int r = call(device, ABI_VFIO_DEVICE_BIND_IOMMUFD, &cmd);

    if (r == 0)
        *ret_device = cmd.out_devid;
    return r;
}
