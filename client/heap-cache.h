/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Caches: what a thread keeps of a heap's free objects, so that taking one or giving one back needs
 * nobody else. An object that another thread allocated goes into the cache of the one that frees
 * it, and from there, in batches, back to its slab.
 *
 * A thread finds its caches in a few places of its own, by the number of the heap. A cache belongs
 * to its thread; only its heap's end, which may come first, is written by another.
 */
#ifndef CLIENT_HEAP_CACHE_H
#define CLIENT_HEAP_CACHE_H

#include "client/heap-slab.h"
#include "client/heap.h"

#define HEAP_CACHE_PLACES 8

struct heap_bin {
    uint32_t count;
    uint32_t limit; /* grows with use up to: */
    uint32_t max;
    struct heap_object *objects; /* the one that came last is last */
    /* For statistics: written by the owner only, read by anybody. */
    _Atomic uint64_t allocations, frees, misses;
};

struct heap_cache {
    struct dmabufd_heap *_Atomic heap; /* NULL: the heap is gone */
    uint64_t epoch;                    /* of the heap when this was last given back in full */
    LIST_ENTRY(heap_cache) entry;      /* dmabufd_heap::caches */
    struct heap_cache *next;           /* of the same thread */
    struct heap_bin bin[HEAP_CLASSES];
    struct heap_object objects[];
};

extern __thread struct heap_cache *heap_cache_places[HEAP_CACHE_PLACES];

/** heap_cache_mine() - the calling thread's, or NULL if it is not there or not in its place. */
static inline struct heap_cache *heap_cache_mine(const struct dmabufd_heap *heap)
{
    struct heap_cache *cache = heap_cache_places[heap->slot];

    if (__builtin_expect(!cache || atomic_load_explicit(&cache->heap, memory_order_relaxed) != heap,
                         0))
        return NULL;
    return cache;
}

static inline void heap_count(_Atomic uint64_t *counter)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + 1,
                          memory_order_relaxed);
}

/** heap_cache_pop() - an object, which is in use from now on; NULL: none there. */
static inline void *heap_cache_pop(struct heap_cache *cache, unsigned int class)
{
    struct heap_bin *bin = &cache->bin[class];
    struct heap_object *object;

    if (__builtin_expect(bin->count == 0, 0))
        return NULL;
    object = &bin->objects[--bin->count];
    atomic_store_explicit(object->used, 1, memory_order_relaxed);
    heap_count(&bin->allocations);
    return object->pointer;
}

/** heap_cache_push() - an object that was in use; false: no room. */
static inline bool heap_cache_push(struct heap_cache *cache, unsigned int class, void *pointer,
                                   _Atomic uint8_t *used)
{
    struct heap_bin *bin = &cache->bin[class];
    struct heap_object *object;

    if (__builtin_expect(bin->count >= bin->limit, 0))
        return false;
    atomic_store_explicit(used, 0, memory_order_relaxed);
    object = &bin->objects[bin->count++];
    object->pointer = pointer;
    object->used = used;
    heap_count(&bin->frees);
    return true;
}

/**
 * heap_caches_add() - a heap whose objects may be cached, and that forks have to know of
 * Return: 0 or a negative errno.
 */
int heap_caches_add(struct dmabufd_heap *heap);

/** heap_caches_remove() - the heap ends: all caches of it are empty and nobody's. */
void heap_caches_remove(struct dmabufd_heap *heap);

/** heap_cache_find() - the calling thread's, made if need be; NULL: no memory. No lock held. */
struct heap_cache *heap_cache_find(struct dmabufd_heap *heap);

/** heap_cache_refill() - have objects of a class. The heap's lock is held. Return: how many. */
uint32_t heap_cache_refill(struct heap_cache *cache, unsigned int class);

/** heap_cache_spill() - make room for objects of a class. The heap's lock is held. */
void heap_cache_spill(struct heap_cache *cache, unsigned int class);

/** heap_cache_flush() - give everything back. The heap's lock is held. */
void heap_cache_flush(struct heap_cache *cache);

#endif
