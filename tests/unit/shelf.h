/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Shelf: a pool (daemon/keeper/pool.h) with one set, and ready buffers that have addresses but no memory.
 * Addresses and sizes in pages of 2 MiB.
 */
#ifndef UNIT_SHELF_H
#define UNIT_SHELF_H

#include "daemon/keeper/choice.h"
#include "daemon/keeper/pool.h"

#define SHELF_MAX 512U

/** Where a buffer is: @count pages from @page on. */
struct shelf_span {
    uint64_t page;
    uint64_t count;
};

struct shelf {
    struct pool pool;
    struct pool_set set;
    struct buffer *buffers[SHELF_MAX]; /* in the order in which they came */
    size_t count;
};

/** shelf_begin() - an empty one, of pages of this size, bytes. */
void shelf_begin(struct shelf *shelf, uint64_t page_size);

/** shelf_put() - a ready buffer in one span. */
struct buffer *shelf_put(struct shelf *shelf, uint64_t page, uint64_t count);

/** shelf_put_spans() - one in several, none of which follows the one before it. */
struct buffer *shelf_put_spans(struct shelf *shelf, const struct shelf_span *spans, size_t count);

/** shelf_end() - all of them away. Return: whether the pool is as it was before. */
bool shelf_end(struct shelf *shelf);

/** shelf_page() - where the buffer begins. */
uint64_t shelf_page(const struct buffer *buffer);

#endif
