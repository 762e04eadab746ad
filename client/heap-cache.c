/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Caches of threads, their end, and fork(); see heap-cache.h.
 *
 * The lock of all heaps settles which comes first, the end of a thread or that of a heap. A cache
 * whose heap is gone is freed by its thread when it makes the next or ends.
 */
#include "client/heap-cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define LIMIT_FIRST 8

__thread struct heap_cache *heap_cache_places[HEAP_CACHE_PLACES];
static __thread struct heap_cache *mine;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static LIST_HEAD(, dmabufd_heap) heaps = LIST_HEAD_INITIALIZER(heaps);
static unsigned int next_slot;
static pthread_once_t once = PTHREAD_ONCE_INIT;
static int once_result = -ENOSYS; /* until then */
static pthread_key_t key;

static struct dmabufd_heap *heap_of(struct heap_cache *cache)
{
    return atomic_load_explicit(&cache->heap, memory_order_relaxed);
}

static uint64_t read_counter(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* A cache leaves its heap, which keeps its numbers. Both locks are held. */
static void leave(struct heap_cache *cache, struct dmabufd_heap *heap)
{
    heap_cache_flush(cache);
    for (unsigned int i = 0; i < HEAP_CLASSES; i++) {
        struct heap_bin *bin = &cache->bin[i];
        uint64_t objects = read_counter(&bin->allocations) - read_counter(&bin->frees);

        heap->allocations += read_counter(&bin->allocations);
        heap->misses += read_counter(&bin->misses);
        heap->objects += objects;
        heap->bytes += objects * heap_classes[i].size;
    }
    LIST_REMOVE(cache, entry);
    atomic_store_explicit(&cache->heap, NULL, memory_order_relaxed);
}

/* The thread ends. What becomes empty by that is given back by whoever comes next: the daemon is
 * not asked anything here. */
static void at_thread_exit(void *unused)
{
    (void)unused;
    pthread_mutex_lock(&lock);
    for (struct heap_cache *cache = mine; cache; cache = cache->next) {
        struct dmabufd_heap *heap = heap_of(cache);

        if (heap) {
            pthread_mutex_lock(&heap->lock);
            leave(cache, heap);
            pthread_mutex_unlock(&heap->lock);
        }
    }
    pthread_mutex_unlock(&lock);
    memset(heap_cache_places, 0, sizeof(heap_cache_places));
    while (mine) {
        struct heap_cache *next = mine->next;

        free(mine);
        mine = next;
    }
}

static void before_fork(void)
{
    struct dmabufd_heap *heap;

    pthread_mutex_lock(&lock);
    LIST_FOREACH (heap, &heaps, entry)
        pthread_mutex_lock(&heap->lock);
}

static void unlock_all(void)
{
    struct dmabufd_heap *heap;

    LIST_FOREACH (heap, &heaps, entry)
        pthread_mutex_unlock(&heap->lock);
    pthread_mutex_unlock(&lock);
}

/* The memory is the parent's, which goes on giving it out. Without its caches the child comes to
 * the slow path, and there it is told. */
static void in_child(void)
{
    struct dmabufd_heap *heap;

    memset(heap_cache_places, 0, sizeof(heap_cache_places));
    LIST_FOREACH (heap, &heaps, entry) {
        heap->forked = true;
        heap->growing = false;
        pthread_cond_init(&heap->grown, NULL);
    }
    unlock_all();
}

static void prepare(void)
{
    heap_classes_init();
    once_result = -pthread_key_create(&key, at_thread_exit);
    if (once_result == 0)
        once_result = -pthread_atfork(before_fork, unlock_all, in_child);
}

/* When the library is unloaded its code is gone before the threads that used it. */
__attribute__((destructor)) static void forget_threads(void)
{
    if (once_result == 0)
        pthread_key_delete(key);
}

int heap_caches_add(struct dmabufd_heap *heap)
{
    pthread_once(&once, prepare);
    if (once_result < 0)
        return once_result;
    pthread_mutex_lock(&lock);
    heap->slot = next_slot++ % HEAP_CACHE_PLACES;
    LIST_INSERT_HEAD(&heaps, heap, entry);
    pthread_mutex_unlock(&lock);
    return 0;
}

void heap_caches_remove(struct dmabufd_heap *heap)
{
    struct heap_cache *cache;

    pthread_mutex_lock(&lock);
    LIST_REMOVE(heap, entry);
    while ((cache = LIST_FIRST(&heap->caches))) {
        LIST_REMOVE(cache, entry);
        atomic_store_explicit(&cache->heap, NULL, memory_order_relaxed);
    }
    pthread_mutex_unlock(&lock);
}

/* Frees the thread's caches of heaps that are gone. */
static void drop_dead(void)
{
    struct heap_cache **link = &mine;

    while (*link) {
        struct heap_cache *cache = *link;

        if (heap_of(cache)) {
            link = &cache->next;
            continue;
        }
        *link = cache->next;
        for (unsigned int i = 0; i < HEAP_CACHE_PLACES; i++) {
            if (heap_cache_places[i] == cache)
                heap_cache_places[i] = NULL;
        }
        free(cache);
    }
}

/* In a heap that may not grow for ever, a thread must not keep much of it for itself. */
static uint32_t most(const struct dmabufd_heap *heap, unsigned int class)
{
    uint64_t share = heap->limit / 32 / heap_classes[class].size;

    if (!heap->limit || share > heap_classes[class].cache)
        return heap_classes[class].cache;
    return share < 2 ? 2 : (uint32_t)share;
}

static struct heap_cache *create(struct dmabufd_heap *heap)
{
    struct heap_cache *cache;
    size_t objects = 0;

    for (unsigned int i = 0; i < HEAP_CLASSES; i++)
        objects += most(heap, i);
    /* In lines of its own, that no other thread's cache is in. */
    objects = sizeof(*cache) + objects * sizeof(struct heap_object);
    cache = aligned_alloc(64, (objects + 63) & ~(size_t)63);
    if (!cache)
        return NULL;
    memset(cache, 0, sizeof(*cache));
    atomic_init(&cache->heap, heap);
    objects = 0;
    for (unsigned int i = 0; i < HEAP_CLASSES; i++) {
        struct heap_bin *bin = &cache->bin[i];

        bin->max = most(heap, i);
        bin->limit = bin->max < LIMIT_FIRST ? bin->max : LIMIT_FIRST;
        bin->objects = &cache->objects[objects];
        objects += bin->max;
    }
    return cache;
}

struct heap_cache *heap_cache_find(struct dmabufd_heap *heap)
{
    struct heap_cache *cache = heap_cache_mine(heap);

    if (cache)
        return cache;
    if (heap->forked)
        return NULL;
    for (cache = mine; cache; cache = cache->next) {
        if (heap_of(cache) == heap) {
            heap_cache_places[heap->slot] = cache;
            return cache;
        }
    }
    drop_dead();
    if (pthread_setspecific(key, &mine) != 0)
        return NULL;
    cache = create(heap);
    if (!cache)
        return NULL;
    pthread_mutex_lock(&heap->lock);
    cache->epoch = atomic_load_explicit(&heap->epoch, memory_order_relaxed);
    LIST_INSERT_HEAD(&heap->caches, cache, entry);
    pthread_mutex_unlock(&heap->lock);
    cache->next = mine;
    mine = cache;
    heap_cache_places[heap->slot] = cache;
    return cache;
}

static void enlarge(struct heap_bin *bin)
{
    bin->limit = bin->limit * 2 < bin->max ? bin->limit * 2 : bin->max;
}

uint32_t heap_cache_refill(struct heap_cache *cache, unsigned int class)
{
    struct heap_bin *bin = &cache->bin[class];
    uint32_t want = (bin->limit + 1) / 2;

    if (bin->count > 0)
        return bin->count;
    bin->count = slab_take(heap_of(cache), class, bin->objects, want);
    if (bin->count > 0) {
        heap_count(&bin->misses);
        enlarge(bin);
    }
    return bin->count;
}

/* The older half goes: what was used last is what the processor still has at hand. */
void heap_cache_spill(struct heap_cache *cache, unsigned int class)
{
    struct heap_bin *bin = &cache->bin[class];
    uint32_t go = (bin->count + 1) / 2;

    if (bin->limit < bin->max) {
        enlarge(bin);
        return;
    }
    slab_give(heap_of(cache), bin->objects, go);
    bin->count -= go;
    memmove(bin->objects, bin->objects + go, bin->count * sizeof(*bin->objects));
}

void heap_cache_flush(struct heap_cache *cache)
{
    struct dmabufd_heap *heap = heap_of(cache);

    for (unsigned int i = 0; i < HEAP_CLASSES; i++) {
        struct heap_bin *bin = &cache->bin[i];

        slab_give(heap, bin->objects, bin->count);
        bin->count = 0;
        bin->limit = bin->max < LIMIT_FIRST ? bin->max : LIMIT_FIRST;
    }
    cache->epoch = atomic_load_explicit(&heap->epoch, memory_order_relaxed);
}
