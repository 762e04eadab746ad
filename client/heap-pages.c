/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Runs of pages; see heap-pages.h.
 *
 * Free runs are kept in bins by length, and a word of bits tells which bins have any: without an
 * unusual alignment, a run is found without a search. The description of a run is the one of its
 * first page. Of a free or large run the map knows the first page and the last; of a slab all.
 */
#include "client/heap-pages.h"

#include <string.h>

#include "client/heap-map.h"

static unsigned int bin_of(uint64_t pages)
{
    unsigned int log;

    if (pages <= HEAP_BINS_EXACT)
        return (unsigned int)pages - 1;
    log = 63U - (unsigned int)__builtin_clzl(pages);
    return HEAP_BINS_EXACT + 4 * (log - 6) + (unsigned int)(pages >> (log - 2) & 3);
}

/* The first bin from @bin on that has a run; HEAP_BINS: none. */
static unsigned int next_bin(const struct dmabufd_heap *heap, unsigned int bin)
{
    for (unsigned int word = bin / 64; word < HEAP_BIN_WORDS; word++) {
        uint64_t bits = heap->bins_used[word];

        if (word == bin / 64)
            bits &= ~UINT64_C(0) << bin % 64;
        if (bits)
            return word * 64 + (unsigned int)__builtin_ctzl(bits);
    }
    return HEAP_BINS;
}

static uintptr_t last_page(const struct heap_run *run)
{
    return run->start + (run->pages - UINT64_C(1)) * HEAP_PAGE;
}

static void map_ends(struct heap_run *run, struct heap_run *entry)
{
    heap_map_set(run->start, entry);
    heap_map_set(last_page(run), entry);
}

/* The description of a run that begins with a page. */
static struct heap_run *describe(struct dmabufd_heap *heap, struct heap_buffer *buffer,
                                 uintptr_t start, uint64_t pages, uint64_t dma_addr)
{
    struct heap_run *run = &buffer->run[(start - buffer->start) >> HEAP_PAGE_SHIFT];

    run->start = start;
    run->heap = heap;
    run->buffer = buffer;
    run->pages = (uint32_t)pages;
    run->dma_addr = dma_addr;
    return run;
}

static void bin_insert(struct dmabufd_heap *heap, struct heap_run *run, bool clean)
{
    unsigned int bin = bin_of(run->pages);

    run->kind = RUN_FREE;
    run->clean = clean;
    map_ends(run, run);
    LIST_INSERT_HEAD(&heap->bins[bin], run, entry);
    heap->bins_used[bin / 64] |= UINT64_C(1) << bin % 64;
}

static void bin_remove(struct dmabufd_heap *heap, struct heap_run *run)
{
    unsigned int bin = bin_of(run->pages);

    map_ends(run, NULL);
    LIST_REMOVE(run, entry);
    if (LIST_EMPTY(&heap->bins[bin]))
        heap->bins_used[bin / 64] &= ~(UINT64_C(1) << bin % 64);
}

static void count_free(struct dmabufd_heap *heap, struct heap_buffer *buffer, uint32_t pages)
{
    buffer->free_pages += pages;
    if (buffer->free_pages == buffer->pages) {
        TAILQ_INSERT_HEAD(&heap->empties, buffer, empty);
        heap->empty += buffer->memory.size;
    }
}

static void count_taken(struct dmabufd_heap *heap, struct heap_buffer *buffer, uint32_t pages)
{
    if (buffer->free_pages == buffer->pages) {
        TAILQ_REMOVE(&heap->empties, buffer, empty);
        heap->empty -= buffer->memory.size;
    }
    buffer->free_pages -= pages;
}

void pages_insert(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    for (size_t i = 0; i < buffer->memory.span_count; i++) {
        const struct dmabufd_span *span = &buffer->memory.spans[i];

        bin_insert(heap,
                   describe(heap, buffer, buffer->start + span->offset,
                            span->length >> HEAP_PAGE_SHIFT, span->dma_addr),
                   true);
    }
    count_free(heap, buffer, buffer->pages);
}

