/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making memory that fits; see search.h. */
#include "daemon/keeper/search.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/segments.h"
#include "daemon/keeper/arrange.h"

/* The files that frames come from. */
enum { SOURCE_BUFFER, SOURCE_SCOUT, SOURCE_COUNT };

#define SCOUT_MIN (UINT64_C(16) << 20)

/* Four times as much each round, of what is free. */
static uint64_t scout_size(const struct buffer *buffer, const struct memory *memory,
                           unsigned int round)
{
    uint64_t spare = memory_huge_free(memory, &buffer->placement, buffer->page_size);
    uint64_t size = buffer->size > SCOUT_MIN ? buffer->size : SCOUT_MIN;

    while (round-- > 0 && size < spare)
        size *= 4;
    return (size < spare ? size : spare) & ~(buffer->page_size - 1);
}

static int look(struct buffer *scout, uint64_t size, uint64_t page_size, struct memory *memory,
                struct backend *backend, const atomic_bool *cancelled)
{
    int r = buffer_begin(scout, size, page_size, memory, backend, NULL);

    while (r == 0 && scout->mapping.pinned < size) {
        r = buffer_next_piece(scout, memory, backend, NULL);
        if (atomic_load(cancelled))
            r = -ECANCELED;
    }
    return r;
}

static size_t add_frames(const struct buffer *buffer, uint32_t source, struct frame *frames)
{
    size_t n = 0;

    for (size_t i = 0; i < buffer->spans.count; i++) {
        const struct dmabufd_span *span = &buffer->spans.list[i];

        for (uint64_t at = 0; at < span->length; at += buffer->page_size)
            frames[n++] = (struct frame){ .dma_addr = span->dma_addr + at,
                                          .offset = span->offset + at,
                                          .source = source };
    }
    return n;
}

/* Chosen frames in the order of the buffer; NULL with *ret_r: none will do, or no memory. */
static struct frame *choose(const struct buffer *const sources[SOURCE_COUNT],
                            const struct dmabufd_constraints *constraints, int *ret_r)
{
    uint64_t page_size = sources[SOURCE_BUFFER]->page_size;
    size_t wanted = sources[SOURCE_BUFFER]->size / page_size;
    size_t most = wanted + sources[SOURCE_SCOUT]->size / page_size;
    CLEANUP_FREE struct frame *frames = calloc(most, sizeof(*frames));
    CLEANUP_FREE struct frame *chosen = calloc(wanted, sizeof(*chosen));
    size_t count = 0;

    *ret_r = -ENOMEM;
    if (!frames || !chosen)
        return NULL;
    for (uint32_t i = 0; i < SOURCE_COUNT; i++)
        count += add_frames(sources[i], i, &frames[count]);
    *ret_r = arrange(frames, count, page_size, wanted, constraints, chosen);
    return *ret_r == 0 ? TAKE_PTR(chosen) : NULL;
}

/* What is freed last is allocated first, on each node: the page that left its old file comes into the
 * new one. */
static int move_page(const struct buffer *from, const struct frame *frame, const struct buffer *to,
                     size_t index, struct nodes *nodes)
{
    const struct dmabufd_span page = { 0, frame->dma_addr, to->page_size };
    uint64_t on = nodes_of(nodes, &page, 1);
    const struct placement there = { .rule = on ? DMABUFD_NODE_STRICT : 0,
                                     .node = on ? (uint32_t)__builtin_ctzll(on) : 0 };
    struct policy before;
    int r = memory_empty(from->fd, frame->offset, to->page_size);

    if (r == 0)
        r = placement_enter(nodes, &there, &before, NULL);
    if (r < 0)
        return r;
    if (fallocate(to->fd, 0, (off_t)(index * to->page_size), (off_t)to->page_size) < 0)
        r = -errno;
    placement_leave(&before);
    return r;
}

static int move(const struct buffer *const sources[SOURCE_COUNT], const struct frame *chosen,
                const struct buffer *to, struct nodes *nodes)
{
    size_t wanted = to->size / to->page_size;
    int r = 0;

    for (size_t i = 0; r == 0 && i < wanted; i++)
        r = move_page(sources[chosen[i].source], &chosen[i], to, i, nodes);
    return r;
}

