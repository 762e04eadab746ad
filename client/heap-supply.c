/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Growing and giving back; see heap-supply.h. */
#include "client/heap-supply.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "client/heap-map.h"
#include "client/heap-pages.h"
#include "client/last-error.h"

#define MIB UINT64_C(1048576)
/* Without an own wish of the program: an eighth of what there is, so that neither a small heap has
 * much too much nor a large one thousands of buffers. */
#define STEP_MIN (2 * MIB)
#define STEP_MAX (256 * MIB)

/* What unwinds, or did in the end succeed, leaves the last error as it was. */
static void release(struct dmabufd_heap *heap, void *handle)
{
    struct fault before = *last_error();

    heap->source.release(heap->source.context, handle);
    *last_error() = before;
}

static uint64_t round_up(uint64_t size, uint64_t unit)
{
    return (size + unit - 1) / unit * unit;
}

static uint64_t unit_of(const struct dmabufd_heap *heap)
{
    return heap->page_size ? heap->page_size : STEP_MIN;
}

static uint64_t step(const struct dmabufd_heap *heap)
{
    uint64_t bytes = heap->grow_by;

    if (!bytes) {
        bytes = heap->held / 8 / STEP_MIN * STEP_MIN;
        bytes = bytes < STEP_MIN ? STEP_MIN : bytes;
        bytes = bytes > STEP_MAX ? STEP_MAX : bytes;
    }
    return round_up(bytes, unit_of(heap));
}

static uint64_t run_bytes(const struct heap_buffer *buffer)
{
    return (uint64_t)buffer->pages * sizeof(struct heap_run);
}

static void buffer_forget(struct heap_buffer *buffer)
{
    if (buffer->run)
        munmap(buffer->run, run_bytes(buffer));
    free(buffer);
}

/* The heap's record of memory that came from the source. */
static int buffer_create(const struct heap_memory *memory, struct heap_buffer **ret,
                         struct fault *fault)
{
    struct heap_buffer *buffer = calloc(1, sizeof(*buffer));
    void *p;

    if (!buffer)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a heap's records");
    buffer->memory = *memory;
    buffer->start = (uintptr_t)memory->data;
    buffer->pages = (uint32_t)(memory->size >> HEAP_PAGE_SHIFT);
    for (size_t i = 0; i < memory->span_count; i++) {
        if (buffer->largest_span < memory->spans[i].length)
            buffer->largest_span = memory->spans[i].length;
    }
    p = mmap(NULL, run_bytes(buffer), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED || heap_map_reserve(buffer->start, memory->size) < 0) {
        buffer->run = p == MAP_FAILED ? NULL : p;
        buffer_forget(buffer);
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM,
                         "no addresses for a heap's records (RLIMIT_AS, max_map_count)");
    }
    buffer->run = p;
    *ret = buffer;
    return 0;
}

static int obtain(struct dmabufd_heap *heap, uint64_t size, struct heap_buffer **ret,
                  struct fault *fault)
{
    struct heap_memory memory;
    int r;

    if (size >> HEAP_PAGE_SHIFT > UINT32_MAX)
        return fault_set(fault, DMABUFD_CODE_OK, E2BIG,
                         "a heap cannot have a buffer of %llu bytes: 16 TiB are the most",
                         (unsigned long long)size);
    r = heap->source.obtain(heap->source.context, size, heap->page_size, heap->dma_mask, &memory,
                            fault);
    if (r < 0)
        return r;
    r = buffer_create(&memory, ret, fault);
    if (r < 0)
        release(heap, memory.handle);
    return r;
}

/* How much to ask for, of what the limit leaves. */
static bool within_limit(const struct dmabufd_heap *heap, uint64_t more)
{
    return !heap->limit || (heap->held <= heap->limit && more <= heap->limit - heap->held);
}

static int over_limit(const struct dmabufd_heap *heap, uint64_t need, struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_OK, ENOMEM,
                     "the heap holds %llu of the %llu bytes it may, and %llu more are needed: free "
                     "objects, or make it with a higher limit",
                     (unsigned long long)heap->held, (unsigned long long)heap->limit,
                     (unsigned long long)need);
}

static int choose_size(const struct dmabufd_heap *heap, uint64_t need, uint64_t *ret,
                       struct fault *fault)
{
    uint64_t wish = step(heap);

