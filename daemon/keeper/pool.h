/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pool: huge pages that are held ready, as finished buffers that nobody holds: pinned, resolved, zeroed.
 * A set of them for each size of huge page and NUMA node, sorted by address, so that what is
 * physically adjacent is known.
 *
 * Bookkeeping only: choice.h says which of them meet a request, refill.h makes more. What has left it
 * never comes back: a client may have kept it. Main thread only.
 */
#ifndef KEEPER_POOL_H
#define KEEPER_POOL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/keeper/buffer.h"
#include "daemon/keeper/nodes.h"
#include "proto/limits.h"

/** A span of a ready buffer. */
struct pool_piece {
    uint64_t dma_addr;
    uint64_t length;
    uint64_t size; /* of the buffer, bytes; the same as length: the buffer is this one span */
    struct buffer *buffer;
};

/** Pieces that touch: one run of memory. */
struct pool_run {
    size_t first; /* index of a piece */
    size_t count;
    uint64_t length; /* bytes */
};

/** Ready buffers are files of 2 MiB << i, no others; of pages of 1 GiB only the last. */
struct pool_set {
    uint64_t page_size;
    uint32_t node;
    uint64_t target; /* bytes that are to be ready */
    uint64_t ready;  /* bytes that are */
    struct pool_piece *pieces;
    size_t count;
    size_t capacity;
    uint32_t files[PROTO_POOL_CLASSES];
    uint64_t grants;
    uint64_t misses;
    /* What refill.c is about. */
    uint64_t refilled; /* bytes, since the start */
    uint64_t making;   /* bytes, in jobs at work */
    uint32_t making_files[PROTO_POOL_CLASSES];
    uint32_t jobs;
    uint64_t leaving;   /* bytes, on their way back to the kernel */
    uint32_t held_back; /* builds for which it gave up pages, not to be taken from them */
    int wanted;         /* class for which smaller files were let go of; -1: none */
    unsigned int bound; /* larger classes were tried in vain lately */
    bool starved;       /* the smallest too */
    bool settled;       /* do not try for another mix: what there is was tried */
    bool complete;      /* was, since the target was set */
    bool told;          /* the log why it cannot be filled, since something was made */
};

struct pool {
    struct pool_set *sets;
    uint32_t set_count;
    uint32_t files; /* ready or being made */
    uint32_t files_max;
    uint64_t top; /* end of the host's memory, an address; 0: not known */
};

/**
 * pool_init() - empty sets, for what the host has
 * @files_max: descriptors that may be spent on it
 * Return: 0 or -ENOMEM.
 */
int pool_init(struct pool *pool, const struct nodes *nodes, uint32_t files_max);

/** pool_deinit() - of an empty pool; allowed on a zeroed struct. */
void pool_deinit(struct pool *pool);

/** pool_find() - the set of such pages, or NULL. */
struct pool_set *pool_find(const struct pool *pool, uint64_t page_size, uint32_t node);

/** pool_class() - i for 2 MiB << i; -1 for a size that no file of the pool has. */
int pool_class(uint64_t size);

/** pool_class_size() - and back, bytes. */
static inline uint64_t pool_class_size(unsigned int class)
{
    return PAGE_2M << class;
}

/**
 * pool_mix() - how many files of each size a set of @target bytes has
 *
 * The same number of bytes in each size that fits into its share, largest first; what is left over in
 * the smallest.
 */
void pool_mix(uint64_t page_size, uint64_t target, uint32_t ret[PROTO_POOL_CLASSES]);

/**
 * pool_add() - a finished buffer, which has kept its list of spans, is ready
 * Return: 0 or -ENOMEM.
 */
int pool_add(struct pool *pool, struct pool_set *set, struct buffer *buffer);

/** pool_remove() - it is the caller's. */
void pool_remove(struct pool *pool, struct pool_set *set, struct buffer *buffer);

/** pool_remove_all() - several of them at once: in one pass over the set. */
void pool_remove_all(struct pool *pool, struct pool_set *set, struct buffer *const *buffers,
                     size_t count);

/**
 * pool_next_run() - walk the runs by address
 * @at: 0 to begin
 * @whole: only pieces that are a whole buffer, and whose addresses are all below or at @mask, make runs
 * Return: whether there was one.
 */
bool pool_next_run(const struct pool_set *set, size_t *at, bool whole, uint64_t mask,
                   struct pool_run *ret);

#endif
