/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "translate": random pointers into 1 GiB of buffers to device addresses, beside one bare load
 * from a flat table with an entry for each page (table.h), inline and behind a function call like
 * ours, and beside DPDK's two ways over 1 GiB of its own (dpdk-memory.c). All read lists of random
 * places of the same length; see walk.h for what independent and chained mean.
 *
 * batched: ours by dmabufd_translate_pointers(), beside the same. inlined: by dmabufd_translate_inline();
 * address: the same without the length, for the address only, which is all that the bare load tells.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "bench/bench.h"
#include "bench/table.h"
#include "bench/walk.h"
#include "client/dmabufd-inline.h"

#define ROW         "translate"
#define TOTAL       GIB
#define BUFFERS_MAX 16
#define PEER_NAME \
    "DPDK: rte_mem_virt2iova() of any pointer, or rte_malloc_virt2iova() where an object begins"
/* Pointers in one call. */
#define BATCH 32
/* Walks over the list in one turn. */
#define WARM  8
#define TIMED 8

struct region {
    dmabufd_buffer *buffers[BUFFERS_MAX];
    unsigned int count;
    uint64_t page_size;
};

struct places {
    const char **pointers; /* into the buffers */
    const char **numbers;  /* of the same pages, for the table */
    struct table table;
};

/* Of whom the device address is asked. */
enum way {
    OURS,
    LOAD_SMALL, /* the bare load, inline, by page size */
    LOAD_HUGE,
    CALL_SMALL, /* the same in a function */
    CALL_HUGE,
    BATCHED, /* ours, many in a call */
    INLINED, /* ours, without a call */
    ADDRESS, /* the same, without length */
};

/* ---- what is timed ---- */

static int ask_ours(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                    uint64_t *ret_length)
{
    return dmabufd_translate(of, pointer, ret_dma_addr, ret_length);
}

static inline __attribute__((always_inline)) int ask_inlined(const void *of, const char *pointer,
                                                             uint64_t *ret_dma_addr,
                                                             uint64_t *ret_length)
{
    return dmabufd_translate_inline(of, pointer, ret_dma_addr, ret_length);
}

static inline __attribute__((always_inline)) int ask_address(const void *of, const char *pointer,
                                                             uint64_t *ret_dma_addr,
                                                             uint64_t *ret_length)
{
    *ret_length = 0;
    return dmabufd_translate_inline(of, pointer, ret_dma_addr, NULL);
}

static int load_small(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    *ret_dma_addr = table_load(of, (uintptr_t)pointer, 12);
    *ret_length = 0;
    return 0;
}

static int load_huge(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                     uint64_t *ret_length)
{
    *ret_dma_addr = table_load(of, (uintptr_t)pointer, 21);
    *ret_length = 0;
    return 0;
}

static int call_small(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    return table_translate_small(of, pointer, ret_dma_addr, ret_length);
}

static int call_huge(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                     uint64_t *ret_length)
{
    return table_translate_huge(of, pointer, ret_dma_addr, ret_length);
}

static void walk_batched(const dmabufd *d, const struct places *places)
{
    struct dmabufd_translation answers[BATCH];
    uint64_t sum = 0;

    for (size_t i = 0; i < WALK_PLACES; i += BATCH) {
        if (dmabufd_translate_pointers(d, (const void *const *)&places->pointers[i], BATCH,
                                       answers) != BATCH)
            errx(1, "a pointer into a buffer did not translate");
        for (size_t k = 0; k < BATCH; k++)
            sum += answers[k].dma_addr ^ answers[k].length;
    }
    walk_sink = sum;
}

/* In a function of its own: the tables are a copy in it, as the header advises. */
static inline __attribute__((always_inline)) void walk_inlined(const dmabufd *d,
                                                               const struct places *places,
                                                               walk_ask *ask, bool chained)
{
    struct dmabufd_tables got, tables;

    if (dmabufd_get_tables(d, DMABUFD_TABLES_LAYOUT, &got) < 0)
        errx(1, "this is another library");
    tables = got;
    walk(ask, &tables, places->pointers, WALK_PLACES, chained);
}

