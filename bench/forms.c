/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "forms": the two forms in which a scatter list can be asked for the address at an offset, for
 * lists of 1 to 16384 spans: the flat table of the library (client/arena.h; a word for each page of
 * 4 KiB), and the list itself, searched by halves. It decides which of them the library uses, and
 * needs no daemon.
 *
 * A span has 1 to 31 pages, so the larger lists have tables that do not stay in the nearest cache.
 * Offsets come at random, and one after the other in steps of 4 KiB.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>

#include "bench/bench.h"
#include "bench/walk.h"
#include "client/arena.h"
#include "common/spans.h"

#define ROW       "forms"
#define ZONE      (8 * GIB)
#define SPANS_MAX 16384
/* Offsets in the list: a walk is the same length for all sizes. */
#define PLACES 65536
#define TURNS  4

struct form {
    struct arena *arena;
    struct arena_range range;
    struct spans spans;
    uint64_t *offsets;
};

__attribute__((noinline)) static int ask_table(const struct form *form, uint64_t offset,
                                               uint64_t *ret_dma_addr, uint64_t *ret_length)
{
    const struct arena *arena = form->arena;

    offset += form->range.offset;
    return dmabufd_translate_entry(&arena->table[ZONE_SMALL][offset >> DMABUFD_SMALL_SHIFT],
                                   arena->base + offset, DMABUFD_SMALL_SHIFT, true, ret_dma_addr,
                                   ret_length);
}

/* No branch depends on the offset but the last: the compiler makes a conditional move of the choice. */
__attribute__((noinline)) static int ask_list(const struct form *form, uint64_t offset,
                                              uint64_t *ret_dma_addr, uint64_t *ret_length)
{
    const struct dmabufd_span *span = form->spans.list;
    uint64_t inside;

    for (size_t left = form->spans.count; left > 1; left -= left / 2)
        span = span[left / 2].offset <= offset ? span + left / 2 : span;
    inside = offset - span->offset;
    if (inside >= span->length)
        return -ENOENT;
    *ret_dma_addr = span->dma_addr + inside;
    *ret_length = span->length - inside;
    return 0;
}

typedef int ask_fn(const struct form *form, uint64_t offset, uint64_t *ret_dma_addr,
                   uint64_t *ret_length);

static inline __attribute__((always_inline)) void walk_list(const struct form *form, ask_fn *ask,
                                                            struct samples *samples)
{
    for (int turn = 0; turn < 2 * TURNS; turn++) {
        uint64_t sum = 0, dma_addr = 0, length = 0, begin = now_ns();

        for (size_t i = 0; i < PLACES; i++) {
            if (ask(form, form->offsets[i], &dma_addr, &length) != 0)
                errx(1, "an offset in a list was not found");
            sum += dma_addr ^ length;
        }
        walk_sink = sum;
        /* The first ones only bring back what the other form drove out of the caches. */
        if (turn >= TURNS)
            samples_add(samples, (double)(now_ns() - begin) / PLACES);
    }
}

static void check(const struct form *form)
{
    for (size_t i = 0; i < PLACES; i++) {
        uint64_t addr[2], length[2];

        if (ask_table(form, form->offsets[i], &addr[0], &length[0]) != 0 ||
            ask_list(form, form->offsets[i], &addr[1], &length[1]) < 0 || addr[0] != addr[1] ||
            length[0] != length[1])
            errx(1, "the table and the list disagree on an address");
    }
}

static void measure(struct bench *bench, struct form *form, bool random)
{
    CLEANUP_SAMPLES struct samples table = { 0 };
    CLEANUP_SAMPLES struct samples list = { 0 };
    struct pace pace = pace_begin(bench, 0.3, 3);
    struct result result = { .row = ROW,
                             .where = "one CPU",
                             .floor_name = "the scatter list itself, searched by halves" };
    uint64_t size = spans_end(&form->spans), state = 88172645463325252;

    for (size_t i = 0; i < PLACES; i++)
        form->offsets[i] = (random ? walk_random(&state) : i * PAGE_SMALL) % size;
    check(form);
    while (pace_more(&pace)) {
        walk_list(form, ask_table, &table);
        walk_list(form, ask_list, &list);
    }
    result.ours = samples_summary(&table);
    result.floor = samples_summary(&list);
    snprintf(result.what, sizeof(result.what), "flat table, %zu spans, %s", form->spans.count,
             random ? "random" : "sequential");
    report_add(&bench->report, &result);
}

static void one_size(struct bench *bench, struct form *form, size_t count)
{
    uint64_t state = count, address = GIB;
    struct fault fault;

    form->spans = (struct spans){ 0 };
    for (size_t i = 0; i < count; i++) {
        uint64_t length = (1 + walk_random(&state) % 31) * PAGE_SMALL;

        if (spans_append(&form->spans, address, length) < 0)
            err(1, "no memory");
        address += length + PAGE_SMALL;
    }
    if (arena_place(form->arena, spans_end(&form->spans), PAGE_SMALL, form->spans.list,
                    form->spans.count, &form->range, &fault) < 0)
        errx(1, "%s", fault.text);
    arena_publish(form->arena, &form->range, form->spans.list, form->spans.count);
    measure(bench, form, true);
    measure(bench, form, false);
    arena_withdraw(form->arena, &form->range);
    arena_unplace(form->arena, &form->range);
    spans_deinit(&form->spans);
}

void row_forms(struct bench *bench)
{
    struct arena arena;
    struct form form = { .arena = &arena, .offsets = calloc(PLACES, sizeof(uint64_t)) };
    struct fault fault;

    if (!form.offsets)
        err(1, "no memory");
    if (arena_init(&arena, ZONE, &fault) < 0)
        errx(1, "%s", fault.text);
    placement_enter(&bench->placement, PLACE_SAME_CPU);
    for (size_t count = 1; count <= SPANS_MAX; count *= count < 4 ? 2 : 4)
        one_size(bench, &form, count);
    arena_deinit(&arena);
    free(form.offsets);
}