/* Build @fresh out of chosen pages of @buffer and @scout, which are left unpinned and with holes. */
static int rebuild(struct buffer *buffer, struct buffer *scout, struct buffer *fresh,
                   const struct frame *chosen, struct memory *memory, struct backend *backend)
{
    const struct buffer *sources[SOURCE_COUNT] = { buffer, scout };
    int r = buffer_begin(fresh, buffer->size, buffer->page_size, memory, backend, NULL);

    /* A pinned page does not go back to the kernel when it leaves its file. */
    if (r == 0)
        r = buffer_unpin(buffer, backend, NULL);
    if (r == 0)
        r = buffer_unpin(scout, backend, NULL);
    if (r == 0)
        r = move(sources, chosen, fresh, &memory->nodes);
    while (r == 0 && fresh->mapping.pinned < fresh->size)
        r = buffer_next_piece(fresh, memory, backend, NULL);
    return r;
}

static int one_try(struct buffer *buffer, struct buffer *scout, struct buffer *fresh,
                   const struct dmabufd_constraints *constraints, uint64_t size,
                   struct memory *memory, struct backend *backend, const atomic_bool *cancelled)
{
    const struct buffer *sources[SOURCE_COUNT] = { buffer, scout };
    CLEANUP_FREE struct frame *chosen = NULL;
    int r = look(scout, size, buffer->page_size, memory, backend, cancelled);

    if (r == 0)
        chosen = choose(sources, constraints, &r);
    if (r == 0)
        r = rebuild(buffer, scout, fresh, chosen, memory, backend);
    if (r == 0)
        buffer_swap(buffer, fresh);
    return r;
}

/* What is left of the buffer after a try that failed half-way is made whole again, so that the next
 * round has it to choose from: its holes are filled with whatever there is. */
static int repair(struct buffer *buffer, struct memory *memory, struct backend *backend,
                  struct fault *fault)
{
    int r = 0;

    if (buffer->mapping.pinned == buffer->size)
        return 0;
    r = buffer_unpin(buffer, backend, fault);
    if (r == 0)
        r = buffer_begin_again(buffer, backend, fault);
    while (r == 0 && buffer->mapping.pinned < buffer->size)
        r = buffer_next_piece(buffer, memory, backend, fault);
    return r;
}

int search_round(struct search *search, struct buffer *buffer,
                 const struct dmabufd_constraints *constraints, struct memory *memory,
                 struct backend *backend, const atomic_bool *cancelled, struct fault *fault)
{
    uint64_t size = scout_size(buffer, memory, search->round);
    struct buffer *scout = buffer_new(), *fresh = buffer_new();
    struct fit fit;
    int r = -ENOMEM;

    if (search->round++ == 0)
        search->deadline_ns = now_ns() + SEARCH_SECONDS * NS_PER_S;
    if (scout && fresh)
        scout->placement = fresh->placement = buffer->placement;
    if (scout && fresh && size > 0)
        one_try(buffer, scout, fresh, constraints, size, memory, backend, cancelled);
    if (scout && fresh)
        r = repair(buffer, memory, backend, fault);
    buffer_discard(scout, memory, backend);
    buffer_discard(fresh, memory, backend);
    if (r < 0)
        return r;
    constraints_fit(constraints, buffer->spans.list, buffer->spans.count, &fit);
    r = constraints_met(constraints, &fit, fault);
    if (r == 0)
        return 0;
    return search->round < SEARCH_ROUNDS && now_ns() < search->deadline_ns &&
                   !atomic_load(cancelled)
               ? 1
               : r;
}

int search_tidy(struct buffer *buffer, struct memory *memory, struct backend *backend,
                struct fault *fault)
{
    static const struct dmabufd_constraints none;
    struct buffer *nothing = buffer_new(), *fresh = buffer_new();
    const struct buffer *sources[SOURCE_COUNT] = { buffer, nothing };
    CLEANUP_FREE struct frame *chosen = NULL;
    int r = -ENOMEM;

    if (nothing && fresh)
        chosen = choose(sources, &none, &r);
    if (chosen) {
        fresh->placement = buffer->placement;
        if (rebuild(buffer, nothing, fresh, chosen, memory, backend) == 0)
            buffer_swap(buffer, fresh);
        /* What went into one that did not work out is what the repair needs: there may be no others. */
        buffer_discard(fresh, memory, backend);
        fresh = NULL;
        r = repair(buffer, memory, backend, fault);
    } else {
        fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    }
    buffer_discard(nothing, memory, backend);
    buffer_discard(fresh, memory, backend);
    return r;
}