void pages_remove(struct dmabufd_heap *heap, struct heap_buffer *buffer)
{
    for (size_t i = 0; i < buffer->memory.span_count; i++)
        bin_remove(heap, &buffer->run[buffer->memory.spans[i].offset >> HEAP_PAGE_SHIFT]);
    count_taken(heap, buffer, buffer->pages);
}

/* Cuts @pages pages after @skip out of a free run, and makes them a run of @kind. */
static struct heap_run *carve(struct dmabufd_heap *heap, struct heap_run *from, uint64_t skip,
                              uint64_t pages, uint8_t kind)
{
    struct heap_buffer *buffer = from->buffer;
    uintptr_t start = from->start;
    uint64_t total = from->pages, dma_addr = from->dma_addr;
    bool clean = from->clean;
    struct heap_run *run;

    bin_remove(heap, from);
    if (skip > 0)
        bin_insert(heap, describe(heap, buffer, start, skip, dma_addr), clean);
    start += skip * HEAP_PAGE;
    dma_addr += skip * HEAP_PAGE;
    run = describe(heap, buffer, start, pages, dma_addr);
    if (skip + pages < total)
        bin_insert(heap,
                   describe(heap, buffer, start + pages * HEAP_PAGE, total - skip - pages,
                            dma_addr + pages * HEAP_PAGE),
                   clean);
    run->kind = kind;
    run->clean = clean;
    if (kind == RUN_SLAB) {
        for (uint64_t i = 0; i < pages; i++)
            heap_map_set(start + i * HEAP_PAGE, run);
    } else {
        map_ends(run, run);
    }
    count_taken(heap, buffer, run->pages);
    return run;
}

/* Pages to leave out so that both addresses are aligned, if @run has room then. */
static bool fits(const struct heap_run *run, uint64_t pages, uint64_t alignment, uint64_t *ret_skip)
{
    uint64_t skip = (-run->start & (alignment - 1)) >> HEAP_PAGE_SHIFT;

    if (skip + pages > run->pages || (run->dma_addr + skip * HEAP_PAGE) & (alignment - 1))
        return false;
    *ret_skip = skip;
    return true;
}

struct heap_run *pages_take(struct dmabufd_heap *heap, uint64_t pages, uint64_t alignment,
                            uint8_t kind)
{
    unsigned int first, bin;
    struct heap_run *run;
    uint64_t skip;

    if (pages > UINT32_MAX)
        return NULL;
    first = bin_of(pages);
    /* Above the first bin every run is long enough; a usual request takes the first it sees. */
    if (alignment <= HEAP_PAGE && pages > HEAP_BINS_EXACT)
        bin = next_bin(heap, first + 1);
    else
        bin = next_bin(heap, first);
    for (; bin < HEAP_BINS; bin = next_bin(heap, bin + 1)) {
        LIST_FOREACH (run, &heap->bins[bin], entry) {
            if (fits(run, pages, alignment, &skip))
                return carve(heap, run, skip, pages, kind);
        }
    }
    if (alignment > HEAP_PAGE || pages <= HEAP_BINS_EXACT)
        return NULL;
    LIST_FOREACH (run, &heap->bins[first], entry) {
        if (run->pages >= pages)
            return carve(heap, run, 0, pages, kind);
    }
    return NULL;
}

/* Makes one run of the free ones that @pages pages from @start on lie in. */
static struct heap_run *carve_across(struct dmabufd_heap *heap, struct heap_buffer *buffer,
                                     uintptr_t start, uint64_t pages)
{
    struct heap_run *piece = heap_map_get(start);
    uint64_t left = pages, dma_addr;
    uint32_t tail;
    bool clean = true;
    struct heap_run *run;

    dma_addr = piece->dma_addr;
    for (uintptr_t at = start; left > 0; at += (uintptr_t)tail * HEAP_PAGE) {
        piece = heap_map_get(at);
        tail = piece->pages < left ? piece->pages : (uint32_t)left;
        piece = carve(heap, piece, 0, tail, RUN_LARGE);
        clean = clean && piece->clean;
        map_ends(piece, NULL);
        left -= tail;
    }
    run = describe(heap, buffer, start, pages, dma_addr);
    run->kind = RUN_LARGE;
    run->clean = clean;
    map_ends(run, run);
    return run;
}

