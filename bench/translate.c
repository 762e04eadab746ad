/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "translate": random pointers into 1 GiB of buffers to device addresses, beside one bare load
 * from a flat table with an entry for each page (table.h), inline and behind a function call like
 * ours. All read the same list of random places. batched: ours by dmabufd_translate_pointers().
 *
 * independent: the next translation does not need the last one's result (throughput);
 * chained: its address is computed from it (latency).
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/bench.h"
#include "bench/table.h"

#define ROW         "translate"
#define TOTAL       GIB
#define BUFFERS_MAX 16
#define SEED        UINT64_C(0x9e3779b97f4a7c15)
/* Places in the list. As many touch nearly all of the larger table, and the list stays small. */
#define PLACES 65536
/* Walks over the list in one turn. */
#define WARM 8
/* Pointers in one call. */
#define BATCH 32
#define TIMED 8

struct region {
    dmabufd_buffer *buffers[BUFFERS_MAX];
    unsigned int count;
    uint64_t page_size;
};

struct walk {
    dmabufd *d;
    const char **pointers; /* into the buffers */
    const char **places;   /* of the same pages, for the table */
    struct table table;
    uint64_t zero; /* which the compiler does not know */
};

/* Of whom the device address is asked. */
enum way {
    OURS,
    LOAD_SMALL, /* the bare load, inline, by page size */
    LOAD_HUGE,
    CALL_SMALL, /* the same in a function */
    CALL_HUGE,
    BATCHED, /* ours, many in a call */
};

/* Keeps results alive. */
static volatile uint64_t sink;

static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* ---- what is timed ---- */

typedef int ask_fn(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                   uint64_t *ret_length);

static int ask_ours(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                    uint64_t *ret_length)
{
    return dmabufd_translate(walk->d, pointer, ret_dma_addr, ret_length);
}

static int load_small(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    *ret_dma_addr = table_load(&walk->table, (uintptr_t)pointer, 12);
    *ret_length = 0;
    return 0;
}

static int load_huge(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                     uint64_t *ret_length)
{
    *ret_dma_addr = table_load(&walk->table, (uintptr_t)pointer, 21);
    *ret_length = 0;
    return 0;
}

static int call_small(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    return table_translate_small(&walk->table, pointer, ret_dma_addr, ret_length);
}

static int call_huge(const struct walk *walk, const char *pointer, uint64_t *ret_dma_addr,
                     uint64_t *ret_length)
{
    return table_translate_huge(&walk->table, pointer, ret_dma_addr, ret_length);
}

/* Inlined with a known @ask, so that nothing is between the loop and what it asks. */
static inline __attribute__((always_inline)) void loop(const struct walk *walk, ask_fn *ask,
                                                       const char *const *places, bool chained)
{
    uint64_t sum = 0, dma_addr = 0, length = 0;
    uint64_t zero = walk->zero;

    for (size_t i = 0; i < PLACES; i++) {
        const char *pointer = chained ? places[i] + (dma_addr & zero) : places[i];

        if (ask(walk, pointer, &dma_addr, &length) < 0)
            errx(1, "a pointer into a buffer did not translate");
        if (!chained)
            sum += dma_addr ^ length;
    }
    sink = sum + dma_addr;
}

static void loop_batched(const struct walk *walk)
{
    struct dmabufd_translation answers[BATCH];
    uint64_t sum = 0;

    for (size_t i = 0; i < PLACES; i += BATCH) {
        if (dmabufd_translate_pointers(walk->d, (const void *const *)&walk->pointers[i], BATCH,
                                       answers) != BATCH)
            errx(1, "a pointer into a buffer did not translate");
        for (size_t k = 0; k < BATCH; k++)
            sum += answers[k].dma_addr ^ answers[k].length;
    }
    sink = sum;
}

static inline __attribute__((always_inline)) void run(const struct walk *walk, enum way way,
                                                      bool chained)
{
    switch (way) {
    case OURS:
        loop(walk, ask_ours, walk->pointers, chained);
        break;
    case LOAD_SMALL:
        loop(walk, load_small, walk->places, chained);
        break;
    case LOAD_HUGE:
        loop(walk, load_huge, walk->places, chained);
        break;
    case CALL_SMALL:
        loop(walk, call_small, walk->places, chained);
        break;
    case CALL_HUGE:
        loop(walk, call_huge, walk->places, chained);
        break;
    case BATCHED:
        loop_batched(walk);
        break;
    }
}

__attribute__((noinline)) static void run_independent(const struct walk *walk, enum way way)
{
    run(walk, way, false);
}

__attribute__((noinline)) static void run_chained(const struct walk *walk, enum way way)
{
    run(walk, way, true);
}

/* ---- around it ---- */

static void walk_once(const struct walk *walk, enum way way, bool chained)
{
    if (chained)
        run_chained(walk, way);
    else
        run_independent(walk, way);
}

/* One's turn: first until the caches hold its table again and not the others'. */
static void take_turn(const struct walk *walk, enum way way, bool chained, struct samples *samples)
{
    for (int i = 0; i < WARM; i++)
        walk_once(walk, way, chained);
    for (int i = 0; i < TIMED; i++) {
        uint64_t begin = now_ns();

        walk_once(walk, way, chained);
        samples_add(samples, (double)(now_ns() - begin) / PLACES);
    }
}

