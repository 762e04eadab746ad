/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading /proc/self/pagemap; see pfn.h. */
#include "daemon/keeper/pfn.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/pages.h"

#define PRESENT    (UINT64_C(1) << 63)
#define SWAPPED    (UINT64_C(1) << 62) /* also: being migrated */
#define FRAME_MASK ((UINT64_C(1) << 55) - 1)

/* Entries read at once. */
#define BATCH 512U

static int read_entries(int fd, uintptr_t address, uint64_t *entries, size_t count)
{
    off_t at = (off_t)(address / PAGE_4K * sizeof(*entries));
    ssize_t n = pread(fd, entries, count * sizeof(*entries), at);

    if (n < 0)
        return -errno;
    return (size_t)n == count * sizeof(*entries) ? 0 : -EIO;
}

int pfn_open(int *ret_fd, struct fault *fault)
{
    CLEANUP_FD int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    volatile unsigned char *page;
    uint64_t entry = 0;
    int r;

    if (fd < 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, errno,
                         "cannot open /proc/self/pagemap: %s", strerror(errno));
    page = mmap(NULL, PAGE_4K, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, errno, "out of memory");
    page[0] = 1;
    r = read_entries(fd, (uintptr_t)page, &entry, 1);
    munmap((void *)page, PAGE_4K);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, -r, "cannot read /proc/self/pagemap: %s",
                         strerror(-r));
    if (!(entry & FRAME_MASK))
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPERM,
                         "/proc/self/pagemap shows no frame numbers: start dmabufd as root or with "
                         "CAP_SYS_ADMIN");
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int append(uint64_t entry, uint64_t length, struct spans *spans, struct fault *fault)
{
    int r;

    if (!(entry & PRESENT) || (entry & SWAPPED) || !(entry & FRAME_MASK))
        return fault_set(
            fault, DMABUFD_CODE_BACKEND, EIO,
            "/proc/self/pagemap has no frame number for a pinned page (entry bits %#x)",
            (unsigned int)(entry >> 55));
    r = spans_append(spans, (entry & FRAME_MASK) * PAGE_4K, length);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r,
                         "the daemon has no memory for the scatter list");
    return 0;
}

int pfn_resolve(int fd, const void *window, uint64_t length, uint64_t page_size,
                struct spans *spans, struct fault *fault)
{
    uintptr_t address = (uintptr_t)window;
    uint64_t entries[BATCH];

    while (length > 0) {
        size_t count = 1;
        int r;

        if (page_size == PAGE_4K)
            count = length / PAGE_4K < BATCH ? (size_t)(length / PAGE_4K) : BATCH;
        r = read_entries(fd, address, entries, count);
        if (r < 0)
            return fault_set(fault, DMABUFD_CODE_BACKEND, -r, "cannot read /proc/self/pagemap: %s",
                             strerror(-r));
        for (size_t i = 0; r == 0 && i < count; i++)
            r = append(entries[i], page_size, spans, fault);
        if (r < 0)
            return r;
        address += count * page_size;
        length -= count * page_size;
    }
    return 0;
}
