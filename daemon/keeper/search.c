/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making memory that fits; see search.h. */
#include "daemon/keeper/search.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "daemon/keeper/arrange.h"

/* The files that frames come from. */
enum { SOURCE_BUFFER, SOURCE_SCOUT, SOURCE_COUNT };

#define SCOUT_MIN (UINT64_C(16) << 20)

/* What one try works with. */
struct attempt {
    struct buffer *buffer; /* to be replaced */
    struct buffer *scout;  /* more pages to choose from, or none */
    struct buffer *fresh;  /* made of the chosen ones */
    const struct dmabufd_constraints *constraints;
    struct memory *memory;
    struct backend *backend;
    struct effort *effort;
};

/* Four times as much each round, and half of what is free at most. */
static uint64_t scout_size(const struct buffer *buffer, const struct memory *memory,
                           unsigned int round)
{
    uint64_t most = memory_huge_free(memory, &buffer->placement, buffer->page_size) / 2;
    uint64_t size = buffer->size > SCOUT_MIN ? buffer->size : SCOUT_MIN;

    while (round-- > 0 && size < most)
        size *= 4;
    return (size < most ? size : most) & ~(buffer->page_size - 1);
}

/* Pin the rest of a buffer, for as long as it may take. */
static int pin_all(const struct attempt *attempt, struct buffer *buffer)
{
    int r = 0;

    while (r == 0 && buffer->mapping.pinned < buffer->size) {
        r = effort_check(attempt->effort);
        if (r == 0)
            r = buffer_next_piece(buffer, attempt->memory, attempt->backend, NULL);
    }
    return r;
}

