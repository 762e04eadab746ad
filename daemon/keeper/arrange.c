/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Choosing frames; see arrange.h. */
#include "daemon/keeper/arrange.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/segments.h"
#include "common/spans.h"

/* Frames that follow one another. */
struct run {
    size_t first; /* index of a frame */
    size_t length;
};

static int by_address(const void *a, const void *b)
{
    const struct frame *x = a, *y = b;

    return x->dma_addr < y->dma_addr ? -1 : x->dma_addr > y->dma_addr;
}

static int longest_first(const void *a, const void *b)
{
    const struct run *x = a, *y = b;

    if (x->length != y->length)
        return x->length > y->length ? -1 : 1;
    return x->first < y->first ? -1 : x->first > y->first;
}

static bool usable(const struct frame *frame, uint64_t page_size,
                   const struct dmabufd_constraints *constraints)
{
    return !constraints->dma_mask || (frame->dma_addr <= constraints->dma_mask &&
                                      constraints->dma_mask - frame->dma_addr >= page_size - 1);
}

/* All runs of usable frames that begin on the alignment. Return: how many. */
static size_t find_runs(const struct frame *frames, size_t count, uint64_t page_size,
                        const struct dmabufd_constraints *constraints, struct run *runs)
{
    uint64_t alignment = constraints->alignment ? constraints->alignment : 1;
    struct run *run = NULL;
    size_t n = 0;

    for (size_t i = 0; i < count; i++) {
        if (!usable(&frames[i], page_size, constraints)) {
            run = NULL;
            continue;
        }
        if (run && frames[i - 1].dma_addr + page_size == frames[i].dma_addr) {
            run->length++;
            continue;
        }
        run = NULL;
        if (frames[i].dma_addr & (alignment - 1))
            continue;
        run = &runs[n++];
        *run = (struct run){ .first = i, .length = 1 };
    }
    return n;
}

/* The shortest of @runs, longest first, that still has @length. */
static size_t shortest_of_at_least(const struct run *runs, size_t count, size_t length)
{
    size_t i = 0;

    while (i + 1 < count && runs[i + 1].length >= length)
        i++;
    return i;
}

static size_t take(const struct frame *frames, const struct run *run, size_t most,
                   struct frame *ret)
{
    size_t n = run->length < most ? run->length : most;

    memcpy(ret, &frames[run->first], n * sizeof(*ret));
    return n;
}

static int measure(const struct frame *frames, size_t count, uint64_t page_size,
                   const struct dmabufd_constraints *constraints, struct fit *ret)
{
    struct spans spans = { 0 };
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++)
        r = spans_append(&spans, frames[i].dma_addr, page_size);
    if (r == 0) {
        constraints_fit(constraints, spans.list, spans.count, ret);
        r = constraints_met(constraints, ret, NULL);
    }
    spans_deinit(&spans);
    return r;
}

int arrange(struct frame *frames, size_t count, uint64_t page_size, size_t wanted,
            const struct dmabufd_constraints *constraints, struct frame *ret, struct fit *ret_fit)
{
    CLEANUP_FREE struct run *runs = calloc(count ? count : 1, sizeof(*runs));
    size_t run_count, done = 0, next = 0;

    *ret_fit = (struct fit){ 0 };
    if (!runs)
        return -ENOMEM;
    qsort(frames, count, sizeof(*frames), by_address);
    run_count = find_runs(frames, count, page_size, constraints, runs);
    qsort(runs, run_count, sizeof(*runs), longest_first);
    while (done < wanted && next < run_count) {
        size_t rest = wanted - done;

        /* What is left fits in one run: spare the long ones. */
        if (runs[next].length >= rest)
            next += shortest_of_at_least(&runs[next], run_count - next, rest);
        done += take(frames, &runs[next++], rest, &ret[done]);
    }
    return done == wanted ? measure(ret, wanted, page_size, constraints, ret_fit) : -ENOSPC;
}
