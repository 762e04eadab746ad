/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From a PCI address to a bound VFIO device; see donor.h. */
#include "daemon/keeper/donor.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/pci.h"
#include "daemon/keeper/iommu-ioctl.h"

static int explain_no_node(const struct pci_address *address, struct fault *fault)
{
    char driver[PCI_NAME_MAX];

    if (!pci_exists(address))
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV, "no PCI device %s on this host",
                         address->text);
    pci_driver(address, driver, sizeof(driver));
    if (strcmp(driver, "vfio-pci") == 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "device %s has no VFIO character device: the kernel lacks "
                         "CONFIG_VFIO_DEVICE_CDEV",
                         address->text);
    return fault_set(
        fault, DMABUFD_CODE_INVALID, ENODEV,
        "device %s is bound to %s, not to vfio-pci: 'dmabufctl device bind %s' does it, "
        "or says what stands in the way",
        address->text, *driver ? driver : "no driver", address->text);
}

static int explain_open(const struct pci_address *address, const char *path, int error,
                        struct fault *fault)
{
    if (error == EPERM)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPERM,
                         "opening %s (device %s) needs CAP_SYS_RAWIO", path, address->text);
    return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, error, "cannot open %s (device %s): %s", path,
                     address->text, strerror(error));
}

static int explain_bind(const struct pci_address *address, int error, struct fault *fault)
{
    if (error == EINVAL)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY,
                         "device %s is in use: another process has it bound (see "
                         "/proc/*/fdinfo for vfio-device-syspath)",
                         address->text);
    if (error == EBUSY)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY,
                         "device %s is in use through its VFIO group", address->text);
    if (error == EAGAIN)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY,
                         "device %s is in use: its lock is held", address->text);
    return fault_set(fault, DMABUFD_CODE_BACKEND, error, "cannot bind device %s: %s", address->text,
                     strerror(error));
}

static int bind_one(int iommufd, const char *text, int *ret_fd, uint32_t *ret_device,
                    struct fault *fault)
{
    char name[PCI_NAME_MAX], path[96];
    CLEANUP_FD int fd = -1;
    struct pci_address address;
    int r;

    if (pci_parse(text, &address) < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "'%.32s' is not a PCI address such as 0000:00:04.0", text);
    if (pci_vfio_node(&address, name, sizeof(name)) < 0)
        return explain_no_node(&address, fault);
    if (strncmp(name, PCI_VFIO_NOIOMMU, strlen(PCI_VFIO_NOIOMMU)) != 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "device %s is behind an IOMMU (%s): this version serves physical "
                         "addresses only, of devices without one",
                         address.text, name);
    snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
    fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return explain_open(&address, path, errno, fault);
    r = vfio_device_bind_iommufd(fd, iommufd, ret_device);
    if (r < 0)
        return explain_bind(&address, -r, fault);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Nothing is taken unasked: binding resets a device. But what could be named is told. */
static int explain_none(struct fault *fault)
{
    CLEANUP_FREE struct pci_address *list = NULL;
    char found[160] = "", node[PCI_NAME_MAX];
    size_t count, used = 0;

    if (pci_list(&list, &count) < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                         "no device was named with --device, and this host has no PCI bus");
    for (size_t i = 0; i < count && used < sizeof(found); i++) {
        if (pci_vfio_node(&list[i], node, sizeof(node)) == 0 &&
            strncmp(node, PCI_VFIO_NOIOMMU, strlen(PCI_VFIO_NOIOMMU)) == 0)
            used += (size_t)snprintf(found + used, sizeof(found) - used, "%s %s", used ? "," : "",
                                     list[i].text);
    }
    if (*found)
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                         "no device was named with --device; possible here:%s", found);
    return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                     "no device was named with --device, and none is bound to vfio-pci in no-IOMMU "
                     "mode: 'dmabufctl device list' shows what there is");
}

int donor_bind(int iommufd, const char *const *bdfs, size_t count, int *ret_fd,
               uint32_t *ret_device, size_t *ret_index, struct fault *fault)
{
    int result = 0;

    if (count == 0)
        return explain_none(fault);
    for (size_t i = 0; i < count; i++) {
        struct fault why = { 0 };
        int r = bind_one(iommufd, bdfs[i], ret_fd, ret_device, &why);

        *ret_index = i;
        if (r == 0)
            return 0;
        if (result == -EBUSY && r != -EBUSY)
            continue;
        result = r;
        *fault = why;
    }
    return result;
}