static void report(struct bench *bench, const struct region *region, const char *way,
                   const struct summary *ours, struct samples *floor, const char *how)
{
    struct result result = { .row = ROW,
                             .where = "one CPU",
                             .ours = *ours,
                             .floor = samples_summary(floor),
                             .floor_name =
                                 "one load from a flat table, an entry a page: inline, or called" };
    char size[16], page[16];

    snprintf(result.what, sizeof(result.what), "%u x %s, %s pages, %s / %s", region->count,
             format_size(size, TOTAL / region->count), format_size(page, region->page_size), way,
             how);
    report_add(&bench->report, &result);
}

static void measure(struct bench *bench, const struct walk *walk, const struct region *region,
                    bool chained)
{
    bool huge = region->page_size == PAGE_HUGE;
    CLEANUP_SAMPLES struct samples ours = { 0 };
    CLEANUP_SAMPLES struct samples batched = { 0 };
    CLEANUP_SAMPLES struct samples load = { 0 };
    CLEANUP_SAMPLES struct samples call = { 0 };
    struct pace pace = pace_begin(bench, 1, 3);
    struct summary summary;

    while (pace_more(&pace)) {
        take_turn(walk, OURS, chained, &ours);
        if (!chained)
            take_turn(walk, BATCHED, chained, &batched);
        take_turn(walk, huge ? LOAD_HUGE : LOAD_SMALL, chained, &load);
        take_turn(walk, huge ? CALL_HUGE : CALL_SMALL, chained, &call);
    }
    summary = samples_summary(&ours);
    report(bench, region, chained ? "chained" : "independent", &summary, &load, "inline");
    report(bench, region, chained ? "chained" : "independent", &summary, &call, "called");
    if (chained)
        return;
    summary = samples_summary(&batched);
    report(bench, region, "batched", &summary, &load, "inline");
}

static void region_free(struct region *region)
{
    while (region->count > 0)
        dmabufd_free(region->buffers[--region->count]);
}

static int region_allocate(struct bench *bench, struct region *region, unsigned int count,
                           uint64_t page_size)
{
    *region = (struct region){ .page_size = page_size };
    while (region->count < count) {
        int r = dmabufd_alloc(bench->d, TOTAL / count, page_size, &region->buffers[region->count]);

        if (r < 0)
            return r;
        region->count++;
    }
    return 0;
}

static void map_table(struct table *table, unsigned int shift)
{
    size_t bytes = (TOTAL >> shift) * sizeof(*table->entries);
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    if (p == MAP_FAILED)
        err(1, "mmap");
    /* Nothing is there: the places are only numbers. */
    *table = (struct table){ .entries = p, .base = GIB, .size = TOTAL, .shift = shift };
}

static void unmap_table(struct table *table)
{
    munmap(table->entries, (table->size >> table->shift) * sizeof(*table->entries));
}

static void fill_table(const struct table *table, const struct region *region)
{
    uint64_t each = TOTAL / region->count;
    uint64_t length;

    for (uint64_t offset = 0; offset < TOTAL; offset += region->page_size) {
        if (dmabufd_buffer_translate(region->buffers[offset / each], offset % each,
                                     &table->entries[offset >> table->shift], &length) < 0)
            errx(1, "an offset in a buffer did not translate");
    }
}

static void fill_places(const struct walk *walk, const struct region *region)
{
    uint64_t each = TOTAL / region->count, state = SEED;

    for (size_t i = 0; i < PLACES; i++) {
        uint64_t offset = next_random(&state) % TOTAL;
        const char *data = dmabufd_buffer_data(region->buffers[offset / each]);

        walk->places[i] = (const char *)walk->table.base + offset;
        walk->pointers[i] = data + offset % each;
    }
}

/* The yardstick must agree with what it measures. */
static void check(const struct walk *walk)
{
    for (size_t i = 0; i < PLACES; i++) {
        uint64_t dma_addr, length;

        if (dmabufd_translate(walk->d, walk->pointers[i], &dma_addr, &length) < 0 ||
            dma_addr != table_load(&walk->table, (uintptr_t)walk->places[i], walk->table.shift))
            errx(1, "the library and the table disagree on an address");
    }
}

static void one_region(struct bench *bench, unsigned int count, uint64_t page_size)
{
    CLEANUP(region_free) struct region region;
    CLEANUP_FREE const char **pointers = calloc(PLACES, sizeof(*pointers));
    CLEANUP_FREE const char **places = calloc(PLACES, sizeof(*places));
    static volatile uint64_t zero;
    struct walk walk = { bench->d, pointers, places, { 0 }, zero };

    if (!pointers || !places)
        err(1, "no memory");
    if (region_allocate(bench, &region, count, page_size) < 0) {
        char what[64], size[16], page[16];

        snprintf(what, sizeof(what), "%u x %s, %s pages", count, format_size(size, TOTAL / count),
                 format_size(page, page_size));
        report_skip(&bench->report, ROW, what, "one CPU", dmabufd_last_error());
        return;
    }
    map_table(&walk.table, page_size == PAGE_HUGE ? 21 : 12);
    fill_table(&walk.table, &region);
    fill_places(&walk, &region);
    check(&walk);
    measure(bench, &walk, &region, false);
    measure(bench, &walk, &region, true);
    unmap_table(&walk.table);
}

void row_translate(struct bench *bench)
{
    placement_enter(&bench->placement, PLACE_SAME_CPU);
    one_region(bench, 1, PAGE_HUGE);
    one_region(bench, 16, PAGE_HUGE);
    one_region(bench, 1, PAGE_SMALL);
    one_region(bench, 16, PAGE_SMALL);
}
