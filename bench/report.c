/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Output; see report.h. */
#include "bench/report.h"

#include <err.h>
#include <stdio.h>
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
        fprintf(stderr, "# %s, %s%s%s\n", result->what, result->where, *result->note ? ": " : "",
                result->note);
}

void report_skip(struct report *report, const char *row, const char *what, const char *where,
                 const char *why)
{
    struct result result = { .row = row, .where = where };

    snprintf(result.what, sizeof(result.what), "%s", what);
    snprintf(result.note, sizeof(result.note), "%s", why);
    report_add(report, &result);
}

void report_deinit(struct report *report)
{
    free(report->list);
    *report = (struct report){ 0 };
}

/* ---- table ---- */

static void format_value(char cell[CELL], enum unit unit, double value)
{
    static const char *const names[2][4] = {
        [UNIT_NS] = { "ns", "us", "ms", "s" }, [UNIT_BYTES] = { "B", "KiB", "MiB", "GiB" }
    };
    double step = unit == UNIT_NS ? 1000 : 1024;
    double size = value < 0 ? -value : value;
    int scale = 0;

    while (size >= step && scale < 3) {
        size /= step;
        value /= step;
        scale++;
    }
    snprintf(cell, CELL, "%.*f%s", size < 10 ? 2 : size < 100 ? 1 : 0, value, names[unit][scale]);
}

/* Median, spread, and the 99th percentile where there is one. */
static void print_summary(enum unit unit, const struct summary *summary)
{
    char median[CELL] = "-", min[CELL] = "", spread[2 * CELL + 4] = "", p99[CELL] = "-";
    char low[CELL], high[CELL];

    if (summary->count > 0)
        format_value(median, unit, summary->median);
    if (summary->count > 1) {
        format_value(min, unit, summary->min);
        format_value(low, unit, summary->p10);
        format_value(high, unit, summary->p90);
        snprintf(spread, sizeof(spread), "%s..%s", low, high);
    }
    if (summary->count >= SAMPLES_FOR_P99)
        format_value(p99, unit, summary->p99);
    printf(" %7s %7s %16s %7s", median, min, spread, p99);
}

static void print_ratio(double ours, double floor, bool there)
{
    if (there && floor > 0)
        printf(" %6.2f", ours / floor);
    else
        printf(" %6s", "-");
}

static void print_result(const struct result *result)
{
    bool both = result->ours.count > 0 && result->floor.count > 0;

    if (result->ours.count == 0) {
        printf("%-46s %-8s  not measured: %s\n", result->what, result->where, result->note);
        return;
    }
    printf("%-46s %-8s", result->what, result->where);
    print_summary(result->unit, &result->ours);
    printf(" |");
    print_summary(result->unit, &result->floor);
    printf(" |");
    print_ratio(result->ours.median, result->floor.median, both);
    print_ratio(result->ours.p99, result->floor.p99,
                both && result->ours.count >= SAMPLES_FOR_P99 &&
                    result->floor.count >= SAMPLES_FOR_P99);
    printf("\n");
}

/* Heading of the row that begins at @first. */
static void print_heading(const struct report *report, size_t first)
{
    const char *row = report->list[first].row, *floor = NULL;

    /* A line without numbers does not know its floor. */
    for (size_t i = first; !floor && i < report->count && strcmp(report->list[i].row, row) == 0;
         i++)
        floor = report->list[i].floor_name;
    printf("\n%s%s%s\n", row, floor ? "; floor: " : "", floor ? floor : "");
    printf("%-46s %-8s %7s %7s %16s %7s | %7s %7s %16s %7s | %6s %6s\n", "", "", "ours", "min",
           "p10..p90", "p99", "floor", "min", "p10..p90", "p99", "ratio", "p99");
}

void report_table(const struct report *report)
{
    for (size_t i = 0; i < report->count; i++) {
        if (i == 0 || strcmp(report->list[i].row, report->list[i - 1].row) != 0)
            print_heading(report, i);
        print_result(&report->list[i]);
    }
    /* A number may have a footnote too. */
    for (size_t i = 0; i < report->count; i++) {
        const struct result *result = &report->list[i];

        if (result->ours.count > 0 && *result->note)
            printf("%s: %s\n", result->what, result->note);
    }
}

/* ---- JSON ---- */

/* Takes over @value. */
static void set(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) < 0)
        errx(1, "no memory for JSON");
}

static json_t *summary_json(const struct summary *summary)
{
    json_t *object;

    if (summary->count == 0)
        return json_null();
    object = json_object();
    set(object, "samples", json_integer((json_int_t)summary->count));
    set(object, "min", json_real(summary->min));
    set(object, "p10", json_real(summary->p10));
    set(object, "median", json_real(summary->median));
    set(object, "p90", json_real(summary->p90));
    set(object, "p99", summary->count >= SAMPLES_FOR_P99 ? json_real(summary->p99) : json_null());
    set(object, "max", json_real(summary->max));
    return object;
}

static json_t *result_json(const struct result *result)
{
    bool both = result->ours.count > 0 && result->floor.count > 0 && result->floor.median > 0;
    json_t *object = json_object();

    set(object, "row", json_string(result->row));
    set(object, "what", json_string(result->what));
    set(object, "placement", json_string(result->where));
    set(object, "unit", json_string(result->unit == UNIT_NS ? "ns" : "bytes"));
    set(object, "ours", summary_json(&result->ours));
    set(object, "floor", summary_json(&result->floor));
    set(object, "floor_is", result->floor_name ? json_string(result->floor_name) : json_null());
    set(object, "ratio",
        both ? json_real(result->ours.median / result->floor.median) : json_null());
    set(object, "note", *result->note ? json_string(result->note) : json_null());
    return object;
}

json_t *report_json(const struct report *report)
{
    json_t *array = json_array();

    for (size_t i = 0; i < report->count; i++) {
        if (json_array_append_new(array, result_json(&report->list[i])) < 0)
            errx(1, "no memory for JSON");
    }
    return array;
}
