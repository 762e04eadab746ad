/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Samples: measured values, and what is said of them: median and percentiles, never a mean. */
#ifndef BENCH_SAMPLES_H
#define BENCH_SAMPLES_H

#include <stddef.h>
#include <stdint.h>
#include <time.h>

#include "common/cleanup.h"

/** Fewer samples than this have no 99th percentile. */
#define SAMPLES_FOR_P99 100

/** Values in one unit; zero-initialise. */
struct samples {
    double *list;
    size_t count;
    size_t capacity;
};

struct summary {
    size_t count; /* 0: nothing was measured */
    /* [0] is the least, [50] the median, [100] the greatest; [99] means nothing below
     * SAMPLES_FOR_P99. */
    double percentile[101];
};

/** samples_add() - exits when there is no memory. */
void samples_add(struct samples *samples, double value);

/** samples_summary() - sorts; percentiles are interpolated between the two nearest samples. */
struct summary samples_summary(struct samples *samples);

/** samples_one() - the summary of a single value. */
struct summary samples_one(double value);

/** samples_deinit() - safe to repeat. */
void samples_deinit(struct samples *samples);

#define CLEANUP_SAMPLES CLEANUP(samples_deinit)

/** now_ns() - a clock that nobody adjusts. */
static inline uint64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC_RAW, &now);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

/** samples_add_since() - the nanoseconds since @begin. */
static inline void samples_add_since(struct samples *samples, uint64_t begin)
{
    uint64_t end = now_ns();

    samples_add(samples, (double)(end - begin));
}

#endif
