/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The beginning and the end of a heap, and the connection as its source; see heap.h. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/connection.h"
#include "client/heap-cache.h"
#include "client/heap-supply.h"
#include "client/heap.h"
#include "client/last-error.h"

/* The struct as it was in the first version. */
#define OPTIONS_FIRST 56

_Static_assert(sizeof(struct dmabufd_heap_options) >= OPTIONS_FIRST, "options only grow");

static int refuse(struct fault *fault, const char *why)
{
    return fault_set(fault, DMABUFD_CODE_OK, EINVAL, "options of a heap: %s", why);
}

/* As the caller gave them, of whatever version, to those that we know. */
static int copy_options(const struct dmabufd_heap_options *options,
                        struct dmabufd_heap_options *ret, struct fault *fault)
{
    const unsigned char *bytes = (const unsigned char *)options;

    *ret = (struct dmabufd_heap_options)DMABUFD_HEAP_OPTIONS_INIT;
    if (!options)
        return 0;
    if (options->size < OPTIONS_FIRST)
        return refuse(fault, "the size is not set: use DMABUFD_HEAP_OPTIONS_INIT");
    for (size_t i = sizeof(*ret); i < options->size; i++) {
        if (bytes[i])
            return fault_set(fault, DMABUFD_CODE_OK, E2BIG,
                             "options of a heap: one is set that this library does not know");
    }
    memcpy(ret, options, options->size < sizeof(*ret) ? options->size : sizeof(*ret));
    return 0;
}

static int check_options(const struct dmabufd_heap_options *options, struct fault *fault)
{
    uint64_t page = options->page_size;

    if (page != 0 && page != 4096 && page != 2097152 && page != 1073741824)
        return refuse(fault, "the page size is 4096, 2097152, 1073741824, or 0 for any");
    if (options->flags & ~(uint64_t)DMABUFD_HEAP_KEEP)
        return refuse(fault, "a flag is set that this library does not know");
    if (options->limit && options->limit < (page ? page : 2097152))
        return refuse(fault,
                      "the limit is less than one page (of 2 MiB, if they may be of any size)");
    if (options->limit && options->reserve > options->limit)
        return refuse(fault, "the reserve is more than the limit");
    if (options->grow_by > UINT64_MAX / 2 || options->reserve > UINT64_MAX / 2)
        return refuse(fault, "a size is more than there can be");
    return 0;
}

static struct dmabufd_heap *new_heap(const struct heap_source *source,
                                     const struct dmabufd_heap_options *options)
{
    struct dmabufd_heap *heap = aligned_alloc(_Alignof(struct dmabufd_heap), sizeof(*heap));

    if (!heap)
        return NULL;
    memset(heap, 0, sizeof(*heap));
    heap->flags = options->flags;
    heap->page_size = options->page_size;
    heap->dma_mask = options->dma_mask;
    heap->grow_by = options->grow_by;
    heap->limit = options->limit;
    heap->reserve = options->reserve;
    heap->source = *source;
    pthread_mutex_init(&heap->lock, NULL);
    pthread_cond_init(&heap->grown, NULL);
    for (unsigned int i = 0; i < HEAP_CLASSES; i++)
        LIST_INIT(&heap->partial[i]);
    for (unsigned int i = 0; i < HEAP_BINS; i++)
        LIST_INIT(&heap->bins[i]);
    LIST_INIT(&heap->buffers);
    TAILQ_INIT(&heap->empties);
    LIST_INIT(&heap->caches);
    return heap;
}

static int take_reserve(struct dmabufd_heap *heap, struct fault *fault)
{
    struct heap_buffer *buffer;
    int r;

    pthread_mutex_lock(&heap->lock);
    r = supply_grow(heap, heap->reserve, &buffer, fault);
    pthread_mutex_unlock(&heap->lock);
    return r;
}

int heap_create(const struct heap_source *source, const struct dmabufd_heap_options *options,
                struct dmabufd_heap **ret, struct fault *fault)
{
    struct dmabufd_heap_options known;
    struct dmabufd_heap *heap;
    int r;

    r = copy_options(options, &known, fault);
    if (r == 0)
        r = check_options(&known, fault);
    if (r < 0)
        return r;
    heap = new_heap(source, &known);
    if (!heap)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a heap");
    r = heap_caches_add(heap);
    if (r < 0) {
        free(heap);
        return fault_set(fault, DMABUFD_CODE_OK, -r, "cannot make a heap: %s", strerror(-r));
    }
    if (heap->reserve)
        r = take_reserve(heap, fault);
    if (r < 0) {
        dmabufd_heap_destroy(heap);
        return r;
    }
    *ret = heap;
    return 0;
}

dmabufd_heap *dmabufd_heap_destroy(dmabufd_heap *heap)
{
    NO_CANCELLATION;

    if (!heap)
        return NULL;
    heap_caches_remove(heap);
    supply_end(heap);
    pthread_cond_destroy(&heap->grown);
    pthread_mutex_destroy(&heap->lock);
    free(heap);
    return NULL;
}

static int obtain_buffer(void *context, uint64_t size, uint64_t page_size, uint64_t dma_mask,
                         struct heap_memory *ret, struct fault *fault)
{
    const struct dmabufd_constraints constraints = { .dma_mask = dma_mask };
    dmabufd_buffer *buffer;
    int r = dmabufd_alloc_constrained(context, size, page_size, &constraints, &buffer);

    (void)fault; /* it is the same */
    if (r < 0)
        return r;
    *ret = (struct heap_memory){ .handle = buffer,
                                 .data = dmabufd_buffer_data(buffer),
                                 .size = dmabufd_buffer_size(buffer) };
    ret->spans = dmabufd_buffer_spans(buffer, &ret->span_count);
    return 0;
}

static void release_buffer(void *context, void *handle)
{
    (void)context;
    dmabufd_free(handle);
}

int dmabufd_heap_create(dmabufd *d, const struct dmabufd_heap_options *options, dmabufd_heap **ret)
{
    NO_CANCELLATION;
    const struct heap_source source = { .obtain = obtain_buffer,
                                        .release = release_buffer,
                                        .context = d };

    return heap_create(&source, options, ret, last_error());
}