static inline __attribute__((always_inline)) void run(const dmabufd *d, const struct places *places,
                                                      enum way way, bool chained)
{
    switch (way) {
    case OURS:
        walk(ask_ours, d, places->pointers, WALK_PLACES, chained);
        break;
    case LOAD_SMALL:
        walk(load_small, &places->table, places->numbers, WALK_PLACES, chained);
        break;
    case LOAD_HUGE:
        walk(load_huge, &places->table, places->numbers, WALK_PLACES, chained);
        break;
    case CALL_SMALL:
        walk(call_small, &places->table, places->numbers, WALK_PLACES, chained);
        break;
    case CALL_HUGE:
        walk(call_huge, &places->table, places->numbers, WALK_PLACES, chained);
        break;
    case BATCHED:
        walk_batched(d, places);
        break;
    case INLINED:
        walk_inlined(d, places, ask_inlined, chained);
        break;
    case ADDRESS:
        walk_inlined(d, places, ask_address, chained);
        break;
    }
}

__attribute__((noinline)) static void run_independent(const dmabufd *d, const struct places *places,
                                                      enum way way)
{
    run(d, places, way, false);
}

__attribute__((noinline)) static void run_chained(const dmabufd *d, const struct places *places,
                                                  enum way way)
{
    run(d, places, way, true);
}

/* ---- around it ---- */

/* One's turn: first until the caches hold its table again and not the others'. */
static void take_turn(const struct bench *bench, const struct places *places, enum way way,
                      bool chained, struct samples *samples)
{
    for (int i = 0; i < WARM + TIMED; i++) {
        uint64_t begin = now_ns();

        if (chained)
            run_chained(bench->d, places, way);
        else
            run_independent(bench->d, places, way);
        if (i >= WARM)
            samples_add(samples, (double)(now_ns() - begin) / WALK_PLACES);
    }
}

/* What it cannot do is missing in @samples. */
static void take_peer_turn(struct bench *bench, const struct region *region, enum peer_way way,
                           bool chained, struct samples *samples)
{
    struct peer_order order = { .what = PEER_WALK,
                                .way = way,
                                .size = TOTAL,
                                .page_size = region->page_size,
                                .chained = chained,
                                .cpus = { bench->placement.near } };

    peer_order(&bench->peer, &order, samples);
}

/* A line: ours beside one way to the floor and one way of the peer. */
static void report(struct bench *bench, const struct region *region, const char *way,
                   const struct summary *ours, struct samples *floor, struct samples *peer,
                   const char *how)
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
    add_peer(bench, &result, PEER_NAME, peer);
    report_add(&bench->report, &result);
}

static void measure(struct bench *bench, const struct places *places, const struct region *region,
                    bool chained)
{
    bool huge = region->page_size == PAGE_HUGE;
    CLEANUP_SAMPLES struct samples ours = { 0 };
    CLEANUP_SAMPLES struct samples batched = { 0 };
    CLEANUP_SAMPLES struct samples inlined = { 0 };
    CLEANUP_SAMPLES struct samples address = { 0 };
    CLEANUP_SAMPLES struct samples load = { 0 };
    CLEANUP_SAMPLES struct samples call = { 0 };
    CLEANUP_SAMPLES struct samples mem = { 0 };
    CLEANUP_SAMPLES struct samples object = { 0 };
    struct pace pace = pace_begin(bench, 1, 3);
    const char *way = chained ? "chained" : "independent";
    struct summary summary;

    while (pace_more(&pace)) {
        take_turn(bench, places, OURS, chained, &ours);
        if (!chained)
            take_turn(bench, places, BATCHED, chained, &batched);
        take_turn(bench, places, INLINED, chained, &inlined);
        take_turn(bench, places, ADDRESS, chained, &address);
        take_turn(bench, places, huge ? LOAD_HUGE : LOAD_SMALL, chained, &load);
        take_turn(bench, places, huge ? CALL_HUGE : CALL_SMALL, chained, &call);
        take_peer_turn(bench, region, PEER_MEM, chained, &mem);
        take_peer_turn(bench, region, PEER_MALLOC, chained, &object);
    }
    summary = samples_summary(&ours);
    report(bench, region, way, &summary, &load, &mem, "inline, mem");
    report(bench, region, way, &summary, &call, &object, "called, malloc");
    summary = samples_summary(&inlined);
    report(bench, region, chained ? "inlined chained" : "inlined", &summary, &load, &object,
           "inline, malloc");
    summary = samples_summary(&address);
    report(bench, region, chained ? "address chained" : "address", &summary, &load, &object,
           "inline, malloc");
    if (chained)
        return;
    summary = samples_summary(&batched);
    report(bench, region, "batched", &summary, &load, &object, "inline, malloc");
}

