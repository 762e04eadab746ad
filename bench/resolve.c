/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "resolve": the addresses of 1 GiB that is pinned already, by the keeper's own code for the
 * pagemap backend, called here, beside bare reads of the same entries in pieces of 32 MiB (solo.h),
 * and beside what DPDK does: ask page by page. In a running daemon this is a part of an allocation.
 *
 * What iommufd's calls cost cannot be measured where it is emulated; how many there are, the row
 * "getpa" says.
 */
#include <errno.h>
#include <string.h>

#include "bench/bench.h"
#include "daemon/keeper/pfn.h"

#define ROW        "resolve"
#define SIZE       GIB
#define FLOOR_NAME "pread(2) of pagemap, 32 MiB at a time, and the spans of it"
#define PEER_NAME  "DPDK: rte_mem_virt2iova() for each page"

struct times {
    struct samples ours;
    struct samples floor;
    struct samples peer;
};

static void times_deinit(struct times *times)
{
    samples_deinit(&times->ours);
    samples_deinit(&times->floor);
    samples_deinit(&times->peer);
}

static int ours_once(struct bench *bench, const struct solo_buffer *buffer, uint64_t page_size,
                     struct samples *samples)
{
    CLEANUP(spans_deinit) struct spans spans = { 0 };
    struct fault fault = { 0 };
    uint64_t begin = now_ns();
    int r = pfn_resolve(bench->solo.pagemap, buffer->data, SIZE, page_size, &spans, &fault);

    samples_add_since(samples, begin);
    if (r == 0 && (spans.count != buffer->spans.count ||
                   memcmp(spans.list, buffer->spans.list, spans.count * sizeof(*spans.list)) != 0))
        r = -EIO;
    return r;
}

static int floor_once(struct bench *bench, const struct solo_buffer *buffer, uint64_t page_size,
                      struct samples *samples)
{
    CLEANUP(spans_deinit) struct spans spans = { 0 };
    uint64_t begin = now_ns();
    int r = solo_resolve(&bench->solo, buffer, 0, SIZE, page_size, &spans);

    samples_add_since(samples, begin);
    return r;
}

static int take_turns(struct bench *bench, uint64_t page_size, struct times *times)
{
    struct peer_order order = { .size = SIZE,
                                .page_size = page_size,
                                .cpus = { bench->placement.near } };
    struct solo_buffer buffer = { .fd = -1 };
    struct pace pace;
    int r = solo_allocate(&bench->solo, SOLO_BY_PIN, SIZE, page_size, 0, &buffer);

    if (r < 0)
        return r;
    order.what = PEER_PREPARE;
    peer_order(&bench->peer, &order, NULL);
    order.what = PEER_RESOLVE;
    pace = pace_begin(bench, 2, 3);
    while (r == 0 && pace_more(&pace)) {
        r = ours_once(bench, &buffer, page_size, &times->ours);
        if (r == 0)
            r = floor_once(bench, &buffer, page_size, &times->floor);
        peer_order(&bench->peer, &order, &times->peer);
    }
    order.what = PEER_RELEASE;
    peer_order(&bench->peer, &order, NULL);
    solo_free(&bench->solo, &buffer);
    return r;
}

static void measure(struct bench *bench, uint64_t page_size)
{
    CLEANUP(times_deinit) struct times times = { 0 };
    struct result result = { .row = ROW, .where = "one CPU", .floor_name = FLOOR_NAME };
    char page[16], why[128];
    int r;

    snprintf(result.what, sizeof(result.what), "1 GiB, %s pages", format_size(page, page_size));
    if (bench->no_solo) {
        report_skip(&bench->report, ROW, result.what, result.where, bench->no_solo);
        return;
    }
    r = take_turns(bench, page_size, &times);
    if (r < 0) {
        snprintf(why, sizeof(why), "1 GiB of such pages could not be had and resolved: %s",
                 strerror(-r));
        report_skip(&bench->report, ROW, result.what, result.where, why);
        return;
    }
    result.ours = samples_summary(&times.ours);
    result.floor = samples_summary(&times.floor);
    add_peer(bench, &result, PEER_NAME, &times.peer);
    report_add(&bench->report, &result);
}

void row_resolve(struct bench *bench)
{
    placement_enter(&bench->placement, PLACE_SAME_CPU);
    measure(bench, PAGE_HUGE);
    measure(bench, PAGE_SMALL);
}
