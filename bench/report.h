/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Report: what was measured, as a table for people or as JSON. */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>

#include "bench/placement.h"
#include "bench/samples.h"

enum unit { UNIT_NS, UNIT_BYTES };

/** One line: ours beside the floor, from the same run. */
struct result {
    const char *row;   /* as for --rows */
    char what[64];     /* what was measured */
    const char *where; /* placement */
    const char *floor_name;
    enum unit unit;
    struct summary ours;
    struct summary floor; /* count 0: there is none */
    char note[200];       /* why something is missing; or empty */
};

struct report {
    struct result *list;
    size_t count;
    size_t capacity;
    bool progress; /* say on stderr what is being done */
};

/** report_add() - append a copy. */
void report_add(struct report *report, const struct result *result);

/** report_skip() - a line that says why it has no numbers. */
void report_skip(struct report *report, const char *row, const char *what, const char *where,
                 const char *why);

/** report_table() - to stdout. */
void report_table(const struct report *report);

/** report_json() - the results as a JSON array; exits without memory. */
json_t *report_json(const struct report *report);

/** report_deinit() - free the list. */
void report_deinit(struct report *report);

#endif
