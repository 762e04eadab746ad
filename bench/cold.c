/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "cold": memory that nothing was prepared for, from the call until its first byte is written,
 * and its free, beside a process that does it alone, in two ways (solo.h). dmabufd_free() returns
 * when the memory is the kernel's again, so both sides end in the same state.
 */
#include <err.h>
#include <stdio.h>

#include "bench/bench.h"

#define ROW        "cold"
#define WHAT_MAX   sizeof(((struct result *)0)->what)
#define PEER_NAME  "DPDK: rte_malloc() that needs new huge pages, and rte_free() (not pinned)"
#define FLOOR_NAME "one privileged process: memfd, mmap, pin by io_uring, pagemap; and undo"

struct shape {
    uint64_t size;
    uint64_t page_size;
    double seconds; /* to spend on it, allocations of ours and of the floor together */
};

static const struct shape shapes[] = {
    { 4 * KIB, PAGE_SMALL, 0.7 },  { 64 * KIB, PAGE_SMALL, 0.7 }, { 2 * MIB, PAGE_SMALL, 0.7 },
    { 64 * MIB, PAGE_SMALL, 1.5 }, { 1 * GIB, PAGE_SMALL, 5 },    { 4 * GIB, PAGE_SMALL, 5 },
    { 2 * MIB, PAGE_HUGE, 0.7 },   { 64 * MIB, PAGE_HUGE, 1 },    { 1 * GIB, PAGE_HUGE, 2 },
    { 4 * GIB, PAGE_HUGE, 4 },
};

struct times {
    struct samples allocate;
    struct samples release;
};

/* Of one shape in one placement. */
struct trial {
    struct times ours;
    struct times floors[2]; /* by enum solo_way */
    unsigned int ways;      /* how many there are */
    struct times peer;
};

static void times_empty(struct times *times)
{
    times->allocate.count = times->release.count = 0;
}

static void times_deinit(struct times *times)
{
    samples_deinit(&times->allocate);
    samples_deinit(&times->release);
}

static void trial_deinit(struct trial *trial)
{
    times_deinit(&trial->ours);
    times_deinit(&trial->peer);
    for (size_t i = 0; i < ARRAY_LEN(trial->floors); i++)
        times_deinit(&trial->floors[i]);
}

/* Return: 0, or a negative errno with the library's last error. */
static int ours_once(struct bench *bench, const struct shape *shape, struct times *times)
{
    dmabufd_buffer *buffer;
    uint64_t begin = now_ns();
    int r = dmabufd_alloc(bench->d, shape->size, shape->page_size, &buffer);

    if (r < 0)
        return r;
    *(volatile char *)dmabufd_buffer_data(buffer) = 1;
    samples_add_since(&times->allocate, begin);
    begin = now_ns();
    r = dmabufd_free(buffer);
    samples_add_since(&times->release, begin);
    return r;
}

static int floor_once(struct bench *bench, const struct shape *shape, enum solo_way way,
                      struct times *times)
{
    struct solo_buffer buffer;
    uint64_t begin = now_ns();
    int r = solo_allocate(&bench->solo, way, shape->size, shape->page_size, 0, &buffer);

    if (r < 0)
        return r;
    *(volatile unsigned char *)buffer.data = 1;
    samples_add_since(&times->allocate, begin);
    begin = now_ns();
    solo_free(&bench->solo, &buffer);
    samples_add_since(&times->release, begin);
    return 0;
}

/* Has huge pages only. What it cannot do is missing in @times. */
static void peer_once(struct bench *bench, const struct shape *shape, enum place place,
                      struct times *times)
{
    CLEANUP_SAMPLES struct samples both = { 0 };
    struct peer_order order = { .what = PEER_ALLOCATE,
                                .size = shape->size,
                                .page_size = shape->page_size,
                                .cpus = { place == PLACE_TWO_CPUS ? bench->placement.far
                                                                  : bench->placement.near } };

    if (shape->page_size == PAGE_SMALL || peer_order(&bench->peer, &order, &both) ||
        both.count != 2)
        return;
    samples_add(&times->allocate, both.list[0]);
    samples_add(&times->release, both.list[1]);
}

