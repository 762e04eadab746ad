/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Heap: objects out of buffers. The state that its files share; the calls are in dmabufd.h.
 *
 *   the calls, their fast paths                      heap.c
 *   objects that a thread keeps for itself           heap-cache.c     no lock
 *   slabs: runs of pages cut into equal objects      heap-slab.c      the heap's lock
 *   runs of pages that are contiguous for the device heap-pages.c     the heap's lock
 *   buffers: obtained, given back                    heap-supply.c    takes it off meanwhile
 *   which sizes there are                            heap-classes.c
 *   which run an address lies in                     heap-map.c       no lock to read
 *
 *     buffer    |page|page|page|page|page|page|page|page|page| ...   device memory: only objects
 *     spans     |<--- contiguous for the device --->|<---------- ...
 *     runs      |slab of 4 x 4 KiB  |free     |free |large object ...
 *     run[]      ^0                  ^4        ^6    ^7              ordinary memory
 *
 * Nothing of the heap's own is in the buffers: a device, or another process that holds them, can
 * write what it likes there. Each page of a buffer has a place for the description of a run that
 * begins with it, so making, splitting and joining runs never needs memory and cannot fail.
 *
 * Every object has a byte in its run's description that says whether it is in use. alloc and free
 * come to it anyway, and it is what tells a double free, or a pointer that never was an object.
 *
 * Locks, in the order in which they may be taken: that of all heaps (heap-cache.c), then a heap's.
 * None is held across a question to the daemon.
 */
#ifndef CLIENT_HEAP_H
#define CLIENT_HEAP_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <sys/queue.h>

#include "client/api.h"
#include "client/heap-classes.h"
#include "common/fault.h"

#define HEAP_ALIGNMENT_MAX UINT64_C(2097152)
/** Bins of free runs: each number of pages up to 64, then four to a doubling, to 2^32 pages. */
#define HEAP_BINS_EXACT 64
#define HEAP_BINS       (HEAP_BINS_EXACT + 4 * 26)
#define HEAP_BIN_WORDS  ((HEAP_BINS + 63) / 64)

/** A piece of device memory as a source gives it. */
struct heap_memory {
    void *handle; /* the source's name for it */
    void *data;   /* page-aligned */
    uint64_t size;
    const struct dmabufd_span *spans; /* the source's; as long as the memory */
    size_t span_count;
};

/** Where a heap has its memory from: a connection, or a test. Any thread, several at a time. */
struct heap_source {
    /** Return: 0; or a negative errno, with the reason in @fault. */
    int (*obtain)(void *context, uint64_t size, uint64_t page_size, uint64_t dma_mask,
                  struct heap_memory *ret, struct fault *fault);
    void (*release)(void *context, void *handle);
    void *context;
};

/** What a run is. Anything else is not in the map. */
enum { RUN_FREE = 1, RUN_SLAB, RUN_LARGE };

struct heap_run {
    _Alignas(128) uintptr_t start; /* first page */
    struct dmabufd_heap *heap;
    uint8_t kind;
    uint8_t class; /* of a slab */
    uint8_t shift; /* of a slab's slots */
    bool clean;    /* of a free run: never in use since it came from the source, so zero */
    uint32_t pages;
    union {
        uint64_t dma_addr; /* of the first page, unless it is a slab */
        uint64_t objects;  /* of a slab: slots that objects begin in */
    };
    uint64_t free;                    /* of these, the ones whose objects are in no cache or use */
    struct heap_buffer *buffer;       /* it is a part of */
    LIST_ENTRY(heap_run) entry;       /* bin, or slabs with free objects */
    _Atomic uint8_t used[HEAP_SLOTS]; /* by slot: 1 while the program has the object */
};

LIST_HEAD(heap_runs, heap_run);

struct heap_buffer {
    struct heap_memory memory;
    uintptr_t start;
    uint32_t pages;
    uint32_t free_pages;
    uint64_t largest_span;
    struct heap_run *run;           /* by page: where a run begins */
    LIST_ENTRY(heap_buffer) entry;  /* dmabufd_heap::buffers */
    TAILQ_ENTRY(heap_buffer) empty; /* dmabufd_heap::empties, while all pages are free */
};

struct dmabufd_heap {
    /* Constant. */
    unsigned int slot; /* where threads look for their cache of it */
    uint64_t flags, page_size, dma_mask, grow_by, limit, reserve;
    struct heap_source source;

    /** Goes up when all threads should give back what they keep. */
    _Atomic uint64_t epoch;

    _Alignas(64) pthread_mutex_t lock; /* of everything from here on */
    pthread_cond_t grown;              /* no longer growing */
    bool growing;                      /* a thread is asking the source */
    bool forked;                       /* a copy in a child: nothing may be given out */

    struct heap_runs partial[HEAP_CLASSES]; /* slabs with free objects */
    struct heap_runs bins[HEAP_BINS];       /* free runs */
    uint64_t bins_used[HEAP_BIN_WORDS];

    LIST_HEAD(, heap_buffer) buffers;
    TAILQ_HEAD(heap_empties, heap_buffer) empties; /* the one that was emptied last is first */
    uint64_t held;         /* bytes of the buffers, and of one being obtained */
    uint64_t empty;        /* bytes of the empty ones */
    uint64_t largest_span; /* ever seen, bytes */
    uint32_t buffer_count;

    LIST_HEAD(, heap_cache) caches;
    /* What no cache counts: large objects, caches that are gone. */
    uint64_t allocations, misses, objects, bytes, grows, give_backs;

    LIST_ENTRY(dmabufd_heap) entry; /* of all heaps */
};

/**
 * heap_create() - a heap on a source
 * @options: checked and complete, see dmabufd_heap_create()
 * Return: 0; -EINVAL, -E2BIG: options; -ENOMEM; or what the source answers.
 */
int heap_create(const struct heap_source *source, const struct dmabufd_heap_options *options,
                struct dmabufd_heap **ret, struct fault *fault);

#endif
