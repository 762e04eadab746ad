/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Order statistics; see samples.h. */
#include "bench/samples.h"

#include <err.h>
#include <stdlib.h>

void samples_add(struct samples *samples, double value)
{
    if (samples->count == samples->capacity) {
        size_t capacity = samples->capacity ? samples->capacity * 2 : 1024;
        double *list = reallocarray(samples->list, capacity, sizeof(*list));

        if (!list)
            err(1, "samples");
        samples->list = list;
        samples->capacity = capacity;
    }
    samples->list[samples->count++] = value;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double percentile(const struct samples *samples, double percent)
{
    double rank = percent / 100 * (double)(samples->count - 1);
    size_t below = (size_t)rank;
    double low = samples->list[below];

    if (below + 1 == samples->count)
        return low;
    return low + (samples->list[below + 1] - low) * (rank - (double)below);
}

struct summary samples_summary(struct samples *samples)
{
    if (samples->count == 0)
        return (struct summary){ 0 };
    qsort(samples->list, samples->count, sizeof(*samples->list), compare);
    return (struct summary){
        .count = samples->count,
        .min = samples->list[0],
        .p10 = percentile(samples, 10),
        .median = percentile(samples, 50),
        .p90 = percentile(samples, 90),
        .p99 = percentile(samples, 99),
        .max = samples->list[samples->count - 1],
    };
}

struct summary samples_one(double value)
{
    return (struct summary){ 1, value, value, value, value, value, value };
}

void samples_deinit(struct samples *samples)
{
    free(samples->list);
    *samples = (struct samples){ 0 };
}