static struct heap_run *take_across(struct dmabufd_heap *heap, struct heap_buffer *buffer,
                                    uint64_t pages, uint64_t alignment)
{
    const struct heap_run *run;
    uintptr_t start = 0;
    uint64_t have = 0;

    for (uint32_t page = 0; page < buffer->pages; page += run->pages) {
        run = &buffer->run[page];
        if (run->kind != RUN_FREE) {
            have = 0;
            continue;
        }
        /* It begins where a free run does, or it would have to leave out a part of one. */
        if (have == 0) {
            if ((run->start | run->dma_addr) & (alignment - 1))
                continue;
            start = run->start;
        }
        have += run->pages;
        if (have >= pages)
            return carve_across(heap, buffer, start, pages);
    }
    return NULL;
}

struct heap_run *pages_take_scattered(struct dmabufd_heap *heap, uint64_t pages, uint64_t alignment)
{
    struct heap_run *run = pages_take(heap, pages, alignment, RUN_LARGE);
    struct heap_buffer *buffer;

    if (run)
        return run;
    LIST_FOREACH (buffer, &heap->buffers, entry) {
        if (buffer->free_pages >= pages) {
            run = take_across(heap, buffer, pages, alignment);
            if (run)
                return run;
        }
    }
    return NULL;
}

/* A free run joined with those beside it that it is contiguous with. */
static void give_piece(struct dmabufd_heap *heap, struct heap_buffer *buffer, uintptr_t start,
                       uint64_t pages, uint64_t dma_addr)
{
    uintptr_t end = start + pages * HEAP_PAGE;
    struct heap_run *beside;

    if (start > buffer->start) {
        beside = heap_map_get(start - HEAP_PAGE);
        if (beside && beside->kind == RUN_FREE &&
            beside->dma_addr + beside->pages * HEAP_PAGE == dma_addr) {
            bin_remove(heap, beside);
            start = beside->start;
            dma_addr = beside->dma_addr;
            pages += beside->pages;
        }
    }
    if (end < buffer->start + buffer->memory.size) {
        beside = heap_map_get(end);
        if (beside && beside->kind == RUN_FREE &&
            beside->dma_addr == dma_addr + pages * HEAP_PAGE) {
            bin_remove(heap, beside);
            pages += beside->pages;
        }
    }
    bin_insert(heap, describe(heap, buffer, start, pages, dma_addr), false);
}

/* The span that a byte of the buffer lies in. */
static const struct dmabufd_span *span_at(const struct heap_buffer *buffer, uint64_t offset)
{
    const struct dmabufd_span *spans = buffer->memory.spans;
    size_t low = 0, high = buffer->memory.span_count;

    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (spans[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    return &spans[low];
}

void pages_give(struct dmabufd_heap *heap, struct heap_run *run)
{
    struct heap_buffer *buffer = run->buffer;
    uint64_t offset = run->start - buffer->start;
    uint64_t end = offset + run->pages * HEAP_PAGE;
    uint32_t pages = run->pages;

    if (run->kind == RUN_SLAB) {
        for (uint64_t at = offset; at < end; at += HEAP_PAGE)
            heap_map_set(buffer->start + at, NULL);
    } else {
        map_ends(run, NULL);
    }
    for (const struct dmabufd_span *span = span_at(buffer, offset); offset < end; span++) {
        uint64_t to = span->offset + span->length < end ? span->offset + span->length : end;

        give_piece(heap, buffer, buffer->start + offset, (to - offset) >> HEAP_PAGE_SHIFT,
                   span->dma_addr + (offset - span->offset));
        offset = to;
    }
    count_free(heap, buffer, pages);
}
