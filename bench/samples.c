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
    struct summary summary = { .count = samples->count };

    if (samples->count == 0)
        return summary;
    qsort(samples->list, samples->count, sizeof(*samples->list), compare);
    for (size_t i = 0; i < ARRAY_LEN(summary.percentile); i++)
        summary.percentile[i] = percentile(samples, (double)i);
    return summary;
}

struct summary samples_one(double value)
{
    struct summary summary = { .count = 1 };

    for (size_t i = 0; i < ARRAY_LEN(summary.percentile); i++)
        summary.percentile[i] = value;
    return summary;
}

void samples_deinit(struct samples *samples)
{
    free(samples->list);
    *samples = (struct samples){ 0 };
}
