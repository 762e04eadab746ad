/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* PCI devices, VFIO and the edu device in the test guest; see guest.h. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tests/vm/guest.h"

#define SYSFS_PCI         "/sys/bus/pci"
#define NOIOMMU_PARAMETER "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode"

enum edu_register {
    EDU_DMA_SOURCE = 0x80,
    EDU_DMA_DESTINATION = 0x88,
    EDU_DMA_COUNT = 0x90,
    EDU_DMA_COMMAND = 0x98,
};

#define EDU_BUFFER        UINT64_C(0x40000)
#define EDU_DMA_RUN       UINT64_C(1)
#define EDU_DMA_TO_MEMORY UINT64_C(2)

static int read_line(const char *path, char *buf, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return -errno;
    n = read(fd, buf, size - 1);
    close(fd);
    if (n < 0)
        return -EIO;
    buf[n] = '\0';
    buf[strcspn(buf, "\n")] = '\0';
    return 0;
}

int pci_attribute(const struct bdf *bdf, const char *name, char *buf, size_t size)
{
    char path[128];

    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/%s", bdf->name, name);
    return read_line(path, buf, size);
}

static uint32_t pci_id(const struct bdf *bdf)
{
    char vendor[16];
    char device[16];

    if (pci_attribute(bdf, "vendor", vendor, sizeof(vendor)) < 0 ||
        pci_attribute(bdf, "device", device, sizeof(device)) < 0)
        return 0;
    return (uint32_t)(strtoul(vendor, NULL, 16) << 16 | strtoul(device, NULL, 16));
}

int pci_find(uint32_t id, unsigned int index, struct bdf *ret_bdf)
{
    struct dirent **entries;
    int n = scandir(SYSFS_PCI "/devices", &entries, NULL, alphasort);
    int r = -ENOENT;

    if (n < 0)
        return -errno;
    for (int i = 0; i < n; i++) {
        struct bdf bdf = { "" };

        snprintf(bdf.name, sizeof(bdf.name), "%.15s", entries[i]->d_name);
        free(entries[i]);
        if (r == 0 || pci_id(&bdf) != id || index-- > 0)
            continue;
        *ret_bdf = bdf;
        r = 0;
    }
    free(entries);
    return r;
}

static bool pci_driver_is(const struct bdf *bdf, const char *driver)
{
    char path[128];
    char target[256];
    ssize_t n;

    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/driver", bdf->name);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    return strcmp(strrchr(target, '/') + 1, driver) == 0;
}

int pci_unbind(const struct bdf *bdf)
{
    char path[128];
    int r;

    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/driver/unbind", bdf->name);
    r = write_file(path, bdf->name);
    return r == -ENOENT ? 0 : r;
}

int pci_bind_vfio(const struct bdf *bdf)
{
    char path[128];
    int r;

    if (pci_driver_is(bdf, "vfio-pci"))
        return 0;
    r = pci_unbind(bdf);
    if (r < 0)
        return r;
    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/driver_override", bdf->name);
    r = write_file(path, "vfio-pci");
    if (r < 0)
        return r;
    return write_file(SYSFS_PCI "/drivers/vfio-pci/bind", bdf->name);
}

int pci_command(const struct bdf *bdf)
{
    char path[128];
    uint16_t value;
    ssize_t n;
    int fd;

    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/config", bdf->name);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = pread(fd, &value, sizeof(value), ABI_PCI_COMMAND);
    close(fd);
    return n == sizeof(value) ? value : -EIO;
}

bool noiommu_mode(bool on)
{
    char was[8] = "";

    read_line(NOIOMMU_PARAMETER, was, sizeof(was));
    write_file(NOIOMMU_PARAMETER, on ? "1" : "0");
    return was[0] == 'Y';
}