static int look(const struct attempt *attempt, uint64_t size)
{
    int r = effort_check(attempt->effort);

    if (r < 0 || size == 0)
        return r;
    r = buffer_begin(attempt->scout, size, attempt->buffer->page_size, attempt->memory,
                     attempt->backend, NULL);
    return r == 0 ? pin_all(attempt, attempt->scout) : r;
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
static struct frame *choose(const struct attempt *attempt, int *ret_r)
{
    const struct buffer *buffer = attempt->buffer, *scout = attempt->scout;
    size_t wanted = buffer->size / buffer->page_size;
    size_t most = wanted + scout->size / buffer->page_size;
    CLEANUP_FREE struct frame *frames = calloc(most, sizeof(*frames));
    CLEANUP_FREE struct frame *chosen = calloc(wanted, sizeof(*chosen));
    struct fit fit;
    size_t count;

    *ret_r = -ENOMEM;
    if (!frames || !chosen)
        return NULL;
    count = add_frames(buffer, SOURCE_BUFFER, frames);
    count += add_frames(scout, SOURCE_SCOUT, &frames[count]);
    *ret_r = arrange(frames, count, buffer->page_size, wanted, attempt->constraints, chosen, &fit);
    if (fit.spans > 0)
        effort_keep(attempt->effort, attempt->constraints, &fit);
    return *ret_r == 0 ? TAKE_PTR(chosen) : NULL;
}

/* What is freed last is allocated first, on each node: the page that left its old file comes into the
 * new one. */
static int move_page(const struct attempt *attempt, const struct frame *frame, size_t index)
{
    const struct buffer *to = attempt->fresh;
    const struct buffer *from = frame->source == SOURCE_BUFFER ? attempt->buffer : attempt->scout;
    const struct dmabufd_span page = { 0, frame->dma_addr, to->page_size };
    struct nodes *nodes = &attempt->memory->nodes;
    uint64_t on = nodes_of(nodes, &page, 1);
    const struct placement there = { .rule = on ? DMABUFD_NODE_STRICT : 0,
                                     .node = on ? (uint32_t)__builtin_ctzll(on) : 0 };
    struct policy before;
    int r = memory_empty(from->fd, frame->offset, to->page_size);

    if (r == 0)
        r = placement_enter(nodes, &there, &before, NULL);
    if (r < 0)
        return r;
    r = memory_prepare(attempt->memory, &there, to->fd, to->page_size, index * to->page_size,
                       to->page_size, NULL);
    placement_leave(&before);
    return r;
}

static int move(const struct attempt *attempt, const struct frame *chosen)
{
    size_t wanted = attempt->fresh->size / attempt->fresh->page_size;
    int r = 0;

    for (size_t i = 0; r == 0 && i < wanted; i++) {
        r = effort_check(attempt->effort);
        if (r == 0)
            r = move_page(attempt, &chosen[i], i);
    }
    return r;
}

/* Without a place for it, which can be a mapping: that would reserve as many huge pages again. */
static int make_file(struct buffer *fresh, const struct buffer *like, struct memory *memory)
{
    struct stat st;
    int r = memory_create(memory, like->size, like->page_size, &fresh->fd, NULL);

    if (r < 0)
        return r;
    fresh->size = fresh->charged = like->size;
    fresh->page_size = like->page_size;
    if (fstat(fresh->fd, &st) < 0)
        return -errno;
    fresh->dev = st.st_dev;
    fresh->ino = st.st_ino;
    return 0;
}

/* Make the fresh one of chosen pages of the others, which are left unpinned and with holes. */
static int rebuild(const struct attempt *attempt, const struct frame *chosen)
{
    struct backend *backend = attempt->backend;
    struct buffer *fresh = attempt->fresh;
    int r = make_file(fresh, attempt->buffer, attempt->memory);

    if (r == 0)
        r = effort_check(attempt->effort);
    /* A pinned page does not go back to the kernel when it leaves its file. */
    if (r == 0)
        r = buffer_unpin(attempt->buffer, backend, NULL);
    if (r == 0)
        r = buffer_unpin(attempt->scout, backend, NULL);
    if (r == 0)
        r = move(attempt, chosen);
    if (r == 0)
        r = buffer_begin_again(fresh, backend, NULL);
    return r == 0 ? pin_all(attempt, fresh) : r;
}

/* With a scout of so many bytes. Whatever it held beside the buffer is given back. */
static int try(struct attempt *attempt, uint64_t size)
{
    CLEANUP_FREE struct frame *chosen = NULL;
    int r = -ENOMEM;

    attempt->scout = buffer_new();
    attempt->fresh = buffer_new();
    if (attempt->scout && attempt->fresh) {
        attempt->scout->placement = attempt->fresh->placement = attempt->buffer->placement;
        r = look(attempt, size);
    }
    if (r == 0)
        chosen = choose(attempt, &r);
    if (r == 0)
        r = rebuild(attempt, chosen);
    if (r == 0)
        buffer_swap(attempt->buffer, attempt->fresh);
    buffer_discard(attempt->scout, attempt->memory, attempt->backend);
    buffer_discard(attempt->fresh, attempt->memory, attempt->backend);
    return r;
}

/* What is left of the buffer after a try that failed half-way is made whole again, so that the next
 * round has it to choose from: its holes are filled with whatever there is, which is at least what the
 * try gave back, if nobody else was faster. */
static int repair(const struct attempt *attempt, bool late, struct fault *fault)
{
    struct buffer *buffer = attempt->buffer;
    int r = 0;

    if (buffer->mapping.pinned == buffer->size)
        return 0;
    r = buffer_unpin(buffer, attempt->backend, fault);
    if (r == 0)
        r = buffer_begin_again(buffer, attempt->backend, fault);
    while (r == 0 && buffer->mapping.pinned < buffer->size) {
        r = effort_check(attempt->effort);
        if (r == 0 || (r == -ETIME && late))
            r = buffer_next_piece(buffer, attempt->memory, attempt->backend, fault);
    }
    return r;
}

int search_round(struct search *search, struct buffer *buffer,
                 const struct dmabufd_constraints *constraints, struct memory *memory,
                 struct backend *backend, struct effort *effort, struct fault *fault)
{
    struct attempt attempt = { .buffer = buffer,
                               .constraints = constraints,
                               .memory = memory,
                               .backend = backend,
                               .effort = effort };
    uint64_t size = scout_size(buffer, memory, search->round);
    int r;

    if (effort_measure(effort, constraints, &buffer->spans) == 0)
        return 0;
    if (size < search->least)
        return effort_refuse(effort, constraints, fault);
    search->round++;
    effort_begin(effort);
    r = try(&attempt, size);
    if (r == -ENOSPC)
        search->least = size + 1;
    /* At the end of the time it goes as it is. */
    if (r != -ECANCELED && r != -ETIME)
        r = repair(&attempt, false, fault);
    if (r == 0 && effort_measure(effort, constraints, &buffer->spans) == 0)
        return 0;
    if (r == 0)
        r = effort_check(effort);
    if (r == -ETIME || (r == 0 && search->round >= SEARCH_ROUNDS))
        return effort_refuse(effort, constraints, fault);
    return r < 0 ? r : 1;
}

int search_tidy(struct buffer *buffer, struct memory *memory, struct backend *backend,
                struct effort *effort, struct fault *fault)
{
    static const struct dmabufd_constraints none;
    struct attempt attempt = { .buffer = buffer,
                               .constraints = &none,
                               .memory = memory,
                               .backend = backend,
                               .effort = effort };
    int r;

    effort_begin(effort);
    r = repair(&attempt, true, fault);
    if (r < 0)
        return r;
    try(&attempt, 0);
    return repair(&attempt, true, fault);
}
