/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "heap": an object out of dmabufd_heap_alloc() and back, beside a list of free objects that
 * each thread has for itself (stack.h), and beside rte_malloc() and rte_free().
 *
 * one by one: each object is given back before the next is taken;
 * bursts: so many are taken, then all given back (CREW_BURST).
 */
#include <err.h>

#include "bench/bench.h"
#include "bench/crew.h"
#include "bench/stack.h"

#define ROW        "heap"
#define FLOOR_NAME "pop and push of a thread's own list of free objects, called"
#define PEER_NAME  "DPDK: rte_malloc() + rte_free(), which clears the object"

static const uint64_t sizes[] = { 64, 256, 1 * KIB, 4 * KIB, 16 * KIB, 64 * KIB };

struct work {
    dmabufd_heap *heap;
    struct stack *stacks[CREW_MAX];
    size_t size;
    unsigned int burst;
};

static void *take(void *heap, size_t size)
{
    return dmabufd_heap_alloc(heap, size, 0);
}

static void give(void *heap, void *object)
{
    if (dmabufd_heap_free(heap, object) < 0)
        errx(1, "%s", dmabufd_last_error());
}

static void *pop(void *stack, size_t size)
{
    (void)size;
    return stack_pop(stack);
}

static void push(void *stack, void *object)
{
    stack_push(stack, object);
}

static void do_ours(void *data, unsigned int thread)
{
    const struct work *work = data;

    (void)thread;
    if (work->burst == 1)
        crew_pairs(take, give, work->heap, work->size, 1);
    else
        crew_pairs(take, give, work->heap, work->size, CREW_BURST);
}

static void do_floor(void *data, unsigned int thread)
{
    const struct work *work = data;

    if (work->burst == 1)
        crew_pairs(pop, push, work->stacks[thread], work->size, 1);
    else
        crew_pairs(pop, push, work->stacks[thread], work->size, CREW_BURST);
}

static void take_turns(struct bench *bench, struct work *work, struct crew *crew,
                       struct samples samples[3])
{
    struct peer_order order = {
        .what = PEER_HEAP, .size = work->size, .burst = work->burst, .threads = crew->threads
    };
    struct pace pace = pace_begin(bench, 0.3, 3);

    for (unsigned int i = 0; i < crew->threads; i++)
        order.cpus[i] = crew->cpus[i];
    while (pace_more(&pace)) {
        crew->work = do_ours;
        crew_run(crew, &samples[0]);
        crew->work = do_floor;
        crew_run(crew, &samples[1]);
        peer_order(&bench->peer, &order, &samples[2]);
    }
}

static void measure(struct bench *bench, struct work *work, unsigned int threads, enum place place)
{
    struct crew crew = { .threads = threads,
                         .cpus = { bench->placement.near, place == PLACE_TWO_CPUS
                                                              ? bench->placement.far
                                                              : bench->placement.near },
                         .data = work };
    struct result result = { .row = ROW,
                             .where = threads == 1 ? "one CPU" : placement_name(place),
                             .floor_name = FLOOR_NAME };
    struct samples samples[3] = { 0 };
    char size[16];

    snprintf(result.what, sizeof(result.what), "%s, %u thread%s, %s", format_size(size, work->size),
             threads, threads > 1 ? "s" : "", work->burst > 1 ? "bursts" : "one by one");
    if (!placement_possible(&bench->placement, place)) {
        report_skip(&bench->report, ROW, result.what, result.where, "one CPU");
        return;
    }
    take_turns(bench, work, &crew, samples);
    result.ours = samples_summary(&samples[0]);
    result.floor = samples_summary(&samples[1]);
    add_peer(bench, &result, PEER_NAME, &samples[2]);
    report_add(&bench->report, &result);
    for (size_t i = 0; i < ARRAY_LEN(samples); i++)
        samples_deinit(&samples[i]);
}

static void one_size(struct bench *bench, struct work *work)
{
    for (unsigned int i = 0; i < CREW_MAX; i++)
        work->stacks[i] = stack_new(work->size, CREW_BURST);
    for (int bursts = 0; bursts < 2; bursts++) {
        work->burst = bursts ? CREW_BURST : 1;
        measure(bench, work, 1, PLACE_SAME_CPU);
        measure(bench, work, 2, PLACE_SAME_CPU);
        measure(bench, work, 2, PLACE_TWO_CPUS);
    }
    for (unsigned int i = 0; i < CREW_MAX; i++)
        stack_free(work->stacks[i]);
}

void row_heap(struct bench *bench)
{
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    struct work work = { 0 };

    /* As the peer does: some is kept for good. */
    options.reserve = 64 * MIB;
    placement_enter(&bench->placement, PLACE_SAME_CPU);
    if (dmabufd_heap_create(bench->d, &options, &work.heap) < 0) {
        report_skip(&bench->report, ROW, "all sizes", "-", dmabufd_last_error());
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        work.size = (size_t)sizes[i];
        one_size(bench, &work);
    }
    dmabufd_heap_destroy(work.heap);
}
