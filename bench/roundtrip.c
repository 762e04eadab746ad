/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "roundtrip": the smallest request that goes all the way, client, broker, keeper and back,
 * beside processes that only hand a datagram on (chain.h).
 */
#include <err.h>
#include <stdio.h>

#include "bench/bench.h"
#include "bench/chain.h"

#define ROW "roundtrip"
/* Trips of one kind before it is the other's turn: enough to be warm, few enough to share noise. */
#define TURN 50

struct trips {
    struct samples ours;
    struct samples chains[CHAIN_HOPS_MAX];
};

static void request_once(struct bench *bench, struct samples *samples)
{
    struct dmabufd_status status;
    uint64_t begin = now_ns();

    if (dmabufd_get_status(bench->d, &status) < 0)
        errx(1, "%s", dmabufd_last_error());
    samples_add_since(samples, begin);
}

static void trip_once(const struct chain *chain, struct samples *samples)
{
    uint64_t begin = now_ns();

    chain_trip(chain);
    samples_add_since(samples, begin);
}

static void take_turns(struct bench *bench, const struct chain *chains, struct trips *trips)
{
    struct pace pace = pace_begin(bench, 2, 10);

    while (pace_more(&pace)) {
        for (int i = 0; i < TURN; i++)
            request_once(bench, &trips->ours);
        for (int hops = 0; hops < CHAIN_HOPS_MAX; hops++) {
            for (int i = 0; i < TURN; i++)
                trip_once(&chains[hops], &trips->chains[hops]);
        }
    }
}

static void measure(struct bench *bench, enum place place)
{
    CLEANUP_CHAIN struct chain one = { .socket = -1 };
    CLEANUP_CHAIN struct chain two = { .socket = -1 };
    struct trips trips = { 0 };
    struct chain chains[CHAIN_HOPS_MAX];
    struct summary ours;

    if (!placement_possible(&bench->placement, place)) {
        report_skip(&bench->report, ROW, "status request", placement_name(place), "one CPU");
        return;
    }
    placement_enter(&bench->placement, place);
    chain_start(&one, 1, chain_echo, NULL, &bench->placement, place);
    chain_start(&two, 2, chain_echo, NULL, &bench->placement, place);
    chains[0] = one;
    chains[1] = two;
    take_turns(bench, chains, &trips);
    ours = samples_summary(&trips.ours);
    for (int hops = CHAIN_HOPS_MAX; hops > 0; hops--) {
        struct result result = {
            .row = ROW,
            .where = placement_name(place),
            .ours = ours,
            .floor = samples_summary(&trips.chains[hops - 1]),
            .floor_name = "bare datagram to an echo process and back, 1 hop, or 2 by a relay",
        };

        snprintf(result.what, sizeof(result.what), "status request / bare, %d hop%s", hops,
                 hops > 1 ? "s" : "");
        report_add(&bench->report, &result);
        samples_deinit(&trips.chains[hops - 1]);
    }
    samples_deinit(&trips.ours);
}

void row_roundtrip(struct bench *bench)
{
    measure(bench, PLACE_SAME_CPU);
    measure(bench, PLACE_TWO_CPUS);
}
