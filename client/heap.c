/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The calls of a heap; see heap.h. Each begins with what it can do in the calling thread's cache,
 * and goes on under the heap's lock if that is not enough.
 */
#include "client/heap.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/connection.h"
#include "client/heap-cache.h"
#include "client/heap-map.h"
#include "client/heap-pages.h"
#include "client/heap-slab.h"
#include "client/heap-supply.h"
#include "client/last-error.h"

#define likely(condition) __builtin_expect(!!(condition), 1)

#define KNOWN_ALLOC_FLAGS \
    (DMABUFD_HEAP_ALLOC_ZERO | DMABUFD_HEAP_ALLOC_SCATTERED | DMABUFD_HEAP_ALLOC_NO_GROW)
/* The struct as it was in the first version. */
#define STATISTICS_FIRST 88

_Static_assert(sizeof(struct dmabufd_heap_statistics) >= STATISTICS_FIRST, "statistics only grow");

/* An allocation that the cache could not serve. */
struct request {
    uint64_t size;
    uint64_t alignment; /* at least a page, if class is none */
    uint64_t flags;
    unsigned int class; /* HEAP_CLASSES: pages of its own */
    void *pointer;      /* the object */
    bool zero;          /* it is known to be */
};

static int in_child(struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_OK, ENOTCONN,
                     "the heap belongs to the parent of this process: a child makes its own");
}

static bool take_pages(struct dmabufd_heap *heap, struct request *request)
{
    uint64_t pages = (request->size - 1) / HEAP_PAGE + 1;
    struct heap_run *run;

    if (request->flags & DMABUFD_HEAP_ALLOC_SCATTERED)
        run = pages_take_scattered(heap, pages, request->alignment);
    else
        run = pages_take(heap, pages, request->alignment, RUN_LARGE);
    if (!run)
        return false;
    atomic_store_explicit(&run->used[0], 1, memory_order_relaxed);
    heap->objects++;
    heap->bytes += run->pages * HEAP_PAGE;
    request->pointer = (void *)run->start;
    request->zero = run->clean;
    return true;
}

/* From what the heap holds. @cache: NULL if the thread could not have one. */
static bool take(struct dmabufd_heap *heap, struct heap_cache *cache, struct request *request)
{
    struct heap_object object;

    if (request->class < HEAP_CLASSES && cache) {
        if (heap_cache_refill(cache, request->class) == 0)
            return false;
        request->pointer = heap_cache_pop(cache, request->class);
        return true;
    }
    if (request->class == HEAP_CLASSES) {
        if (!take_pages(heap, request))
            return false;
    } else {
        if (slab_take(heap, request->class, &object, 1) == 0)
            return false;
        atomic_store_explicit(object.used, 1, memory_order_relaxed);
        heap->objects++;
        heap->bytes += heap_classes[request->class].size;
        request->pointer = object.pointer;
    }
    heap->allocations++;
    heap->misses++;
    return true;
}

static uint64_t needed(const struct dmabufd_heap *heap, const struct request *request)
{
    uint64_t bytes = request->size;

    if (request->class < HEAP_CLASSES)
        return heap_classes[request->class].size;
    /* Small pages are aligned by chance only: have room to leave some out. */
    if (heap->page_size && heap->page_size < request->alignment)
        bytes += request->alignment;
    return bytes < request->size ? UINT64_MAX : bytes;
}

static int no_span(const struct dmabufd_heap *heap, const struct request *request,
                   const struct heap_buffer *buffer, struct fault *fault)
{
    return fault_set(
        fault, DMABUFD_CODE_OK, ENOSPC,
        "no span has %llu bytes%s%.0llu: the longest that this heap has seen has %llu, "
        "in the last buffer %llu: use larger pages (page_size), or allow several "
        "spans (DMABUFD_HEAP_ALLOC_SCATTERED)",
        (unsigned long long)request->size, request->alignment > HEAP_PAGE ? " aligned to " : "",
        request->alignment > HEAP_PAGE ? (unsigned long long)request->alignment : 0ULL,
        (unsigned long long)heap->largest_span, (unsigned long long)buffer->largest_span);
}

