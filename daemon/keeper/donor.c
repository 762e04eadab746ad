/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a PCI address to a bound VFIO device; see donor.h. */
#include "daemon/keeper/donor.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/iommu-ioctl.h"

#define PCI_DEVICES    "/sys/bus/pci/devices"
#define VFIO_CLASS     "/sys/class/vfio-dev"
#define NOIOMMU_PREFIX "noiommu-"

struct bdf {
    char text[16]; /* "0000:00:04.0" */
};

static int parse_bdf(const char *text, struct bdf *bdf)
{
    unsigned int domain = 0, bus, device, function;
    int used = 0;

    if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &used) != 4) {
        domain = 0;
        if (sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &used) != 3)
            return -EINVAL;
    }
    if (text[used] || device > 31 || function > 7)
        return -EINVAL;
    snprintf(bdf->text, sizeof(bdf->text), "%04x:%02x:%02x.%1x", domain & 0xffff, bus & 0xff,
             device, function);
    return 0;
}

/* The last part of a symbolic link in the device's sysfs folder, "" if there is none. */
static void link_name(const struct bdf *bdf, const char *link, char *name, size_t size)
{
    char path[64], target[512];
    ssize_t n;
    char *slash;

    *name = '\0';
    snprintf(path, sizeof(path), PCI_DEVICES "/%s/%s", bdf->text, link);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(name, size, "%s", slash ? slash + 1 : target);
}

/* Name of the VFIO character device of a PCI device. */
static int cdev_name(const struct bdf *bdf, char *name, size_t size)
{
    char path[64];
    struct dirent *entry;
    DIR *dir;
    int r = -ENOENT;

    snprintf(path, sizeof(path), PCI_DEVICES "/%s/vfio-dev", bdf->text);
    dir = opendir(path);
    if (!dir)
        return -errno;
    while (r < 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, size, "%s", entry->d_name);
        r = 0;
    }
    closedir(dir);
    return r;
}

static int explain_no_cdev(const struct bdf *bdf, struct fault *fault)
{
    char path[64], driver[64];

    snprintf(path, sizeof(path), PCI_DEVICES "/%s", bdf->text);
    if (access(path, F_OK) < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV, "no PCI device %s on this host",
                         bdf->text);
    link_name(bdf, "driver", driver, sizeof(driver));
    if (strcmp(driver, "vfio-pci") == 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "device %s has no VFIO character device: the kernel lacks "
                         "CONFIG_VFIO_DEVICE_CDEV",
                         bdf->text);
    return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                     "device %s is bound to %s, not to vfio-pci: enable "
                     "vfio.enable_unsafe_noiommu_mode, write vfio-pci to its driver_override, "
                     "unbind it and write its address to /sys/bus/pci/drivers_probe",
                     bdf->text, *driver ? driver : "no driver");
}

static int explain_open(const struct bdf *bdf, const char *path, int error, struct fault *fault)
{
    if (error == EPERM)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPERM,
                         "opening %s (device %s) needs CAP_SYS_RAWIO", path, bdf->text);
    return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, error, "cannot open %s (device %s): %s", path,
                     bdf->text, strerror(error));
}

static int explain_bind(const struct bdf *bdf, int error, struct fault *fault)
{
    if (error == EINVAL)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY,
                         "device %s is in use: another process has it bound (see "
                         "/proc/*/fdinfo for vfio-device-syspath)",
                         bdf->text);
    if (error == EBUSY)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY,
                         "device %s is in use through its VFIO group", bdf->text);
    return fault_set(fault, DMABUFD_CODE_BACKEND, error, "cannot bind device %s: %s", bdf->text,
                     strerror(error));
}

static int bind_one(int iommufd, const char *text, int *ret_fd, uint32_t *ret_device,
                    struct fault *fault)
{
    char name[64], path[96];
    CLEANUP_FD int fd = -1;
    struct bdf bdf;
    int r;

    if (parse_bdf(text, &bdf) < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "'%.32s' is not a PCI address such as 0000:00:04.0", text);
    if (cdev_name(&bdf, name, sizeof(name)) < 0)
        return explain_no_cdev(&bdf, fault);
    if (strncmp(name, NOIOMMU_PREFIX, strlen(NOIOMMU_PREFIX)) != 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "device %s is behind an IOMMU (%s): this version serves physical "
                         "addresses only, of devices without one",
                         bdf.text, name);
    snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return explain_open(&bdf, path, errno, fault);
    r = vfio_device_bind_iommufd(fd, iommufd, ret_device);
    if (r < 0)
        return explain_bind(&bdf, -r, fault);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Nothing is taken unasked: binding resets a device. But what could be named is told. */
static int explain_none(struct fault *fault)
{
    char found[160] = "";
    struct dirent *entry;
    DIR *dir = opendir(VFIO_CLASS);

    while (dir && (entry = readdir(dir))) {
        char path[sizeof(VFIO_CLASS) + 300], target[512];
        size_t used = strlen(found);
        char *bdf, *end;
        ssize_t n;

        if (strncmp(entry->d_name, NOIOMMU_PREFIX, strlen(NOIOMMU_PREFIX)) != 0)
            continue;
        snprintf(path, sizeof(path), VFIO_CLASS "/%s", entry->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
            continue;
        /* .../0000:00:04.0/vfio-dev/noiommu-vfio0 */
        target[n] = '\0';
        end = strstr(target, "/vfio-dev/");
        if (!end)
            continue;
        *end = '\0';
        bdf = strrchr(target, '/');
        snprintf(found + used, sizeof(found) - used, "%s %s", used ? "," : "", bdf ? bdf + 1 : "");
    }
    if (dir)
        closedir(dir);
    if (*found)
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                         "no device was named with --device; possible here:%s", found);
    return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                     "no device was named with --device, and none is bound to vfio-pci in no-IOMMU "
                     "mode");
}

int donor_bind(int iommufd, const char *const *bdfs, size_t count, int *ret_fd,
               uint32_t *ret_device, size_t *ret_index, struct fault *fault)
{
    int r;

    if (count == 0)
        return explain_none(fault);
    for (size_t i = 0; i < count; i++) {
        r = bind_one(iommufd, bdfs[i], ret_fd, ret_device, fault);
        *ret_index = i;
        if (r == 0)
            break;
    }
    return r;
}
