/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pinned pages and page tables, as the kernel tells them; see counters.h. */
#include "tests/integration/counters.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE 4096U

int64_t counter_in(const char *file, const char *key)
{
    FILE *f = fopen(file, "re");
    size_t n = strlen(key);
    int64_t value = -1;
    char line[256];

    while (f && value < 0 && fgets(line, sizeof(line), f)) {
        if (strncmp(line, key, n) == 0 && line[n] && strchr(" :\t", line[n]))
            value = strtol(line + n + 1, NULL, 10);
    }
    if (f)
        fclose(f);
    return value;
}

bool counters_refresh(void)
{
    int fd = open("/proc/sys/vm/stat_refresh", O_WRONLY | O_CLOEXEC);
    bool done = fd >= 0 && write(fd, "1", 1) == 1;

    if (fd >= 0)
        close(fd);
    return done;
}

int64_t pinned_pages(void)
{
    int64_t acquired, released;

    counters_refresh();
    acquired = counter_in("/proc/vmstat", "nr_foll_pin_acquired");
    released = counter_in("/proc/vmstat", "nr_foll_pin_released");
    return acquired < 0 || released < 0 ? -1 : acquired - released;
}

int pagemap_entry(pid_t pid, uint64_t address, uint64_t *ret)
{
    char path[64] = "/proc/self/pagemap";
    ssize_t n;
    int fd;

    if (pid)
        snprintf(path, sizeof(path), "/proc/%d/pagemap", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return -errno;
    n = pread(fd, ret, sizeof(*ret), (off_t)(address / PAGE * sizeof(*ret)));
    close(fd);
    return n == (ssize_t)sizeof(*ret) ? 0 : -EIO;
}