int vfio_path(const struct bdf *bdf, char *buf, size_t size)
{
    char path[128];
    struct dirent *entry;
    int r = -ENOENT;
    DIR *dir;

    snprintf(path, sizeof(path), SYSFS_PCI "/devices/%s/vfio-dev", bdf->name);
    dir = opendir(path);
    if (!dir)
        return -errno;
    while ((entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(buf, size, "/dev/vfio/devices/%s", entry->d_name);
        r = 0;
    }
    closedir(dir);
    return r;
}

int vfio_open(const struct bdf *bdf)
{
    char path[300];
    int r = vfio_path(bdf, path, sizeof(path));
    int fd;

    if (r < 0)
        return r;
    fd = open(path, O_RDWR | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int call(int fd, unsigned long request, void *arg)
{
    return ioctl(fd, request, arg) < 0 ? -errno : 0;
}

int vfio_bind(int cdev, int iommufd, uint32_t *ret_devid)
{
    struct abi_vfio_device_bind_iommufd bind = { .argsz = sizeof(bind), .iommufd = iommufd };
    int r = call(cdev, ABI_VFIO_DEVICE_BIND_IOMMUFD, &bind);

    if (r == 0 && ret_devid)
        *ret_devid = bind.out_devid;
    return r;
}

int vfio_attach(int cdev, uint32_t pt_id, uint32_t *ret_hwpt)
{
    struct abi_vfio_device_attach_iommufd_pt attach = { .argsz = sizeof(attach), .pt_id = pt_id };
    int r = call(cdev, ABI_VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach);

    if (r == 0 && ret_hwpt)
        *ret_hwpt = attach.pt_id;
    return r;
}

int vfio_detach(int cdev)
{
    struct abi_vfio_device_detach_iommufd_pt detach = { .argsz = sizeof(detach) };

    return call(cdev, ABI_VFIO_DEVICE_DETACH_IOMMUFD_PT, &detach);
}

int vfio_reset(int cdev)
{
    return call(cdev, ABI_VFIO_DEVICE_RESET, NULL);
}

int vfio_info_flags(int cdev, uint32_t *ret_flags)
{
    struct abi_vfio_device_info info = { .argsz = sizeof(info) };
    int r = call(cdev, ABI_VFIO_DEVICE_GET_INFO, &info);

    if (r == 0)
        *ret_flags = info.flags;
    return r;
}

int vfio_region(int cdev, uint32_t index, uint64_t *ret_offset, uint64_t *ret_size)
{
    struct abi_vfio_region_info info = { .argsz = sizeof(info), .index = index };
    int r = call(cdev, ABI_VFIO_DEVICE_GET_REGION_INFO, &info);

    *ret_offset = info.offset;
    *ret_size = info.size;
    return r;
}

int vfio_command(int cdev, uint16_t *ret_value)
{
    uint64_t offset;
    uint64_t size;
    int r = vfio_region(cdev, ABI_VFIO_PCI_CONFIG_REGION_INDEX, &offset, &size);

    if (r < 0)
        return r;
    if (pread(cdev, ret_value, sizeof(*ret_value), (off_t)(offset + ABI_PCI_COMMAND)) < 0)
        return -errno;
    return 0;
}

int vfio_set_command(int cdev, uint16_t value)
{
    uint64_t offset;
    uint64_t size;
    int r = vfio_region(cdev, ABI_VFIO_PCI_CONFIG_REGION_INDEX, &offset, &size);

    if (r < 0)
        return r;
    if (pwrite(cdev, &value, sizeof(value), (off_t)(offset + ABI_PCI_COMMAND)) < 0)
        return -errno;
    return 0;
}

int vfio_set_bus_master(int cdev, bool on)
{
    unsigned int value;
    uint16_t command;
    int r = vfio_command(cdev, &command);

    if (r < 0)
        return r;
    value = command & ~(unsigned int)ABI_PCI_COMMAND_MASTER;
    return vfio_set_command(cdev, (uint16_t)(on ? value | ABI_PCI_COMMAND_MASTER : value));
}

int edu_init(struct edu *edu, int cdev)
{
    uint64_t offset;
    uint64_t size;
    void *bar;
    int r = vfio_region(cdev, ABI_VFIO_PCI_BAR0_REGION_INDEX, &offset, &size);

    if (r < 0)
        return r;
    bar = mmap(NULL, GUEST_PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, cdev, (off_t)offset);
    if (bar == MAP_FAILED)
        return -errno;
    *edu = (struct edu){ .cdev = cdev, .iommufd = -1, .registers = bar };
    return 0;
}

int edu_open(struct edu *edu, const struct bdf *bdf)
{
    int iommufd = iommufd_open();
    int cdev = vfio_open(bdf);
    int r = iommufd < 0 ? iommufd : cdev < 0 ? cdev : vfio_bind(cdev, iommufd, NULL);

    if (r == 0)
        r = vfio_set_bus_master(cdev, true);
    if (r == 0)
        r = edu_init(edu, cdev);
    if (r == 0) {
        edu->iommufd = iommufd;
        return 0;
    }
    if (cdev >= 0)
        close(cdev);
    if (iommufd >= 0)
        close(iommufd);
    return r;
}

void edu_close(struct edu *edu)
{
    munmap((void *)(uintptr_t)edu->registers, GUEST_PAGE);
    if (edu->iommufd >= 0) {
        close(edu->cdev);
        close(edu->iommufd);
    }
}

static void edu_set(struct edu *edu, enum edu_register reg, uint64_t value)
{
    *(volatile uint64_t *)(edu->registers + reg) = value;
}

int edu_start(struct edu *edu, bool to_memory, uint64_t dma_addr, size_t length)
{
    /* More would make the emulator stop with an error, and the guest with it. */
    if (length == 0 || length > EDU_TRANSFER_MAX)
        return -EINVAL;
    edu_set(edu, EDU_DMA_SOURCE, to_memory ? EDU_BUFFER : dma_addr);
    edu_set(edu, EDU_DMA_DESTINATION, to_memory ? dma_addr : EDU_BUFFER);
    edu_set(edu, EDU_DMA_COUNT, length);
    edu_set(edu, EDU_DMA_COMMAND, EDU_DMA_RUN | (to_memory ? EDU_DMA_TO_MEMORY : 0));
    return 0;
}

int edu_wait(struct edu *edu)
{
    const struct timespec pause = { .tv_nsec = 2000000 };

    for (int i = 0; i < 10000; i++) {
        if (!(*(volatile uint64_t *)(edu->registers + EDU_DMA_COMMAND) & EDU_DMA_RUN))
            return 0;
        nanosleep(&pause, NULL);
    }
    return -ETIMEDOUT;
}

static int edu_transfer(struct edu *edu, bool to_memory, uint64_t dma_addr, size_t length)
{
    int r = edu_start(edu, to_memory, dma_addr, length);

    return r < 0 ? r : edu_wait(edu);
}

int edu_copy(struct edu *edu, uint64_t dma_src, uint64_t dma_dst, size_t length)
{
    for (size_t done = 0; done < length;) {
        size_t n = length - done < EDU_TRANSFER_MAX ? length - done : EDU_TRANSFER_MAX;
        int r = edu_transfer(edu, false, dma_src + done, n);

        if (r == 0)
            r = edu_transfer(edu, true, dma_dst + done, n);
        if (r < 0)
            return r;
        done += n;
    }
    return 0;
}