static void region_free(struct region *region)
{
    while (region->count > 0)
        dmabufd_free(region->buffers[--region->count]);
}

/* The peer's memory of such pages, as much as ours. */
static void prepare_peer(struct bench *bench, uint64_t page_size)
{
    struct peer_order order = { .what = PEER_PREPARE,
                                .size = TOTAL,
                                .page_size = page_size,
                                .cpus = { bench->placement.near } };

    peer_order(&bench->peer, &order, NULL);
}

static void release_peer(struct bench *bench)
{
    struct peer_order order = { .what = PEER_RELEASE, .cpus = { bench->placement.near } };

    peer_order(&bench->peer, &order, NULL);
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

static void fill_places(const struct places *places, const struct region *region)
{
    uint64_t each = TOTAL / region->count, state = WALK_SEED;

    for (size_t i = 0; i < WALK_PLACES; i++) {
        uint64_t offset = walk_random(&state) % TOTAL;
        const char *data = dmabufd_buffer_data(region->buffers[offset / each]);

        places->numbers[i] = (const char *)places->table.base + offset;
        places->pointers[i] = data + offset % each;
    }
}

/* The yardstick must agree with what it measures. */
static void check(const dmabufd *d, const struct places *places)
{
    const struct table *table = &places->table;

    for (size_t i = 0; i < WALK_PLACES; i++) {
        uint64_t dma_addr, length;

        if (dmabufd_translate(d, places->pointers[i], &dma_addr, &length) < 0 ||
            dma_addr != table_load(table, (uintptr_t)places->numbers[i], table->shift))
            errx(1, "the library and the table disagree on an address");
    }
}

static void one_region(struct bench *bench, unsigned int count, uint64_t page_size)
{
    CLEANUP(region_free) struct region region = { .count = 0 };
    CLEANUP_FREE const char **pointers = calloc(WALK_PLACES, sizeof(*pointers));
    CLEANUP_FREE const char **numbers = calloc(WALK_PLACES, sizeof(*numbers));
    struct places places = { .pointers = pointers, .numbers = numbers };

    if (!pointers || !numbers)
        err(1, "no memory");
    if (region_allocate(bench, &region, count, page_size) < 0) {
        char what[64], size[16], page[16];

        snprintf(what, sizeof(what), "%u x %s, %s pages", count, format_size(size, TOTAL / count),
                 format_size(page, page_size));
        report_skip(&bench->report, ROW, what, "one CPU", dmabufd_last_error());
        return;
    }
    map_table(&places.table, page_size == PAGE_HUGE ? 21 : 12);
    fill_table(&places.table, &region);
    fill_places(&places, &region);
    check(bench->d, &places);
    measure(bench, &places, &region, false);
    measure(bench, &places, &region, true);
    unmap_table(&places.table);
}

static void both_regions(struct bench *bench, uint64_t page_size)
{
    prepare_peer(bench, page_size);
    one_region(bench, 1, page_size);
    one_region(bench, 16, page_size);
    release_peer(bench);
}

void row_translate(struct bench *bench)
{
    placement_enter(&bench->placement, PLACE_SAME_CPU);
    both_regions(bench, PAGE_HUGE);
    both_regions(bench, PAGE_SMALL);
}