/* Grows the heap for a request. The lock is held. Return: 0: look again; or a negative errno. */
static int grow(struct dmabufd_heap *heap, struct heap_cache *cache, struct request *request,
                struct fault *fault)
{
    struct heap_buffer *buffer;
    int r;

    if (request->flags & DMABUFD_HEAP_ALLOC_NO_GROW)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM,
                         "the heap has no %llu bytes in one piece, and was not to ask for more",
                         (unsigned long long)request->size);
    r = supply_grow(heap, needed(heap, request), &buffer, fault);
    if (r < 0 || !buffer || take(heap, cache, request))
        return r;
    r = no_span(heap, request, buffer, fault);
    supply_return(heap, buffer);
    return r;
}

static int satisfy(struct dmabufd_heap *heap, struct request *request, struct fault *fault)
{
    struct heap_cache *cache = heap_cache_find(heap);
    bool flushed = !cache;
    int r = 0;

    /* It may only not have been in its place. */
    if (cache && request->class < HEAP_CLASSES)
        request->pointer = heap_cache_pop(cache, request->class);
    if (request->pointer)
        return 0;
    pthread_mutex_lock(&heap->lock);
    if (cache && cache->epoch != atomic_load_explicit(&heap->epoch, memory_order_relaxed))
        heap_cache_flush(cache);
    while (!request->pointer && r == 0) {
        if (heap->forked) {
            r = in_child(fault);
        } else if (take(heap, cache, request)) {
            break;
        } else if (!flushed) {
            /* Before asking for more: what threads keep may be what is missing. */
            atomic_fetch_add_explicit(&heap->epoch, 1, memory_order_relaxed);
            heap_cache_flush(cache);
            flushed = true;
        } else {
            r = grow(heap, cache, request, fault);
        }
    }
    pthread_mutex_unlock(&heap->lock);
    return r;
}

static int check_request(uint64_t size, uint64_t alignment, uint64_t flags, struct fault *fault)
{
    if (size == 0)
        return fault_set(fault, DMABUFD_CODE_OK, EINVAL, "an object cannot have 0 bytes");
    if ((alignment & (alignment - 1)) || alignment > HEAP_ALIGNMENT_MAX)
        return fault_set(fault, DMABUFD_CODE_OK, EINVAL,
                         "an alignment of %llu is not a power of two up to %llu",
                         (unsigned long long)alignment, (unsigned long long)HEAP_ALIGNMENT_MAX);
    if (flags & ~(uint64_t)KNOWN_ALLOC_FLAGS)
        return fault_set(fault, DMABUFD_CODE_OK, EINVAL,
                         "flags of an allocation that this library does not know: 0x%llx",
                         (unsigned long long)(flags & ~(uint64_t)KNOWN_ALLOC_FLAGS));
    return 0;
}

__attribute__((noinline)) static void *alloc_slow(struct dmabufd_heap *heap, size_t size,
                                                  size_t alignment, uint64_t flags)
{
    NO_CANCELLATION;
    struct fault *fault = last_error();
    struct request request = {
        .size = size,
        .alignment = alignment > HEAP_PAGE ? alignment : HEAP_PAGE,
        .flags = flags,
        .class = heap_class_of(size, alignment),
    };
    int r = check_request(size, alignment, flags, fault);

    if ((flags & DMABUFD_HEAP_ALLOC_SCATTERED) && size > HEAP_PAGE)
        request.class = HEAP_CLASSES;
    if (r == 0)
        r = satisfy(heap, &request, fault);
    if (r < 0) {
        errno = -r;
        return NULL;
    }
    if ((flags & DMABUFD_HEAP_ALLOC_ZERO) && !request.zero)
        memset(request.pointer, 0, size);
    return request.pointer;
}

