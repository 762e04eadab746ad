/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Crew: one or two pinned threads that do the same work at the same time, in rounds that begin
 * together; and the work of the row "heap", the same for whoever's heap it is.
 */
#ifndef BENCH_CREW_H
#define BENCH_CREW_H

#include <err.h>
#include <stddef.h>

#include "bench/samples.h"

#define CREW_MAX 2

/** Pairs of allocate and free in a round. */
#define CREW_PAIRS 2048
/** Objects that are alive at once when they are taken in bursts. */
#define CREW_BURST 64

struct crew {
    unsigned int threads;
    int cpus[CREW_MAX]; /* of each */
    /** One round of @thread, CREW_PAIRS. */
    void (*work)(void *data, unsigned int thread);
    void *data;
};

/** crew_run() - some rounds to get warm, then some that count: nanoseconds a pair, of each thread. */
void crew_run(const struct crew *crew, struct samples *samples);

typedef void *crew_take(void *heap, size_t size);
typedef void crew_give(void *heap, void *object);

/**
 * crew_pairs() - the work, inlined with known @take and @give
 * @burst: 1, or CREW_BURST: take so many, then give them all back in the order they came
 */
static inline __attribute__((always_inline)) void crew_pairs(crew_take *take, crew_give *give,
                                                             void *heap, size_t size,
                                                             unsigned int burst)
{
    void *objects[CREW_BURST];

    for (unsigned int i = 0; i < CREW_PAIRS; i += burst) {
        for (unsigned int k = 0; k < burst; k++) {
            objects[k] = take(heap, size);
            if (!objects[k])
                errx(1, "a heap gave no object of %zu bytes", size);
        }
        for (unsigned int k = 0; k < burst; k++)
            give(heap, objects[k]);
    }
}

#endif
