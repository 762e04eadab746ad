/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A kernel with iommufd in a few lines; see iommu-kernel.h. */
#include "tests/unit/iommu-kernel.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/kernel-abi.h"
#include "common/pci.h"
#include "daemon/keeper/pages.h"
#include "daemon/keeper/pfn.h"
#include "tests/unit/cmocka-all.h"
#include "tests/unit/support.h"

/* IOVA x is at x + FAR. */
#define FAR UINT64_C(0x100000000)

struct iommu_kernel kernel;

static char sysfs[32];
static size_t fds;

/* ---- the kernel ---- */

int __real_open64(const char *path, int flags, ...);
int __wrap_open64(const char *path, int flags, ...);
int __real_ioctl(int fd, unsigned long request, void *argument);
int __wrap_ioctl(int fd, unsigned long request, void *argument);
int __wrap_pfn_open(int *ret_fd, struct fault *fault);
int __wrap_pfn_resolve(int fd, const void *window, uint64_t length, uint64_t page_size,
                       struct spans *spans, struct fault *fault);

int __wrap_open64(const char *path, int flags, ...)
{
    bool iommu = strcmp(path, "/dev/iommu") == 0;
    int error = iommu ? kernel.open_error : kernel.node_error;
    unsigned int mode = 0;

    if (iommu || strncmp(path, "/dev/vfio/devices/", 18) == 0) {
        if (!error)
            return __real_open64("/dev/null", flags);
        errno = error;
        return -1;
    }
    if (flags & O_CREAT) {
        va_list args;

        va_start(args, flags);
        mode = va_arg(args, unsigned int);
        va_end(args);
    }
    return __real_open64(path, flags, mode);
}

static int map_file(const struct abi_iommu_ioas_map_file *cmd)
{
    struct map map = { cmd->ioas_id, cmd->start, cmd->length, cmd->iova };

    assert_int_equal(cmd->flags,
                     ABI_IOMMU_MAP_FIXED_IOVA | ABI_IOMMU_MAP_READABLE | ABI_IOMMU_MAP_WRITEABLE);
    assert_true(kernel.seen_count < MAPS_MAX && kernel.map_count < MAPS_MAX);
    kernel.seen[kernel.seen_count++] = map;
    if (kernel.map_error)
        return kernel.map_error;
    for (size_t i = 0; i < kernel.map_count; i++) {
        const struct map *other = &kernel.maps[i];

        if (other->ioas == map.ioas && other->iova < map.iova + map.length &&
            map.iova < other->iova + other->length)
            return EEXIST;
    }
    kernel.maps[kernel.map_count++] = map;
    return 0;
}

static int unmap(const struct abi_iommu_ioas_unmap *cmd)
{
    for (size_t i = 0; !kernel.unmap_error && i < kernel.map_count; i++) {
        struct map *map = &kernel.maps[i];

        if (map->ioas == cmd->ioas_id && map->iova == cmd->iova && map->length == cmd->length) {
            *map = kernel.maps[--kernel.map_count];
            return 0;
        }
    }
    return kernel.unmap_error ? kernel.unmap_error : ENOENT;
}

static int get_pa(struct abi_iommu_ioas_noiommu_get_pa *cmd)
{
    for (size_t i = 0; !kernel.get_pa_error && i < kernel.map_count; i++) {
        const struct map *map = &kernel.maps[i];
        uint64_t rest = map->iova + map->length - cmd->iova;

        if (map->ioas != cmd->ioas_id || cmd->iova < map->iova ||
            cmd->iova >= map->iova + map->length)
            continue;
        cmd->out_phys = cmd->iova + FAR + kernel.off_by;
        cmd->length = rest < cmd->length ? rest : cmd->length;
        return 0;
    }
    return kernel.get_pa_error ? kernel.get_pa_error : ENOENT;
}

static int bind_device(struct abi_vfio_device_bind_iommufd *cmd)
{
    kernel.binds++;
    if (kernel.bind_error && (!kernel.binds_refused || kernel.binds <= kernel.binds_refused))
        return kernel.bind_error;
    cmd->out_devid = 77;
    return 0;
}

static int hwpt_alloc(struct abi_iommu_hwpt_alloc *cmd)
{
    assert_int_equal(cmd->dev_id, 77);
    assert_int_equal(cmd->pt_id, kernel.ioas);
    cmd->out_hwpt_id = 100 + ++kernel.hwpts;
    return kernel.hwpt_error;
}

