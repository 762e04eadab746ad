/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory with made-up device addresses; see heap-source.h. */
#include "tests/unit/heap-source.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "tests/unit/cmocka-all.h"

#define MIB     UINT64_C(1048576)
#define ALIGNED (2 * MIB)

/* Zeroed and aligned to 2 MiB, like a buffer. */
static void *map(uint64_t size)
{
    char *p = mmap(NULL, size + ALIGNED, PROT_READ | PROT_WRITE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    uint64_t skip;

    if (p == MAP_FAILED)
        return NULL;
    skip = -(uintptr_t)p & (ALIGNED - 1);
    if (skip)
        munmap(p, skip);
    munmap(p + skip + size, ALIGNED - skip);
    return p + skip;
}

static struct dmabufd_span *lay_out(struct test_source *source, uint64_t size, size_t *ret_count)
{
    uint64_t unit = source->layout.unit ? source->layout.unit : size;
    uint64_t align = unit > ALIGNED ? ALIGNED : unit;
    struct dmabufd_span *spans = calloc(size / unit + 1, sizeof(*spans));
    size_t count = 0;

    if (!spans)
        return NULL;
    for (uint64_t at = 0; at < size; at += unit, count++) {
        uint64_t length = size - at < unit ? size - at : unit;

        /* Always with a gap, so that no two are one. */
        source->next_dma = (source->next_dma + align) & ~(align - 1);
        spans[count] = (struct dmabufd_span){ .offset = at,
                                              .dma_addr = source->next_dma + source->layout.shift,
                                              .length = length };
        source->next_dma += length + align;
    }
    *ret_count = count;
    return spans;
}

static int obtain(void *context, uint64_t size, uint64_t page_size, uint64_t dma_mask,
                  struct heap_memory *ret, struct fault *fault)
{
    struct test_source *source = context;
    struct heap_memory *memory = source->memory;
    int r = 0;

    (void)page_size;
    (void)dma_mask;
    pthread_mutex_lock(&source->lock);
    while (memory < source->memory + SOURCE_MEMORIES && memory->handle)
        memory++;
    if (source->broken) {
        r = fault_set(fault, DMABUFD_CODE_OK, ENOTCONN, "the source is broken");
    } else if ((source->refuse_above && size > source->refuse_above) ||
               memory == source->memory + SOURCE_MEMORIES) {
        r = fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the source has no %llu bytes",
                      (unsigned long long)size);
    } else {
        memory->data = map(size);
        memory->size = size;
        memory->spans = lay_out(source, size, &memory->span_count);
        memory->handle = memory;
        source->live++;
        source->bytes += size;
        source->obtained++;
        *ret = *memory;
    }
    pthread_mutex_unlock(&source->lock);
    return r;
}

static void release(void *context, void *handle)
{
    struct test_source *source = context;
    struct heap_memory *memory = handle;

    pthread_mutex_lock(&source->lock);
    munmap(memory->data, memory->size);
    free((void *)(uintptr_t)memory->spans);
    source->live--;
    source->bytes -= memory->size;
    source->released++;
    memset(memory, 0, sizeof(*memory));
    pthread_mutex_unlock(&source->lock);
}

void test_source_init(struct test_source *source, struct test_layout layout)
{
    memset(source, 0, sizeof(*source));
    source->ops = (struct heap_source){ .obtain = obtain, .release = release, .context = source };
    source->layout = layout;
    source->next_dma = UINT64_C(1) << 32;
    pthread_mutex_init(&source->lock, NULL);
}

void test_source_deinit(struct test_source *source)
{
    assert_int_equal(source->live, 0);
    assert_int_equal(source->bytes, 0);
    pthread_mutex_destroy(&source->lock);
}

bool test_source_translate(struct test_source *source, const void *pointer, uint64_t *ret_dma_addr,
                           uint64_t *ret_length)
{
    bool found = false;

    pthread_mutex_lock(&source->lock);
    for (size_t i = 0; i < SOURCE_MEMORIES && !found; i++) {
        const struct heap_memory *memory = &source->memory[i];
        uint64_t offset = (uintptr_t)pointer - (uintptr_t)memory->data;

        if (!memory->handle || offset >= memory->size)
            continue;
        for (size_t j = 0; j < memory->span_count && !found; j++) {
            const struct dmabufd_span *span = &memory->spans[j];

            found = offset - span->offset < span->length;
            if (found) {
                *ret_dma_addr = span->dma_addr + (offset - span->offset);
                *ret_length = span->length - (offset - span->offset);
            }
        }
    }
    pthread_mutex_unlock(&source->lock);
    return found;
}

dmabufd_heap *test_heap_create(struct test_source *source, struct test_layout layout,
                               const struct dmabufd_heap_options *options)
{
    dmabufd_heap *heap;

    test_source_init(source, layout);
    assert_int_equal(heap_create(&source->ops, options, &heap, NULL), 0);
    return heap;
}

void test_heap_destroy(dmabufd_heap *heap, struct test_source *source)
{
    assert_null(dmabufd_heap_destroy(heap));
    test_source_deinit(source);
}
