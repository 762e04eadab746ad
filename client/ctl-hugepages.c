/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Huge pages by sysfs; see ctl-hugepages.h. */
#include "client/ctl-hugepages.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/parse.h"

const char *hugepages_sysfs = "/sys";

static int open_file(uint32_t node, uint64_t page_size, const char *name, int flags)
{
    char path[256];
    int n, fd;

    if (node == HUGEPAGES_HOST)
        n = snprintf(path, sizeof(path), "%s/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/%s",
                     hugepages_sysfs, page_size / 1024, name);
    else
        n = snprintf(path, sizeof(path),
                     "%s/devices/system/node/node%" PRIu32 "/hugepages/hugepages-%" PRIu64 "kB/%s",
                     hugepages_sysfs, node, page_size / 1024, name);
    if (n < 0 || (size_t)n >= sizeof(path))
        return -ENAMETOOLONG;
    fd = open(path, flags | O_CLOEXEC);
    return fd < 0 ? -errno : fd;
}

static int read_number(uint32_t node, uint64_t page_size, const char *name, uint64_t *ret)
{
    CLEANUP_FD int fd = open_file(node, page_size, name, O_RDONLY);
    char text[32];
    ssize_t n;

    if (fd < 0)
        return fd;
    n = read(fd, text, sizeof(text) - 1);
    if (n < 0)
        return -errno;
    text[n] = '\0';
    text[strcspn(text, "\n")] = '\0';
    return parse_number(text, 0, UINT64_MAX, ret);
}

int hugepages_read(uint32_t node, uint64_t page_size, struct hugepages *ret)
{
    uint64_t promised = 0;
    int r = read_number(node, page_size, "nr_hugepages", &ret->total);

    if (r == 0)
        r = read_number(node, page_size, "free_hugepages", &ret->free);
    /* Counted for the whole host only. */
    if (r == 0 && node == HUGEPAGES_HOST)
        r = read_number(node, page_size, "resv_hugepages", &promised);
    if (r == 0)
        ret->free -= promised < ret->free ? promised : ret->free;
    return r;
}

int hugepages_set_total(uint32_t node, uint64_t page_size, uint64_t total)
{
    CLEANUP_FD int fd = open_file(node, page_size, "nr_hugepages", O_WRONLY | O_TRUNC);
    char text[24];
    int n;

    if (fd < 0)
        return fd;
    n = snprintf(text, sizeof(text), "%" PRIu64, total);
    return write(fd, text, (size_t)n) < 0 ? -errno : 0;
}
