/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Solo: the floor of an allocation. What one process with all privilege does to get memory and
 * addresses of the same quality for itself, with no daemon: a memfd, mapped, pinned by io_uring in
 * pieces of 32 MiB (which allocates and zeroes it), and its frames read from pagemap. It shares no
 * code with the daemon, so that what is slow there does not slow down its yardstick too.
 *
 * There are two ways to small pages: let the pin fault them in, or have fallocate(2) allocate them
 * and then touch them, which is two passes and faster.
 */
#ifndef BENCH_SOLO_H
#define BENCH_SOLO_H

#include <stdint.h>

#include "common/cleanup.h"
#include "common/spans.h"

enum solo_way {
    SOLO_BY_PIN,
    SOLO_BY_FALLOCATE,
};

struct solo {
    int ring;
    int pagemap;
};

/** Pinned memory. */
struct solo_buffer {
    int fd;
    unsigned char *data;
    uint64_t size;
    uint32_t slot; /* first of its pieces in the ring */
    struct spans spans;
};

/** solo_open() - Return: 0; or a negative errno where this process may not do that. */
int solo_open(struct solo *solo);

/** solo_close() - safe to repeat. */
void solo_close(struct solo *solo);

/**
 * solo_allocate() - mapped, pinned, resolved
 * @slot: of the ring, the first of as many as there are pieces
 * Return: 0 or a negative errno.
 */
int solo_allocate(const struct solo *solo, enum solo_way way, uint64_t size, uint64_t page_size,
                  uint32_t slot, struct solo_buffer *ret);

/**
 * solo_resolve() - read the frames of a part again, appending to @spans; whole pages
 * Return: 0 or a negative errno.
 */
int solo_resolve(const struct solo *solo, const struct solo_buffer *buffer, uint64_t offset,
                 uint64_t length, uint64_t page_size, struct spans *spans);

/** solo_free() - the reverse; safe to repeat. */
void solo_free(const struct solo *solo, struct solo_buffer *buffer);

#define CLEANUP_SOLO CLEANUP(solo_close)
/** Not open; solo_close() is allowed on it. */
#define SOLO_NONE                 \
    {                             \
        .ring = -1, .pagemap = -1 \
    }

#endif
