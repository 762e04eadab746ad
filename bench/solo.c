/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One privileged process on its own; see solo.h. */
#include "bench/solo.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/memfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define SLOTS      16384U
#define PIECE      (UINT64_C(32) << 20)
#define SMALL_PAGE UINT64_C(4096)
#define FRAME_MASK ((UINT64_C(1) << 55) - 1)

int solo_open(struct solo *solo)
{
    struct io_uring_params params = { 0 };
    struct io_uring_rsrc_register table = { .nr = SLOTS, .flags = IORING_RSRC_REGISTER_SPARSE };
    CLEANUP_FD int ring = (int)syscall(SYS_io_uring_setup, 1, &params);
    CLEANUP_FD int pagemap = -1;
    uint64_t entry = 0;

    if (ring < 0 ||
        syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS2, &table, sizeof(table)) < 0)
        return -errno;
    pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    if (pagemap < 0)
        return -errno;
    /* Our own stack is somewhere, unless frame numbers are hidden from us. */
    if (pread(pagemap, &entry, sizeof(entry),
              (off_t)((uintptr_t)&entry / SMALL_PAGE * sizeof(entry))) != sizeof(entry) ||
        !(entry & FRAME_MASK))
        return -EPERM;
    solo->ring = TAKE_FD(ring);
    solo->pagemap = TAKE_FD(pagemap);
    return 0;
}

void solo_close(struct solo *solo)
{
    fd_close(&solo->ring);
    fd_close(&solo->pagemap);
}

static int update(const struct solo *solo, uint32_t slot, void *data, size_t size)
{
    struct iovec iov = { .iov_base = data, .iov_len = size };
    struct io_uring_rsrc_update2 update = { .offset = slot,
                                            .data = (uint64_t)(uintptr_t)&iov,
                                            .nr = 1 };

    return syscall(SYS_io_uring_register, solo->ring, IORING_REGISTER_BUFFERS_UPDATE, &update,
                   sizeof(update)) < 0
               ? -errno
               : 0;
}

/* Huge pages have one frame number that counts, the first. */
static int resolve_huge(const struct solo *solo, const struct solo_buffer *buffer, uint64_t offset,
                        uint64_t length, uint64_t page_size, struct spans *spans)
{
    for (uint64_t end = offset + length; offset < end; offset += page_size) {
        uintptr_t index = (uintptr_t)(buffer->data + offset) / SMALL_PAGE;
        uint64_t entry;

        if (pread(solo->pagemap, &entry, sizeof(entry), (off_t)(index * sizeof(entry))) < 0)
            return -errno;
        if (spans_append(spans, (entry & FRAME_MASK) * SMALL_PAGE, page_size) < 0)
            return -ENOMEM;
    }
    return 0;
}

static int resolve_small(const struct solo *solo, const struct solo_buffer *buffer, uint64_t offset,
                         uint64_t length, struct spans *spans)
{
    static uint64_t entries[PIECE / SMALL_PAGE];
    uintptr_t index = (uintptr_t)(buffer->data + offset) / SMALL_PAGE;
    size_t count = (size_t)(length / SMALL_PAGE);

    if (pread(solo->pagemap, entries, count * sizeof(*entries),
              (off_t)(index * sizeof(*entries))) != (ssize_t)(count * sizeof(*entries)))
        return -EIO;
    for (size_t i = 0; i < count; i++) {
        if (spans_append(spans, (entries[i] & FRAME_MASK) * SMALL_PAGE, SMALL_PAGE) < 0)
            return -ENOMEM;
    }
    return 0;
}

int solo_resolve(const struct solo *solo, const struct solo_buffer *buffer, uint64_t offset,
                 uint64_t length, uint64_t page_size, struct spans *spans)
{
    int r = 0;

    for (uint64_t end = offset + length; r == 0 && offset < end; offset += PIECE) {
        uint64_t part = end - offset < PIECE ? end - offset : PIECE;

        r = page_size > SMALL_PAGE ? resolve_huge(solo, buffer, offset, part, page_size, spans)
                                   : resolve_small(solo, buffer, offset, part, spans);
    }
    return r;
}

/* Touching is by the kernel: it zeroes what fallocate() left as it was. */
static int populate(const struct solo_buffer *buffer, uint64_t offset, uint64_t length)
{
    if (fallocate(buffer->fd, 0, (off_t)offset, (off_t)length) < 0 ||
        madvise(buffer->data + offset, length, MADV_POPULATE_WRITE) < 0)
        return -errno;
    return 0;
}

static int pin_and_resolve(const struct solo *solo, enum solo_way way, struct solo_buffer *buffer,
                           uint64_t page_size)
{
    uint32_t slot = buffer->slot;

    for (uint64_t offset = 0; offset < buffer->size; offset += PIECE) {
        uint64_t rest = buffer->size - offset;
        uint64_t length = rest < PIECE ? rest : PIECE;
        int r = way == SOLO_BY_FALLOCATE ? populate(buffer, offset, length) : 0;

        if (r == 0)
            r = update(solo, slot++, buffer->data + offset, length);
        if (r == 0)
            r = solo_resolve(solo, buffer, offset, length, page_size, &buffer->spans);
        if (r < 0)
            return r;
    }
    return 0;
}

int solo_allocate(const struct solo *solo, enum solo_way way, uint64_t size, uint64_t page_size,
                  uint32_t slot, struct solo_buffer *ret)
{
    unsigned int flags = page_size > SMALL_PAGE ? MFD_HUGETLB | MFD_HUGE_2MB : 0;
    struct solo_buffer buffer = { .size = size, .slot = slot };
    void *data;
    int r;

    buffer.fd = memfd_create("bench", MFD_CLOEXEC | flags);
    if (buffer.fd < 0)
        return -errno;
    if (ftruncate(buffer.fd, (off_t)size) < 0) {
        r = -errno;
        fd_close(&buffer.fd);
        return r;
    }
    data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, buffer.fd, 0);
    if (data == MAP_FAILED) {
        r = -errno;
        fd_close(&buffer.fd);
        return r;
    }
    buffer.data = data;
    r = pin_and_resolve(solo, way, &buffer, page_size);
    if (r < 0) {
        solo_free(solo, &buffer);
        return r;
    }
    *ret = buffer;
    return 0;
}

void solo_free(const struct solo *solo, struct solo_buffer *buffer)
{
    uint32_t slot = buffer->slot;

    if (!buffer->data)
        return;
    for (uint64_t offset = 0; offset < buffer->size; offset += PIECE)
        update(solo, slot++, NULL, 0);
    munmap(buffer->data, buffer->size);
    fd_close(&buffer->fd);
    spans_deinit(&buffer->spans);
    buffer->data = NULL;
}
