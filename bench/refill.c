/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "refill": how fast the pool is full again: files of 2 MiB are taken out of it at once and kept, and
 * the time is from the first grant until as many are ready anew, for each file. Beside it a process that
 * does only what makes one ready, one after the other (solo.h); grants, and the moment that the daemon
 * waits before it begins, are in ours alone.
 */
#include <stdio.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/stock.h"

#define ROW        "refill"
#define WHAT       "2 MiB ready again, each of 64 files"
#define FLOOR_NAME "one privileged process: memfd, mmap, pin by io_uring, pagemap"

/* Taken at once. */
#define FILES 64

#define POOL_PAGES 96
#define SECONDS    3
/* How often to ask, towards the end: asking takes time from what it asks about. */
#define LOOK_EVERY_US 200
#define WAIT_NS       UINT64_C(10000000000)

struct trial {
    struct samples ours;
    struct samples floor;
    uint64_t shortest; /* of ours so far, all files, ns; 0: none */
};

static void trial_deinit(struct trial *trial)
{
    samples_deinit(&trial->ours);
    samples_deinit(&trial->floor);
}

/* Return: false: it does not become full. */
static bool wait_until_full(struct stock *stock, uint64_t begin, uint64_t shortest)
{
    uint64_t quiet = shortest - shortest / 10, gone = now_ns() - begin;

    if (gone < quiet)
        usleep((useconds_t)((quiet - gone) / 1000));
    do {
        stock_look(stock);
        if (stock->set.ready == stock->set.target)
            return true;
        usleep(LOOK_EVERY_US);
    } while (now_ns() - begin < WAIT_NS);
    return false;
}

/* Return: NULL, or why that was not it. */
static const char *ours_once(struct bench *bench, struct stock *stock, struct trial *trial)
{
    dmabufd_buffer *buffers[FILES];
    uint64_t grants = stock->set.grants, begin = now_ns(), gone;
    const char *why = NULL;
    unsigned int taken = 0;

    while (!why && taken < FILES) {
        if (dmabufd_alloc(bench->d, PAGE_HUGE, PAGE_HUGE, &buffers[taken]) < 0)
            why = dmabufd_last_error();
        else
            taken++;
    }
    if (!why && !wait_until_full(stock, begin, trial->shortest))
        why = "the pool does not become full: too few huge pages are free";
    gone = now_ns() - begin;
    if (!why) {
        samples_add(&trial->ours, (double)gone / FILES);
        if (trial->shortest == 0 || gone < trial->shortest)
            trial->shortest = gone;
    }
    while (taken > 0)
        dmabufd_free(buffers[--taken]);
    if (!why)
        why = stock_settle(stock);
    if (!why && stock->set.grants != grants + FILES)
        why = "not all of it came from the pool";
    return why;
}

/* Where the daemon does the same: whatever else the host does, it does on that CPU. */
static const char *floor_once(const struct bench *bench, enum place place, struct trial *trial)
{
    struct solo_buffer buffers[FILES] = { 0 };
    uint32_t made = 0;
    uint64_t begin;
    int r = 0;

    placement_enter_peer(&bench->placement, place);
    begin = now_ns();
    while (r == 0 && made < FILES) {
        r = solo_allocate(&bench->solo, SOLO_BY_PIN, PAGE_HUGE, PAGE_HUGE, made, &buffers[made]);
        made += r == 0;
    }
    if (r == 0)
        samples_add(&trial->floor, (double)(now_ns() - begin) / FILES);
    while (made > 0)
        solo_free(&bench->solo, &buffers[--made]);
    placement_enter(&bench->placement, place);
    return r == 0 ? NULL : "the floor could not be measured: not enough huge pages";
}

static const char *take_turns(struct bench *bench, struct stock *stock, enum place place,
                              struct trial *trial)
{
    const char *why = ours_once(bench, stock, trial);
    struct pace pace = pace_begin(bench, SECONDS, 5);

    trial->ours.count = 0;
    while (!why && pace_more(&pace)) {
        why = ours_once(bench, stock, trial);
        if (!why)
            why = floor_once(bench, place, trial);
    }
    return why;
}

/* Ratios are of times here as in other rows; people think of this as a speed. */
static void note_speed(struct result *result)
{
    double ours = 1e9 / result->ours.percentile[50], floor = 1e9 / result->floor.percentile[50];

    snprintf(result->note, sizeof(result->note),
             "ours %.0f files/s, %.0f MiB/s; floor %.0f files/s, %.0f MiB/s", ours, 2 * ours, floor,
             2 * floor);
}

static void measure(struct bench *bench, struct stock *stock, enum place place)
{
    CLEANUP(trial_deinit) struct trial trial = { 0 };
    struct result result = {
        .row = ROW, .where = placement_name(place), .what = WHAT, .floor_name = FLOOR_NAME
    };
    const char *why = placement_possible(&bench->placement, place) ? NULL : "one CPU";

    if (!why) {
        placement_enter(&bench->placement, place);
        why = take_turns(bench, stock, place, &trial);
    }
    if (why) {
        report_skip(&bench->report, ROW, WHAT, result.where, why);
        return;
    }
    result.ours = samples_summary(&trial.ours);
    result.floor = samples_summary(&trial.floor);
    note_speed(&result);
    report_add(&bench->report, &result);
}

void row_refill(struct bench *bench)
{
    CLEANUP_STOCK struct stock stock = { 0 };
    const char *why = bench->no_solo;

    if (!why)
        why = stock_make(&stock, bench, POOL_PAGES);
    if (why) {
        report_skip(&bench->report, ROW, WHAT, "-", why);
        return;
    }
    measure(bench, &stock, PLACE_SAME_CPU);
    measure(bench, &stock, PLACE_TWO_CPUS);
    measure(bench, &stock, PLACE_ANY_CPU);
}