/* Return: NULL, or why it cannot be measured. */
static const char *one_round(struct bench *bench, const struct shape *shape, enum place place,
                             struct trial *trial)
{
    if (ours_once(bench, shape, &trial->ours) < 0)
        return dmabufd_last_error();
    for (unsigned int way = 0; way < trial->ways; way++) {
        if (floor_once(bench, shape, way, &trial->floors[way]) < 0)
            return "the floor could not be measured: not enough memory or huge pages";
    }
    peer_once(bench, shape, place, &trial->peer);
    return NULL;
}

/* One round before those that count, except where a round takes seconds. */
static const char *all_rounds(struct bench *bench, const struct shape *shape, enum place place,
                              struct trial *trial)
{
    bool large = shape->size >= GIB;
    const char *why = NULL;
    struct pace pace;

    if (!large) {
        why = one_round(bench, shape, place, trial);
        times_empty(&trial->ours);
        times_empty(&trial->peer);
        for (unsigned int way = 0; way < trial->ways; way++)
            times_empty(&trial->floors[way]);
    }
    pace = pace_begin(bench, shape->seconds, large || bench->quick ? 3 : 5);
    while (!why && pace_more(&pace))
        why = one_round(bench, shape, place, trial);
    return why;
}

static void name(char what[WHAT_MAX], const char *verb, const struct shape *shape, const char *way)
{
    char size[16], page[16];

    snprintf(what, WHAT_MAX, "%s %s, %s pages%s", verb, format_size(size, shape->size),
             format_size(page, shape->page_size), way);
}

static void add(struct bench *bench, const char *verb, const struct shape *shape, enum place place,
                const char *way, struct samples *ours, struct samples *floor, struct samples *peer)
{
    struct result result = { .row = ROW,
                             .where = placement_name(place),
                             .floor_name = bench->no_solo ? bench->no_solo : FLOOR_NAME,
                             .ours = samples_summary(ours),
                             .floor = samples_summary(floor) };

    name(result.what, verb, shape, way);
    if (shape->page_size == PAGE_HUGE)
        add_peer(bench, &result, PEER_NAME, peer);
    report_add(&bench->report, &result);
}

/* Return: NULL, or why not even to try: what is left to others must not come from swapping. */
static const char *impossible(const struct bench *bench, const struct shape *shape,
                              enum place place)
{
    if (!placement_possible(&bench->placement, place))
        return "one CPU";
    if (shape->page_size == PAGE_SMALL && shape->size > meminfo("MemAvailable:") / 2)
        return "more than half of the host's available memory";
    return NULL;
}

static void measure(struct bench *bench, const struct shape *shape, enum place place)
{
    CLEANUP(trial_deinit) struct trial trial = { 0 };
    const char *why = impossible(bench, shape, place);
    char what[WHAT_MAX];

    /* Of huge pages there is one at a time either way. */
    if (!bench->no_solo)
        trial.ways = shape->page_size == PAGE_SMALL ? 2 : 1;
    if (!why) {
        placement_enter(&bench->placement, place);
        why = all_rounds(bench, shape, place, &trial);
    }
    if (why) {
        name(what, "allocate", shape, "");
        report_skip(&bench->report, ROW, what, placement_name(place), why);
        return;
    }
    add(bench, "allocate", shape, place, trial.ways > 1 ? " / by pin" : "", &trial.ours.allocate,
        &trial.floors[SOLO_BY_PIN].allocate, &trial.peer.allocate);
    if (trial.ways > 1)
        add(bench, "allocate", shape, place, " / by fallocate", &trial.ours.allocate,
            &trial.floors[SOLO_BY_FALLOCATE].allocate, &trial.peer.allocate);
    add(bench, "free", shape, place, "", &trial.ours.release, &trial.floors[SOLO_BY_PIN].release,
        &trial.peer.release);
}

void row_cold(struct bench *bench)
{
    for (size_t i = 0; i < ARRAY_LEN(shapes); i++) {
        /* A second each, and more. */
        if (bench->quick &&
            (shapes[i].size > GIB || (shapes[i].size == GIB && shapes[i].page_size == PAGE_SMALL)))
            continue;
        measure(bench, &shapes[i], PLACE_SAME_CPU);
        measure(bench, &shapes[i], PLACE_TWO_CPUS);
    }
}
