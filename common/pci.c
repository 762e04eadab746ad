/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices in sysfs; see pci.h. */
#include "common/pci.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

const char *pci_sysfs = "/sys";

int pci_parse(const char *text, struct pci_address *ret)
{
    unsigned int domain = 0, bus, device, function;
    int used = 0;

    /* sscanf() takes blanks and signs, too. */
    if (text[strspn(text, "0123456789abcdefABCDEF:.")])
        return -EINVAL;
    if (sscanf(text, "%4x:%2x:%2x.%1x%n", &domain, &bus, &device, &function, &used) != 4) {
        domain = 0;
        if (sscanf(text, "%2x:%2x.%1x%n", &bus, &device, &function, &used) != 3)
            return -EINVAL;
    }
    if (text[used] || device > 31 || function > 7)
        return -EINVAL;
    snprintf(ret->text, sizeof(ret->text), "%04x:%02x:%02x.%1x", domain & 0xffff, bus & 0xff,
             device, function);
    return 0;
}

void pci_path(const struct pci_address *address, const char *name, char *path, size_t size)
{
    int n = snprintf(path, size, "%s/bus/pci/devices/%s%s%s", pci_sysfs, address->text,
                     *name ? "/" : "", name);

    if (n < 0 || (size_t)n >= size)
        *path = '\0';
}

bool pci_exists(const struct pci_address *address)
{
    char path[512];

    pci_path(address, "", path, sizeof(path));
    return access(path, F_OK) == 0;
}

/* The last part of a symbolic link, "" if there is none. */
static void link_name(const struct pci_address *address, const char *link, char *name, size_t size)
{
    char path[512], target[512];
    ssize_t n;
    char *slash;

    *name = '\0';
    pci_path(address, link, path, sizeof(path));
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(name, size, "%s", slash ? slash + 1 : target);
}

/* Return: bytes read, without a newline at the end. */
static ssize_t read_attribute(const struct pci_address *address, const char *name, char *text,
                              size_t size)
{
    CLEANUP_FD int fd = -1;
    char path[512];
    ssize_t n;

    pci_path(address, name, path, sizeof(path));
    fd = open(path, O_RDONLY | O_CLOEXEC);
    n = fd < 0 ? -1 : read(fd, text, size - 1);
    if (n < 0)
        return -1;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return n;
}

void pci_driver(const struct pci_address *address, char *name, size_t size)
{
    link_name(address, "driver", name, size);
}

int pci_number(const struct pci_address *address, const char *name, uint32_t *ret)
{
    char text[32], *end;
    unsigned long value;

    if (read_attribute(address, name, text, sizeof(text)) < 0)
        return -ENOENT;
    value = strtoul(text, &end, 16);
    if (end == text || *end)
        return -ENOENT;
    *ret = (uint32_t)value;
    return 0;
}

static int only_entry(const char *path, char *name, size_t size)
{
    struct dirent *entry;
    DIR *dir = opendir(path);
    int r = -ENOENT;

    if (!dir)
        return -ENOENT;
    while (r < 0 && (entry = readdir(dir))) {
        if (entry->d_name[0] == '.')
            continue;
        snprintf(name, size, "%s", entry->d_name);
        r = 0;
    }
    closedir(dir);
    return r;
}

int pci_vfio_node(const struct pci_address *address, char *name, size_t size)
{
    char path[512];

    pci_path(address, "vfio-dev", path, sizeof(path));
    return only_entry(path, name, size);
}

void pci_iommu_group(const struct pci_address *address, char *name, size_t size)
{
    char kind[PCI_NAME_MAX];

    link_name(address, "iommu_group", name, size);
    if (*name && read_attribute(address, "iommu_group/name", kind, sizeof(kind)) > 0 &&
        strcmp(kind, "vfio-noiommu") == 0)
        *name = '\0';
}

static int in_order(const void *a, const void *b)
{
    const struct pci_address *x = a, *y = b;

    return strcmp(x->text, y->text);
}

static int add(struct pci_address **list, size_t *count, const char *name)
{
    struct pci_address address;
    struct pci_address *longer;

    if (pci_parse(name, &address) < 0)
        return 0;
    longer = reallocarray(*list, *count + 1, sizeof(**list));
    if (!longer)
        return -ENOMEM;
    longer[(*count)++] = address;
    *list = longer;
    return 0;
}

int pci_list(struct pci_address **ret, size_t *count)
{
    char path[512];
    struct dirent *entry;
    int r = 0;
    DIR *dir;

    *ret = NULL;
    *count = 0;
    snprintf(path, sizeof(path), "%s/bus/pci/devices", pci_sysfs);
    dir = opendir(path);
    if (!dir)
        return -ENOENT;
    while (r == 0 && (entry = readdir(dir)))
        r = add(ret, count, entry->d_name);
    closedir(dir);
    if (r < 0) {
        free(*ret);
        *ret = NULL;
        return r;
    }
    if (*count > 0)
        qsort(*ret, *count, sizeof(**ret), in_order);
    return 0;
}
