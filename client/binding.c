/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From one driver to another; see binding.h. */
#include "client/binding.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "client/usage.h"
#include "common/cleanup.h"

#define VFIO_PCI     "vfio-pci"
#define CLASS_BRIDGE 0x06U

static int write_text(const char *path, const char *text)
{
    CLEANUP_FD int fd = open(path, O_WRONLY | O_CLOEXEC);

    if (fd < 0 || write(fd, text, strlen(text)) < 0)
        return -errno;
    return 0;
}

/* @name: relative to sysfs. */
static int write_sysfs(const char *name, const char *text)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/%s", pci_sysfs, name);
    return write_text(path, text);
}

static int write_attribute(const struct pci_address *address, const char *name, const char *text)
{
    char path[PATH_MAX];

    pci_path(address, name, path, sizeof(path));
    return write_text(path, text);
}

static bool noiommu_mode(bool *exists)
{
    char path[PATH_MAX], value = 'N';
    CLEANUP_FD int fd = -1;

    snprintf(path, sizeof(path), "%s/module/vfio/parameters/enable_unsafe_noiommu_mode", pci_sysfs);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    *exists = fd >= 0;
    return fd >= 0 && read(fd, &value, 1) == 1 && value == 'Y';
}

static int check_kind(const struct pci_address *address, struct fault *fault)
{
    uint32_t class = 0;

    if (!pci_exists(address))
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                         "no PCI device %s on this host: 'dmabufctl device list' shows them",
                         address->text);
    if (pci_number(address, "class", &class) == 0 && class >> 16 == CLASS_BRIDGE)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "%s is a bridge: only the devices behind it can be driven from outside "
                         "of the kernel",
                         address->text);
    return 0;
}

static int check_vfio(struct fault *fault)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/bus/pci/drivers/" VFIO_PCI, pci_sysfs);
    if (access(path, F_OK) == 0)
        return 0;
    return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, ENODEV,
                     "the driver vfio-pci is not there: try 'modprobe vfio-pci'; if it does not "
                     "exist, the kernel lacks CONFIG_VFIO_PCI");
}

/* Behind an IOMMU, devices of one group go together or not at all. */
static int check_group(const struct pci_address *address, const char *group, struct fault *fault)
{
    char path[PATH_MAX], driver[PCI_NAME_MAX];
    struct pci_address other;
    struct dirent *entry;
    uint32_t class;
    int r = 0;
    DIR *dir;

    snprintf(path, sizeof(path), "%s/kernel/iommu_groups/%s/devices", pci_sysfs, group);
    dir = opendir(path);
    while (dir && r == 0 && (entry = readdir(dir))) {
        if (pci_parse(entry->d_name, &other) < 0 || strcmp(other.text, address->text) == 0)
            continue;
        pci_driver(&other, driver, sizeof(driver));
        if (!*driver || strcmp(driver, VFIO_PCI) == 0 ||
            (pci_number(&other, "class", &class) == 0 && class >> 16 == CLASS_BRIDGE))
            continue;
        r = fault_set(fault, DMABUFD_CODE_INVALID, EBUSY,
                      "%s shares IOMMU group %s with %s, which has the driver %s: the IOMMU cannot "
                      "tell them apart, so that one must be bound to vfio-pci first, or to nothing",
                      address->text, group, other.text, driver);
    }
    if (dir)
        closedir(dir);
    return r;
}

/* Without an IOMMU, VFIO takes a device only in a mode that says what it is. */
static int check_noiommu(const struct pci_address *address, const struct binding_options *options,
                         struct fault *fault)
{
    bool exists;
    int r;

    if (noiommu_mode(&exists))
        return 0;
    if (!exists)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "no IOMMU translates for %s, and this kernel has no mode for that: it "
                         "lacks CONFIG_VFIO_NOIOMMU",
                         address->text);
    if (!options->unsafe_noiommu)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPERM,
                         "no IOMMU translates for %s: whoever drives it can read and write all "
                         "memory. If that is meant, add --unsafe-noiommu, or write Y to "
                         "/sys/module/vfio/parameters/enable_unsafe_noiommu_mode; it taints the "
                         "kernel",
                         address->text);
    r = write_sysfs("module/vfio/parameters/enable_unsafe_noiommu_mode", "Y");
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, -r,
                         "cannot switch vfio.enable_unsafe_noiommu_mode on: %s", strerror(-r));
    return 0;
}

