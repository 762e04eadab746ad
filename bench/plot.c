/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A picture of the distributions, as a script for gnuplot: a panel a row, a line of it for each line
 * of the table, in which each percentile is a dot, so that dense is where most samples are, and the
 * median a stroke. See report_plot().
 */
#include <err.h>
#include <string.h>

#include "bench/report.h"

/* Pixels. */
#define WIDTH        1500
#define LINE_HEIGHT  34
#define PANEL_MARGIN 90
#define TITLE_HEIGHT 40

enum side { OURS, FLOOR, PEER, SIDES };

static const struct {
    const char *name;
    const char *color;
    double shift; /* of its dots from the middle of the line, lines */
} sides[SIDES] = {
    [OURS] = { "ours", "#1f77b4", 0.26 },
    [FLOOR] = { "floor", "#7f7f7f", 0 },
    [PEER] = { "peer", "#d62728", -0.26 },
};

/* Lines of the table that are drawn in one panel: of one row and unit, with numbers. */
struct panel {
    const struct result *first;
    size_t lines;
    bool has[SIDES];
    double least, most;
};

static const struct summary *side_of(const struct result *result, enum side side)
{
    return side == OURS ? &result->ours : side == FLOOR ? &result->floor : &result->peer;
}

/* On a logarithmic scale nothing is 0. */
static bool drawn(const struct result *result)
{
    return result->ours.count > 0 && result->ours.percentile[0] > 0;
}

static bool same_panel(const struct result *a, const struct result *b)
{
    return strcmp(a->row, b->row) == 0 && a->unit == b->unit;
}

/* Return: the first result of the next panel, or the end. */
static const struct result *next_panel(const struct result *from, const struct result *end)
{
    const struct result *next = from;

    while (next < end && same_panel(next, from))
        next++;
    return next;
}

static struct panel look_at(const struct result *from, const struct result *end)
{
    struct panel panel = { .first = from, .least = 1e300 };

    for (const struct result *result = from; result < end; result++) {
        if (!drawn(result))
            continue;
        panel.lines++;
        for (enum side side = 0; side < SIDES; side++) {
            const struct summary *summary = side_of(result, side);

            if (summary->count == 0 || summary->percentile[0] <= 0)
                continue;
            panel.has[side] = true;
            if (summary->percentile[0] < panel.least)
                panel.least = summary->percentile[0];
            if (summary->percentile[100] > panel.most)
                panel.most = summary->percentile[100];
        }
    }
    return panel;
}

/* A double-quoted string of gnuplot, whose text is no markup. */
static void put_text(FILE *script, const char *text)
{
    fputc('"', script);
    for (; *text; text++) {
        if (*text == '"' || *text == '\\')
            fputc('\\', script);
        fputc(*text, script);
    }
    fputc('"', script);
}

/* Two blocks of data for each side: dots, medians. The first line of the table is on top. */
static void put_data(FILE *script, const struct panel *panel, const struct result *end,
                     enum side side, bool medians)
{
    size_t y = panel->lines;

    fprintf(script, "$%s%s << EOD\n", sides[side].name, medians ? "_median" : "");
    for (const struct result *result = panel->first; result < end; result++) {
        const struct summary *summary = side_of(result, side);
        double at = (double)y + sides[side].shift;

        if (!drawn(result))
            continue;
        y--;
        if (summary->count == 0 || summary->percentile[0] <= 0)
            continue;
        if (medians) {
            fprintf(script, "%.9g %.3f\n", summary->percentile[50], at);
            continue;
        }
        for (size_t i = summary->count > 1 ? 0 : 100; i <= 100; i++)
            fprintf(script, "%.9g %.3f\n", summary->percentile[i], at);
    }
    fprintf(script, "EOD\n");
}

static void put_labels(FILE *script, const struct panel *panel, const struct result *end)
{
    size_t y = panel->lines;

    fprintf(script, "unset ytics\nset ytics scale 0 font \",9\"\n");
    for (const struct result *result = panel->first; result < end; result++) {
        char label[100];

        if (!drawn(result))
            continue;
        snprintf(label, sizeof(label), "%s, %s", result->what, result->where);
        fprintf(script, "set ytics %s (", y == panel->lines ? "" : "add");
        put_text(script, label);
        fprintf(script, " %zu)\n", y--);
    }
}

