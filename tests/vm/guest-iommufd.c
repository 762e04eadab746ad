/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of /dev/iommu in the test guest, one function each; see guest.h. */
#include <errno.h>
#include <fcntl.h>
#include <sys/ioctl.h>

#include "tests/vm/guest.h"

static int call(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int iommufd_open(void)
{
    int fd = open("/dev/iommu", O_RDWR | O_CLOEXEC);

    return fd < 0 ? -errno : fd;
}

int ioas_alloc(int iommufd, uint32_t *ret_ioas)
{
    struct abi_iommu_ioas_alloc alloc = { .size = sizeof(alloc) };
    int r = call(iommufd, ABI_IOMMU_IOAS_ALLOC, &alloc);

    if (r == 0)
        *ret_ioas = alloc.out_ioas_id;
    return r;
}

int hwpt_alloc(int iommufd, uint32_t devid, uint32_t pt_id, uint32_t flags, uint32_t *ret_hwpt)
{
    struct abi_iommu_hwpt_alloc alloc = {
        .size = sizeof(alloc),
        .flags = flags,
        .dev_id = devid,
        .pt_id = pt_id,
    };
    int r = call(iommufd, ABI_IOMMU_HWPT_ALLOC, &alloc);

    if (r == 0 && ret_hwpt)
        *ret_hwpt = alloc.out_hwpt_id;
    return r;
}

int iommufd_destroy(int iommufd, uint32_t id)
{
    struct abi_iommu_destroy destroy = { .size = sizeof(destroy), .id = id };

    return call(iommufd, ABI_IOMMU_DESTROY, &destroy);
}

int map_file(int iommufd, uint32_t ioas, int fd, uint64_t start, uint64_t length, uint32_t flags,
             uint64_t *iova)
{
    struct abi_iommu_ioas_map_file map = {
        .size = sizeof(map),
        .flags = flags,
        .ioas_id = ioas,
        .fd = fd,
        .start = start,
        .length = length,
        .iova = flags & ABI_IOMMU_MAP_FIXED_IOVA ? *iova : 0,
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_MAP_FILE, &map);

    if (r == 0)
        *iova = map.iova;
    return r;
}

int map_memory(int iommufd, uint32_t ioas, const void *memory, uint64_t length, uint32_t flags,
               uint64_t *iova)
{
    struct abi_iommu_ioas_map map = {
        .size = sizeof(map),
        .flags = flags,
        .ioas_id = ioas,
        .user_va = (uintptr_t)memory,
        .length = length,
        .iova = flags & ABI_IOMMU_MAP_FIXED_IOVA ? *iova : 0,
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_MAP, &map);

    if (r == 0)
        *iova = map.iova;
    return r;
}

int copy_area(int iommufd, uint32_t ioas, uint64_t src, uint64_t length, uint32_t flags,
              uint64_t *dst)
{
    struct abi_iommu_ioas_copy copy = {
        .size = sizeof(copy),
        .flags = flags,
        .dst_ioas_id = ioas,
        .src_ioas_id = ioas,
        .length = length,
        .dst_iova = flags & ABI_IOMMU_MAP_FIXED_IOVA ? *dst : 0,
        .src_iova = src,
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_COPY, &copy);

    if (r == 0)
        *dst = copy.dst_iova;
    return r;
}

int unmap(int iommufd, uint32_t ioas, uint64_t iova, uint64_t *length)
{
    struct abi_iommu_ioas_unmap arg = {
        .size = sizeof(arg),
        .ioas_id = ioas,
        .iova = iova,
        .length = *length,
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_UNMAP, &arg);

    if (r == 0)
        *length = arg.length;
    return r;
}

int get_pa(int iommufd, uint32_t ioas, uint64_t iova, uint64_t *length, uint64_t *ret_pa)
{
    struct abi_iommu_ioas_noiommu_get_pa arg = {
        .size = sizeof(arg),
        .ioas_id = ioas,
        .iova = iova,
        .length = *length,
    };
    int r = call(iommufd, ABI_IOMMU_IOAS_NOIOMMU_GET_PA, &arg);

    if (r == 0) {
        *length = arg.length;
        *ret_pa = arg.out_phys;
    }
    return r;
}