static int check_usage(const struct pci_address *address, const char *driver,
                       const struct binding_options *options, struct fault *fault)
{
    char uses[160];

    if (options->force || !usage_by_host(address, uses, sizeof(uses)))
        return 0;
    return fault_set(
        fault, DMABUFD_CODE_INVALID, EBUSY,
        "%s is in use by this host through its driver %s: %s. Stop that first; --force "
        "takes it away all the same",
        address->text, driver, uses);
}

static int refuse_write(const struct pci_address *address, int error, struct fault *fault)
{
    if (error == EACCES || error == EPERM)
        return fault_set(fault, DMABUFD_CODE_INVALID, error,
                         "only root may change the driver of %s", address->text);
    return fault_set(fault, DMABUFD_CODE_INVALID, error, "cannot change the driver of %s: %s",
                     address->text, strerror(error));
}

static int leave_driver(const struct pci_address *address)
{
    int r = write_attribute(address, "driver/unbind", address->text);

    return r == -ENOENT ? 0 : r; /* it had none */
}

/* Let the kernel choose: vfio-pci with the override, the usual driver without. */
static void probe(const struct pci_address *address, const char *override)
{
    write_attribute(address, "driver_override", override);
    write_sysfs("bus/pci/drivers_probe", address->text);
}

static int change(const struct pci_address *address, const char *old, struct fault *fault)
{
    char driver[PCI_NAME_MAX];
    int r = write_attribute(address, "driver_override", VFIO_PCI);

    if (r < 0)
        return refuse_write(address, -r, fault);
    r = leave_driver(address);
    if (r == 0)
        r = write_sysfs("bus/pci/drivers/" VFIO_PCI "/bind", address->text);
    pci_driver(address, driver, sizeof(driver));
    if (strcmp(driver, VFIO_PCI) == 0)
        return 1;
    probe(address, "\n");
    return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, r < 0 ? -r : ENODEV,
                     "vfio-pci did not take %s (%s): the kernel's log may tell more. It has %s "
                     "again",
                     address->text, strerror(r < 0 ? -r : ENODEV), *old ? old : "no driver");
}

int binding_take(const struct pci_address *address, const struct binding_options *options,
                 struct fault *fault)
{
    char driver[PCI_NAME_MAX], group[PCI_NAME_MAX];
    int r = check_kind(address, fault);

    if (r < 0)
        return r;
    pci_driver(address, driver, sizeof(driver));
    if (strcmp(driver, VFIO_PCI) == 0)
        return 0;
    r = check_vfio(fault);
    if (r == 0)
        r = check_usage(address, driver, options, fault);
    if (r < 0)
        return r;
    pci_iommu_group(address, group, sizeof(group));
    r = *group ? check_group(address, group, fault) : check_noiommu(address, options, fault);
    return r < 0 ? r : change(address, driver, fault);
}

int binding_give_back(const struct pci_address *address, const struct binding_options *options,
                      struct fault *fault)
{
    char driver[PCI_NAME_MAX], node[PCI_NAME_MAX], uses[160];
    int r = check_kind(address, fault);

    if (r < 0)
        return r;
    pci_driver(address, driver, sizeof(driver));
    if (strcmp(driver, VFIO_PCI) != 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, ENODEV,
                         "%s is not bound to vfio-pci but to %s", address->text,
                         *driver ? driver : "no driver");
    if (!options->force && pci_vfio_node(address, node, sizeof(node)) == 0 &&
        usage_by_programs(node, uses, sizeof(uses)))
        return fault_set(fault, DMABUFD_CODE_INVALID, EBUSY,
                         "%s is driven by %s: end that first; with --force this command waits for "
                         "it",
                         address->text, uses);
    r = write_attribute(address, "driver_override", "\n");
    if (r == 0)
        r = leave_driver(address);
    if (r < 0)
        return refuse_write(address, -r, fault);
    probe(address, "\n");
    return 0;
}
