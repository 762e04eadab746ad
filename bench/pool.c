/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "pool": a buffer that the daemon has ready, from the call until its first byte is written, beside
 * processes that only pass a descriptor of such memory, which is then mapped and written to (handout.h).
 * On both sides the end of it, unmapping and closing, is not in the time: the daemon's includes that the
 * memory goes back, for which there is nothing to compare.
 *
 * What is taken is given back and the pool is full again before the next turn, so that it never runs out
 * and nothing is made ready while a time is measured.
 *
 * A peer there is none: DPDK has no way to hand memory of its heap from one process to another; what its
 * heap does inside a process is in the row "heap".
 */
#include <err.h>
#include <stdio.h>
#include <string.h>

#include "bench/bench.h"
#include "bench/handout.h"
#include "bench/stock.h"

#define ROW "pool"
#define FLOOR_NAME \
    "process that passes a ready file of huge pages (2 hops: by a relay); mmap, first byte"

/* Grants of one kind before it is the other's turn: done before the daemon begins to refill. */
#define TURN 8

#define POOL_PAGES 512
/* So few that all files are of 2 MiB. */
#define SMALL_POOL_PAGES 19
/* Of which 16 MiB are assembled if the constraint is so many segments: without one the daemon makes such
 * a buffer anew. Contiguous would do it, too, but that a pool has such a run is luck. */
#define CHUNKS 8

struct shape {
    uint64_t size;
    bool assembled; /* of CHUNKS files */
    double seconds;
};

/* What was taken in one turn. The first of each is not measured: it finds cold caches, since the pool has
 * just been filled. */
struct hand {
    dmabufd_buffer *first;
    dmabufd_buffer *buffers[TURN];
    struct handed handed[TURN];
};

/* Of one shape in one placement. */
struct trial {
    const struct shape *shape;
    unsigned int turn;
    uint32_t chunks; /* of one buffer */
    struct samples ours;
    struct samples floors[CHAIN_HOPS_MAX];
    struct chain chains[CHAIN_HOPS_MAX];
    struct shelf shelf;
};

static void trial_deinit(struct trial *trial)
{
    samples_deinit(&trial->ours);
    for (int hops = 0; hops < CHAIN_HOPS_MAX; hops++) {
        samples_deinit(&trial->floors[hops]);
        chain_stop(&trial->chains[hops]);
    }
    shelf_empty(&trial->shelf);
}

static const char *ours_once(struct bench *bench, const struct shape *shape,
                             dmabufd_buffer **buffer, struct samples *samples)
{
    const struct dmabufd_constraints constraints = { .max_segments =
                                                         shape->assembled ? CHUNKS : 0 };
    uint64_t begin = now_ns();

    if (dmabufd_alloc_constrained(bench->d, shape->size, PAGE_HUGE, &constraints, buffer) < 0)
        return dmabufd_last_error();
    *(volatile char *)dmabufd_buffer_data(*buffer) = 1;
    samples_add_since(samples, begin);
    return NULL;
}

/* @ret_grants: how many were. What should have been assembled may have been built after all; its time is
 * forgotten. */
static const char *take_ours(struct bench *bench, struct trial *trial, struct hand *hand,
                             unsigned int *ret_grants)
{
    unsigned int taken = 0;
    const char *why = NULL;

    if (dmabufd_alloc(bench->d, PAGE_HUGE, PAGE_HUGE, &hand->first) < 0)
        return dmabufd_last_error();
    while (!why && taken < trial->turn) {
        why = ours_once(bench, trial->shape, &hand->buffers[taken], &trial->ours);
        taken += !why;
    }
    *ret_grants = 0;
    for (unsigned int i = 0; i < taken; i++)
        *ret_grants += dmabufd_buffer_chunk_count(hand->buffers[i]) == trial->chunks;
    if (*ret_grants < taken)
        trial->ours.count -= taken - *ret_grants; /* of those that are assembled, a turn has one */
    dmabufd_free(hand->first);
    while (taken > 0)
        dmabufd_free(hand->buffers[--taken]);
    return why;
}

/* Return: NULL, or why these were no times of grants. */
static const char *our_turn(struct bench *bench, struct stock *stock, struct trial *trial,
                            struct hand *hand, unsigned int *ret_grants)
{
    uint64_t grants = stock->set.grants;
    const char *why = take_ours(bench, trial, hand, ret_grants);

    if (!why)
        why = stock_settle(stock);
    if (!why && stock->set.grants != grants + 1 + *ret_grants)
        why = "not all of it came from the pool";
    return why;
}

static void floor_turn(struct trial *trial, int hops, struct hand *hand)
{
    struct handed first = { 0 };

    handout_take(&trial->chains[hops], trial->chunks, trial->shelf.size, &first);
    handed_drop(&first);
    for (unsigned int i = 0; i < trial->turn; i++) {
        uint64_t begin = now_ns();

        handout_take(&trial->chains[hops], trial->chunks, trial->shelf.size, &hand->handed[i]);
        *(volatile unsigned char *)hand->handed[i].data = 1;
        samples_add_since(&trial->floors[hops], begin);
    }
    for (unsigned int i = 0; i < trial->turn; i++)
        handed_drop(&hand->handed[i]);
}

