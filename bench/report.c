/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The list of results, and the table of them; see report.h. */
#include "bench/report.h"

#include <err.h>
#include <stdlib.h>
#include <string.h>

#define CELL 24

void report_add(struct report *report, const struct result *result)
{
    if (report->count == report->capacity) {
        size_t capacity = report->capacity ? report->capacity * 2 : 64;
        struct result *list = reallocarray(report->list, capacity, sizeof(*list));

        if (!list)
            err(1, "report");
        report->list = list;
        report->capacity = capacity;
    }
    report->list[report->count++] = *result;
    if (report->progress)
        fprintf(stderr, "# %s: %s, %s%s%s\n", result->row, result->what, result->where,
                *result->note ? ": " : "", result->note);
}

void report_skip(struct report *report, const char *row, const char *what, const char *where,
                 const char *why)
{
    struct result result = { .row = row, .where = where, .unit = UNIT_COUNT };

    snprintf(result.what, sizeof(result.what), "%s", what);
    snprintf(result.note, sizeof(result.note), "%s", why);
    report_add(report, &result);
}

void report_deinit(struct report *report)
{
    free(report->list);
    json_decref(report->guest);
    *report = (struct report){ 0 };
}

/* ---- table ---- */

static void format_value(char cell[CELL], enum unit unit, double value)
{
    static const char *const names[UNIT_COUNT][4] = {
        [UNIT_NS] = { "ns", "us", "ms", "s" },
        [UNIT_BYTES] = { "B", "KiB", "MiB", "GiB" },
        [UNIT_CALLS] = { "", "k", "M", "G" },
    };
    double step = unit == UNIT_BYTES ? 1024 : 1000;
    double size = value < 0 ? -value : value;
    int scale = 0;

    if (unit == UNIT_CALLS) {
        snprintf(cell, CELL, "%.0f", value);
        return;
    }
    while (size >= step && scale < 3) {
        size /= step;
        value /= step;
        scale++;
    }
    snprintf(cell, CELL, "%.*f%s", size < 10 ? 2 : size < 100 ? 1 : 0, value, names[unit][scale]);
}

/* Median and spread. */
static void print_summary(enum unit unit, const struct summary *summary)
{
    char median[CELL] = "-", spread[2 * CELL + 4] = "";
    char low[CELL], high[CELL];

    if (summary->count > 0)
        format_value(median, unit, summary->percentile[50]);
    if (summary->count > 1) {
        format_value(low, unit, summary->percentile[10]);
        format_value(high, unit, summary->percentile[90]);
        snprintf(spread, sizeof(spread), "%s..%s", low, high);
    }
    printf(" %7s %16s", median, spread);
}

static void print_p99(enum unit unit, const struct summary *summary)
{
    char p99[CELL] = "-";

    if (summary->count >= SAMPLES_FOR_P99)
        format_value(p99, unit, summary->percentile[99]);
    printf(" %7s", p99);
}

/* Of ours to @other at a percentile, which both must have. */
static void print_ratio(const struct summary *ours, const struct summary *other, size_t percentile)
{
    size_t least = percentile == 99 ? SAMPLES_FOR_P99 : 1;
    double ratio;

    /* Bytes can be fewer than before, which is no ratio. */
    if (ours->count < least || other->count < least || ours->percentile[percentile] < 0 ||
        other->percentile[percentile] <= 0) {
        printf(" %6s", "-");
        return;
    }
    ratio = ours->percentile[percentile] / other->percentile[percentile];
    printf(" %6.*f", ratio < 0.1 ? 4 : 2, ratio);
}

static void print_result(const struct result *result, int width)
{
    printf("%-*s %-8s", width, result->what, result->where);
    if (result->ours.count == 0) {
        printf("  not measured: %s\n", result->note);
        return;
    }
    print_summary(result->unit, &result->ours);
    print_p99(result->unit, &result->ours);
    printf(" |");
    print_summary(result->unit, &result->floor);
    printf(" |");
    print_summary(result->unit, &result->peer);
    printf(" |");
    print_ratio(&result->ours, &result->floor, 50);
    print_ratio(&result->ours, &result->floor, 99);
    print_ratio(&result->ours, &result->peer, 50);
    printf("%s\n", *result->note ? "  *" : "");
}

/* Heading of the row that is @count lines at @list. Return: the width of its first column. */
static int print_heading(const struct result *list, size_t count)
{
    const char *floor = NULL, *peer = NULL;
    size_t width = 0;

    for (size_t i = 0; i < count; i++) {
        size_t length = strlen(list[i].what);

        /* A line without numbers does not know what it was to be compared with. */
        floor = floor ? floor : list[i].floor_name;
        peer = peer ? peer : list[i].peer_name;
        width = length > width ? length : width;
    }
    printf("\n%s\n", list->row);
    if (floor)
        printf("  floor: %s\n", floor);
    if (peer)
        printf("  peer: %s\n", peer);
    printf("%-*s %-8s %7s %16s %7s | %7s %16s | %7s %16s | %6s %6s %6s\n", (int)width, "", "",
           "ours", "p10..p90", "p99", "floor", "p10..p90", "peer", "p10..p90", "/floor", "at p99",
           "/peer");
    return (int)width;
}

void report_table(const struct report *report)
{
    for (size_t i = 0; i < report->count;) {
        const struct result *list = &report->list[i];
        size_t count = 0;
        int width;

        while (i + count < report->count && strcmp(list[count].row, list->row) == 0)
            count++;
        width = print_heading(list, count);
        for (size_t k = 0; k < count; k++)
            print_result(&list[k], width);
        for (size_t k = 0; k < count; k++) {
            if (list[k].ours.count > 0 && *list[k].note)
                printf("  * %s, %s: %s\n", list[k].what, list[k].where, list[k].note);
        }
        i += count;
    }
}