/* Out of the thread's cache, or NULL. */
static inline void *alloc_fast(struct dmabufd_heap *heap, size_t size, size_t alignment)
{
    unsigned int class = heap_class_of(size, alignment);
    struct heap_cache *cache = heap_cache_mine(heap);

    return likely(class < HEAP_CLASSES && cache) ? heap_cache_pop(cache, class) : NULL;
}

void *dmabufd_heap_alloc(dmabufd_heap *heap, size_t size, size_t alignment)
{
    void *pointer = alloc_fast(heap, size, alignment);

    return likely(pointer) ? pointer : alloc_slow(heap, size, alignment, 0);
}

void *dmabufd_heap_zalloc(dmabufd_heap *heap, size_t size, size_t alignment)
{
    void *pointer = alloc_fast(heap, size, alignment);

    if (!pointer)
        return alloc_slow(heap, size, alignment, DMABUFD_HEAP_ALLOC_ZERO);
    return memset(pointer, 0, size);
}

void *dmabufd_heap_alloc_with(dmabufd_heap *heap, size_t size, size_t alignment, uint64_t flags)
{
    void *pointer = NULL;

    if (!(flags & ~(uint64_t)KNOWN_ALLOC_FLAGS))
        pointer = alloc_fast(heap, size, alignment);
    if (!pointer)
        return alloc_slow(heap, size, alignment, flags);
    if (flags & DMABUFD_HEAP_ALLOC_ZERO)
        memset(pointer, 0, size);
    return pointer;
}

/* The byte of the object in use that @pointer is; NULL: it is none. */
static inline _Atomic uint8_t *find(const struct dmabufd_heap *heap, const void *pointer,
                                    struct heap_run **ret_run)
{
    uintptr_t address = (uintptr_t)pointer;
    struct heap_run *run = heap_map_get(address);
    _Atomic uint8_t *used = NULL;

    if (__builtin_expect(!run || run->heap != heap, 0))
        return NULL;
    if (likely(run->kind == RUN_SLAB))
        used = slab_slot(run, address);
    else if (run->kind == RUN_LARGE && run->start == address)
        used = &run->used[0];
    if (__builtin_expect(!used || !atomic_load_explicit(used, memory_order_relaxed), 0))
        return NULL;
    *ret_run = run;
    return used;
}

static int refuse(struct dmabufd_heap *heap, const void *pointer, struct fault *fault)
{
    const struct heap_run *run = heap_map_get((uintptr_t)pointer);

    if (!run || run->heap != heap)
        return fault_set(fault, DMABUFD_CODE_OK, EINVAL, "freed what this heap has not allocated");
    return fault_set(fault, DMABUFD_CODE_OK, EINVAL,
                     "freed what is not in use: an object for the second time, or a pointer into "
                     "the middle of one");
}

/* The object goes back to where it is from; the lock is held. */
static void put(struct dmabufd_heap *heap, struct heap_cache *cache, struct heap_run *run,
                struct heap_object *object)
{
    if (run->kind == RUN_LARGE) {
        atomic_store_explicit(object->used, 0, memory_order_relaxed);
        heap->objects--;
        heap->bytes -= run->pages * HEAP_PAGE;
        pages_give(heap, run);
        return;
    }
    if (cache) {
        struct heap_bin *bin = &cache->bin[run->class];

        if (bin->count >= bin->limit)
            heap_cache_spill(cache, run->class);
        heap_cache_push(cache, run->class, object->pointer, object->used);
        return;
    }
    atomic_store_explicit(object->used, 0, memory_order_relaxed);
    heap->objects--;
    heap->bytes -= heap_classes[run->class].size;
    slab_give(heap, object, 1);
}