    if (wish < need || !within_limit(heap, wish))
        wish = need;
    if (!within_limit(heap, wish))
        return over_limit(heap, need, fault);
    *ret = wish;
    return 0;
}

static void insert(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    LIST_INSERT_HEAD(&heap->buffers, buffer, entry);
    pages_insert(heap, buffer);
    heap->buffer_count++;
    heap->grows++;
    if (heap->largest_span < buffer->largest_span)
        heap->largest_span = buffer->largest_span;
}

/* Takes an empty buffer out; it belongs to nobody then. */
static void detach(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    pages_remove(heap, buffer);
    LIST_REMOVE(buffer, entry);
    heap->buffer_count--;
    heap->held -= buffer->memory.size;
    heap->give_backs++;
}

static void discard(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    release(heap, buffer->memory.handle);
    buffer_forget(buffer);
}

void supply_return(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    detach(heap, buffer);
    pthread_mutex_unlock(&heap->lock);
    discard(heap, buffer);
    pthread_mutex_lock(&heap->lock);
}

int supply_grow(struct dmabufd_heap *heap, uint64_t need, struct heap_buffer **ret,
                struct fault *fault)
{
    struct fault before = *last_error();
    struct heap_buffer *buffer = NULL;
    uint64_t size = 0;
    int r;

    *ret = NULL;
    if (heap->growing) {
        while (heap->growing)
            pthread_cond_wait(&heap->grown, &heap->lock);
        return 0;
    }
    if (need > UINT64_MAX / 2)
        return fault_set(fault, DMABUFD_CODE_OK, E2BIG, "%llu bytes are more than there can be",
                         (unsigned long long)need);
    need = round_up(need, unit_of(heap));
    r = choose_size(heap, need, &size, fault);
    if (r < 0)
        return r;
    heap->growing = true;
    heap->held += size;
    pthread_mutex_unlock(&heap->lock);
    r = obtain(heap, size, &buffer, fault);
    if (r < 0 && size > need && r != -ENOTCONN && r != -EPROTO) {
        /* The step was our wish; what is needed may still be there. */
        r = obtain(heap, need, &buffer, fault);
        if (r == 0)
            *last_error() = before;
    }
    pthread_mutex_lock(&heap->lock);
    heap->growing = false;
    heap->held -= size;
    pthread_cond_broadcast(&heap->grown);
    if (r < 0)
        return r;
    heap->held += buffer->memory.size;
    insert(heap, buffer);
    /* Where it may choose the pages the source may have rounded up to larger ones than thought. */
    if (heap->limit && heap->held > heap->limit) {
        supply_return(heap, buffer);
        return over_limit(heap, need, fault);
    }
    *ret = buffer;
    return 0;
}

/* The oldest empty buffer that may go. */
static struct heap_buffer *surplus(struct dmabufd_heap *heap, uint64_t allowance)
{
    struct heap_buffer *buffer;

    if (heap->empty <= allowance)
        return NULL;
    TAILQ_FOREACH_REVERSE(buffer, &heap->empties, heap_empties, empty)
    {
        if (heap->held - buffer->memory.size >= heap->reserve)
            return buffer;
    }
    return NULL;
}

uint64_t supply_relax(struct dmabufd_heap *heap, bool all)
{
    uint64_t bytes = 0;

    if (heap->forked || (!all && (heap->flags & DMABUFD_HEAP_KEEP)))
        return 0;
    for (;;) {
        /* What comes and goes in the rhythm of the program is kept: a step, or a quarter of what
         * is in use, whichever is more. */
        uint64_t quarter = (heap->held - heap->empty) / 4;
        uint64_t wish = step(heap);
        uint64_t allowance = all ? 0 : wish > quarter ? wish : quarter;
        struct heap_buffer *buffer = surplus(heap, allowance);

        if (!buffer)
            return bytes;
        bytes += buffer->memory.size;
        supply_return(heap, buffer);
    }
}

void supply_end(struct dmabufd_heap *heap)
{
    struct heap_buffer *buffer;

    while ((buffer = LIST_FIRST(&heap->buffers))) {
        /* Whatever was made of its pages, no address leads there any more. */
        for (uint64_t at = 0; at < buffer->memory.size; at += HEAP_PAGE) {
            if (heap_map_get(buffer->start + at))
                heap_map_set(buffer->start + at, NULL);
        }
        LIST_REMOVE(buffer, entry);
        discard(heap, buffer);
    }
}