/* Pixels of a panel. */
static size_t height_of(size_t lines)
{
    return lines * LINE_HEIGHT + PANEL_MARGIN;
}

static void put_panel(FILE *script, const struct panel *panel, const struct result *end)
{
    static const char *const units[UNIT_COUNT] = {
        [UNIT_NS] = "ns", [UNIT_BYTES] = "bytes", [UNIT_CALLS] = "calls"
    };
    const char *separator = "plot ";

    for (enum side side = 0; side < SIDES; side++) {
        if (!panel->has[side])
            continue;
        put_data(script, panel, end, side, false);
        put_data(script, panel, end, side, true);
    }
    put_labels(script, panel, end);
    fprintf(script, "set title ");
    put_text(script, panel->first->row);
    fprintf(script, "\nset xlabel \"%s\"\nset yrange [0.4:%zu.6]\nset xrange [%.9g:%.9g]\n",
            units[panel->first->unit], panel->lines, panel->least / 1.3, panel->most * 1.3);
    for (enum side side = 0; side < SIDES; side++) {
        if (!panel->has[side])
            continue;
        fprintf(script,
                "%s$%s using 1:2 with points pt 7 ps 0.3 lc rgb \"%s\" notitle, "
                "$%s_median using 1:($2-0.14):(0):(0.28) with vectors nohead lw 2.5 lc rgb \"%s\" "
                "title \"%s\"",
                separator, sides[side].name, sides[side].color, sides[side].name, sides[side].color,
                sides[side].name);
        separator = ", ";
    }
    fprintf(script, "\n");
}

static size_t whole_height(const struct report *report)
{
    const struct result *end = report->list + report->count, *next;
    size_t height = TITLE_HEIGHT;

    for (const struct result *from = report->list; from < end; from = next) {
        size_t lines;

        next = next_panel(from, end);
        lines = look_at(from, next).lines;
        height += lines > 0 ? height_of(lines) : 0;
    }
    return height;
}

static const char *terminal_of(const char *path)
{
    const char *suffix = strrchr(path, '.');

    if (suffix && strcmp(suffix, ".svg") == 0)
        return "svg";
    return suffix && strcmp(suffix, ".png") == 0 ? "pngcairo" : NULL;
}

static void put_script(const struct report *report, const char *title, const char *path,
                       FILE *script)
{
    const struct result *end = report->list + report->count, *next;
    size_t whole = whole_height(report), top = whole - TITLE_HEIGHT;

    fprintf(script, "set terminal %s noenhanced size %d,%zu\nset output ", terminal_of(path), WIDTH,
            whole);
    put_text(script, path);
    fprintf(script, "\nset multiplot title ");
    put_text(script, title);
    fprintf(script, "\nset logscale x\nset grid x\nset key outside top center horizontal\n"
                    "set lmargin at screen 0.36\nset rmargin at screen 0.93\n");
    for (const struct result *from = report->list; from < end; from = next) {
        struct panel panel;

        next = next_panel(from, end);
        panel = look_at(from, next);
        if (panel.lines == 0)
            continue;
        top -= height_of(panel.lines);
        fprintf(script, "set origin 0,%.6f\nset size 1,%.6f\n", (double)top / (double)whole,
                (double)height_of(panel.lines) / (double)whole);
        put_panel(script, &panel, next);
    }
    fprintf(script, "unset multiplot\n");
}

void report_plot(const struct report *report, const char *title, const char *path)
{
    FILE *script;
    int status;

    if (whole_height(report) == TITLE_HEIGHT) {
        warnx("nothing was measured that could be drawn");
        return;
    }
    script = popen("gnuplot", "w");
    if (!script)
        err(1, "gnuplot");
    put_script(report, title, path, script);
    status = pclose(script);
    if (status != 0)
        errx(1, "gnuplot failed: is it installed (Debian: gnuplot-nox)?");
}

bool report_plot_possible(const char *path)
{
    return terminal_of(path);
}