int __wrap_ioctl(int fd, unsigned long request, void *argument)
{
    int error = 0;

    switch (request) {
    case ABI_IOMMU_IOAS_ALLOC:
        ((struct abi_iommu_ioas_alloc *)argument)->out_ioas_id = ++kernel.ioas;
        break;
    case ABI_IOMMU_HWPT_ALLOC:
        error = hwpt_alloc(argument);
        break;
    case ABI_IOMMU_IOAS_MAP_FILE:
        error = map_file(argument);
        break;
    case ABI_IOMMU_IOAS_UNMAP:
        error = unmap(argument);
        break;
    case ABI_IOMMU_IOAS_NOIOMMU_GET_PA:
        error = get_pa(argument);
        break;
    case ABI_VFIO_DEVICE_BIND_IOMMUFD:
        error = bind_device(argument);
        break;
    default:
        return __real_ioctl(fd, request, argument);
    }
    errno = error;
    return error ? -1 : 0;
}

int __wrap_pfn_open(int *ret_fd, struct fault *fault)
{
    if (!kernel.has_frames)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPERM, "no frame numbers");
    *ret_fd = __real_open64("/dev/null", O_RDONLY | O_CLOEXEC);
    return 0;
}

/* The page of the start is the only one mapped then. */
int __wrap_pfn_resolve(int fd, const void *window, uint64_t length, uint64_t page_size,
                       struct spans *spans, struct fault *fault)
{
    (void)fd;
    assert_non_null(window);
    assert_int_equal(length, PAGE_4K);
    assert_int_equal(page_size, PAGE_4K);
    assert_int_equal(kernel.map_count, 1);
    if (kernel.lacks_frame)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EIO, "no frame number for a pinned page");
    return spans_append(spans, kernel.maps[0].iova + FAR, length);
}

/* ---- the daemon's side ---- */

void iommu_shell(const char *command)
{
    char line[512];

    snprintf(line, sizeof(line), "cd %s/bus/pci/devices/" DEVICE " && %s", sysfs, command);
    assert_int_equal(system(line), 0);
}

int iommu_set_up(void **state)
{
    char path[80];

    (void)state;
    memset(&kernel, 0, sizeof(kernel));
    kernel.has_frames = true;
    strcpy(sysfs, "/tmp/dmabufd-pci-XXXXXX");
    assert_non_null(mkdtemp(sysfs));
    snprintf(path, sizeof(path), "mkdir -p %s/bus/pci/devices/" DEVICE, sysfs);
    assert_int_equal(system(path), 0);
    iommu_shell("mkdir -p vfio-dev/noiommu-vfio0 ../../drivers/vfio-pci ../../drivers/nic && "
                "ln -s ../../drivers/vfio-pci driver");
    pci_sysfs = sysfs;
    fds = support_fds();
    return 0;
}

int iommu_tear_down(void **state)
{
    char command[64];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", sysfs);
    assert_int_equal(system(command), 0);
    return support_fds() == fds && kernel.map_count == 0 ? 0 : -1;
}

int iommu_try(const char *name, int (*wait)(void *, struct fault *), struct backend **ret,
              struct fault *fault)
{
    static const char *const devices[] = { DEVICE };
    struct backend_config config = {
        .name = name, .devices = devices, .device_count = 1, .wait = wait
    };

    *fault = (struct fault){ 0 };
    return backend_open(&config, ret, fault);
}

struct backend *iommu_open(void)
{
    struct backend *backend = NULL;
    struct fault fault;

    if (iommu_try("iommufd", NULL, &backend, &fault) < 0)
        fail_msg("%s", fault.text);
    return backend;
}

void iommu_assert_refused(int error, const char *names)
{
    struct backend *backend = NULL;
    struct fault fault;

    assert_int_equal(iommu_try("iommufd", NULL, &backend, &fault), -error);
    assert_null(backend);
    assert_int_equal(fault.error, error);
    assert_ptr_equal(strstr(fault.text, "backend iommufd: "), fault.text);
    if (!strstr(fault.text, names))
        fail_msg("not '%s' but: %s", names, fault.text);
    assert_int_equal(kernel.map_count, 0);
    assert_int_equal(support_fds(), fds);
}

size_t iommu_fds(void)
{
    return fds;
}