__attribute__((noinline)) static int free_slow(struct dmabufd_heap *heap, void *pointer)
{
    NO_CANCELLATION;
    struct fault *fault = last_error();
    struct heap_object object = { .pointer = pointer };
    struct heap_cache *cache;
    struct heap_run *run;
    int r = 0;

    if (!pointer)
        return 0;
    cache = heap_cache_find(heap);
    object.used = find(heap, pointer, &run);
    if (cache && object.used && run->kind == RUN_SLAB &&
        heap_cache_push(cache, run->class, pointer, object.used))
        return 0;
    pthread_mutex_lock(&heap->lock);
    if (heap->forked) {
        r = in_child(fault);
    } else if (!(object.used = find(heap, pointer, &run))) {
        r = refuse(heap, pointer, fault);
    } else {
        if (cache && cache->epoch != atomic_load_explicit(&heap->epoch, memory_order_relaxed))
            heap_cache_flush(cache);
        put(heap, cache, run, &object);
        supply_relax(heap, false);
    }
    pthread_mutex_unlock(&heap->lock);
    return r;
}

int dmabufd_heap_free(dmabufd_heap *heap, void *pointer)
{
    struct heap_cache *cache;
    struct heap_run *run;
    _Atomic uint8_t *used = find(heap, pointer, &run);

    if (likely(used && run->kind == RUN_SLAB)) {
        cache = heap_cache_mine(heap);
        if (likely(cache && heap_cache_push(cache, run->class, pointer, used)))
            return 0;
    }
    return free_slow(heap, pointer);
}

size_t dmabufd_heap_usable_size(const dmabufd_heap *heap, const void *pointer)
{
    struct heap_run *run;

    if (!find(heap, pointer, &run))
        return 0;
    return run->kind == RUN_SLAB ? heap_classes[run->class].size : run->pages * HEAP_PAGE;
}

uint64_t dmabufd_heap_trim(dmabufd_heap *heap)
{
    NO_CANCELLATION;
    struct heap_cache *cache = heap_cache_find(heap);
    uint64_t bytes;

    pthread_mutex_lock(&heap->lock);
    atomic_fetch_add_explicit(&heap->epoch, 1, memory_order_relaxed);
    if (cache)
        heap_cache_flush(cache);
    bytes = supply_relax(heap, true);
    pthread_mutex_unlock(&heap->lock);
    return bytes;
}

static uint64_t number(_Atomic uint64_t *counter)
{
    return atomic_load_explicit(counter, memory_order_relaxed);
}

/* Numbers of threads at work are from slightly different moments: never show less than none. */
static uint64_t at_least_none(uint64_t value)
{
    return value > UINT64_MAX / 2 ? 0 : value;
}

int dmabufd_heap_get_statistics(dmabufd_heap *heap, struct dmabufd_heap_statistics *ret)
{
    struct dmabufd_heap_statistics s = { .size = sizeof(s) };
    struct heap_cache *cache;
    uint64_t misses;

    if (ret->size < STATISTICS_FIRST)
        return fault_set(last_error(), DMABUFD_CODE_OK, EINVAL,
                         "set the size of the statistics: use DMABUFD_HEAP_STATISTICS_INIT");
    pthread_mutex_lock(&heap->lock);
    s.objects = heap->objects;
    s.bytes_in_use = heap->bytes;
    s.allocations = heap->allocations;
    misses = heap->misses;
    LIST_FOREACH (cache, &heap->caches, entry) {
        for (unsigned int i = 0; i < HEAP_CLASSES; i++) {
            struct heap_bin *bin = &cache->bin[i];
            uint64_t objects = number(&bin->allocations) - number(&bin->frees);

            s.objects += objects;
            s.bytes_in_use += objects * heap_classes[i].size;
            s.allocations += number(&bin->allocations);
            misses += number(&bin->misses);
        }
    }
    s.objects = at_least_none(s.objects);
    s.bytes_in_use = at_least_none(s.bytes_in_use);
    s.cache_hits = at_least_none(s.allocations - misses);
    s.bytes_held = heap->held;
    s.bytes_empty = heap->empty;
    s.buffers = heap->buffer_count;
    s.largest_span = heap->largest_span;
    s.grows = heap->grows;
    s.give_backs = heap->give_backs;
    pthread_mutex_unlock(&heap->lock);
    s.size = ret->size < sizeof(s) ? ret->size : sizeof(s);
    memcpy(ret, &s, s.size);
    return 0;
}
