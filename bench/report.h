/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Report: what was measured, as a table for people, as JSON and as a picture. Ratios are formed
 * here, within one line, which is within one run.
 */
#ifndef BENCH_REPORT_H
#define BENCH_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>

#include "bench/placement.h"
#include "bench/samples.h"

enum unit { UNIT_NS, UNIT_BYTES, UNIT_CALLS, UNIT_COUNT };

/** One line: ours beside the floor and a peer, from the same run. */
struct result {
    const char *row;   /* as for --rows */
    const char *where; /* placement */
    char what[80];     /* what was measured */
    /* What these are, the same in all lines of a row that say it; or that there is none and why. */
    const char *floor_name;
    const char *peer_name;
    enum unit unit;
    struct summary ours;
    struct summary floor; /* count 0: there is none */
    struct summary peer;  /* likewise */
    char note[240];       /* why something is missing, or a footnote; or empty */
};

struct report {
    struct result *list;
    size_t count;
    size_t capacity;
    json_t *guest; /* what report_load_guest() read: texts of results are in it */
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

/**
 * report_load_guest() - read a report that was made in a virtual machine
 * @path: of its JSON; exits if that is not what it is
 */
void report_load_guest(struct report *report, const char *path);

/**
 * report_add_guest() - append its lines of one row; nothing if none was loaded
 *
 * Only single numbers are taken, which are counts or bytes: times under emulation mean nothing.
 */
void report_add_guest(struct report *report, const char *row);

/** report_plot_possible() - is @path the name of a picture that can be drawn: .png, .svg? */
bool report_plot_possible(const char *path);

/** report_plot() - draw the distributions into @path by gnuplot; exits if that fails. */
void report_plot(const struct report *report, const char *title, const char *path);

/** report_deinit() - free the list. */
void report_deinit(struct report *report);

#endif