static const char *take_turns(struct bench *bench, struct stock *stock, struct trial *trial)
{
    struct hand hand = { 0 };
    unsigned int grants;
    const char *why = our_turn(bench, stock, trial, &hand, &grants);
    struct pace pace = pace_begin(bench, trial->shape->seconds, 10);

    trial->ours.count = 0;
    while (!why && pace_more(&pace)) {
        why = our_turn(bench, stock, trial, &hand, &grants);
        for (int hops = 0; !why && grants > 0 && hops < CHAIN_HOPS_MAX; hops++)
            floor_turn(trial, hops, &hand);
    }
    if (!why && trial->ours.count == 0)
        why = "the pool never had it";
    return why;
}

/* Return: NULL, or why it cannot be measured. */
static const char *prepare(struct bench *bench, struct stock *stock, enum place place,
                           struct trial *trial)
{
    const struct shape *shape = trial->shape;
    uint32_t ready = stock_files(stock, shape->size);

    if (!placement_possible(&bench->placement, place))
        return "one CPU";
    if (shape->assembled != (ready == 0))
        return shape->assembled ? "the pool has it in one file" : "the pool has no file so large";
    if (shape->size == PAGE_HUGE && ready > 0)
        ready--; /* the first one */
    trial->chunks = shape->assembled ? CHUNKS : 1;
    trial->turn = shape->assembled ? 1 : ready < TURN ? ready : TURN;
    if (shelf_fill(&trial->shelf, shape->assembled ? CHUNKS : trial->turn,
                   shape->assembled ? PAGE_HUGE : shape->size) < 0)
        return "the floor could not be measured: not enough huge pages";
    placement_enter(&bench->placement, place);
    for (int hops = 0; hops < CHAIN_HOPS_MAX; hops++)
        chain_start(&trial->chains[hops], (unsigned int)hops + 1, handout_serve, &trial->shelf,
                    &bench->placement, place);
    return NULL;
}

static void name(char *what, size_t size, const struct shape *shape, const char *rest)
{
    char text[16];

    snprintf(what, size, "%s%s, first byte%s", format_size(text, shape->size),
             shape->assembled ? " of 8 files" : "", rest);
}

static void add(struct bench *bench, enum place place, struct trial *trial)
{
    struct summary ours = samples_summary(&trial->ours);

    for (int hops = CHAIN_HOPS_MAX; hops > 0; hops--) {
        struct result result = { .row = ROW,
                                 .where = placement_name(place),
                                 .floor_name = FLOOR_NAME,
                                 .ours = ours,
                                 .floor = samples_summary(&trial->floors[hops - 1]) };

        name(result.what, sizeof(result.what), trial->shape, hops > 1 ? " / 2 hops" : " / 1 hop");
        report_add(&bench->report, &result);
    }
}

static void skip(struct bench *bench, const struct shape *shape, enum place place, const char *why)
{
    char what[sizeof(((struct result *)0)->what)];

    name(what, sizeof(what), shape, "");
    report_skip(&bench->report, ROW, what, placement_name(place), why);
}

static void measure(struct bench *bench, struct stock *stock, const struct shape *shape,
                    enum place place)
{
    CLEANUP(trial_deinit) struct trial trial = { .shape = shape };
    const char *why;

    for (int hops = 0; hops < CHAIN_HOPS_MAX; hops++)
        trial.chains[hops].socket = -1;
    why = prepare(bench, stock, place, &trial);
    if (!why)
        why = take_turns(bench, stock, &trial);
    if (why)
        skip(bench, shape, place, why);
    else
        add(bench, place, &trial);
}

/* In a pool of @pages that is made for it. */
static void measure_all(struct bench *bench, uint64_t pages, const struct shape *shapes,
                        size_t count, enum place place)
{
    CLEANUP_STOCK struct stock stock = { 0 };
    const char *why = stock_make(&stock, bench, pages);

    for (size_t i = 0; i < count; i++) {
        if (why)
            skip(bench, &shapes[i], place, why);
        else
            measure(bench, &stock, &shapes[i], place);
    }
}

void row_pool(struct bench *bench)
{
    static const struct shape whole[] = { { 2 * MIB, false, 3 },
                                          { 8 * MIB, false, 2 },
                                          { 64 * MIB, false, 3 } };
    static const struct shape assembled[] = { { 16 * MIB, true, 2 } };

    for (enum place place = PLACE_SAME_CPU; place <= PLACE_TWO_CPUS; place++) {
        measure_all(bench, POOL_PAGES, whole, ARRAY_LEN(whole), place);
        measure_all(bench, SMALL_POOL_PAGES, assembled, ARRAY_LEN(assembled), place);
    }
}
