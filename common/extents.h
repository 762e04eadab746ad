/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Extents: hands out ranges of a numeric space (IOVAs in the keeper, virtual addresses in the
 * library), packed towards its low end, and takes them back.
 *
 * Packed, because every far-apart IOVA costs the kernel page tables of its own. It knows nothing of
 * what the numbers mean and is not thread-safe: the owner has a lock.
 */
#ifndef COMMON_EXTENTS_H
#define COMMON_EXTENTS_H

#include <stddef.h>
#include <stdint.h>

struct extent {
    uint64_t start;
    uint64_t length;
};

/** The free ranges, by address, no two touching. */
struct extents {
    struct extent *free;
    size_t count;
    size_t capacity;
    size_t used; /* ranges handed out and not yet given back */
};

/**
 * extents_init() - begin with one free range
 * Return: 0; -EINVAL if the range is empty or wraps; -ENOMEM.
 */
int extents_init(struct extents *extents, uint64_t start, uint64_t length);

/** extents_deinit() - forget everything; allowed on a zeroed struct. */
void extents_deinit(struct extents *extents);

/**
 * extents_take() - the lowest free range that fits
 * @length: in the unit of the space, not 0
 * @alignment: a power of two that the start is a multiple of
 * @ret_start: set on success only
 *
 * Room to give the range back is reserved here, so that extents_give() cannot fail for memory.
 *
 * Return: 0; -EINVAL bad argument; -ENOSPC nothing fits; -ENOMEM.
 */
int extents_take(struct extents *extents, uint64_t length, uint64_t alignment, uint64_t *ret_start);

/**
 * extents_give() - give back exactly what extents_take() returned
 * Return: 0; -EINVAL if the range was not handed out (overlaps a free one, wraps).
 */
int extents_give(struct extents *extents, uint64_t start, uint64_t length);

#endif
