/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Results to JSON, and back from a virtual machine; see report.h. */
#include <err.h>
#include <string.h>

#include "bench/report.h"

static const char *const unit_names[UNIT_COUNT] = {
    [UNIT_NS] = "ns", [UNIT_BYTES] = "bytes", [UNIT_CALLS] = "calls"
};

/* Takes over @value. */
static void set(json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) < 0)
        errx(1, "no memory for JSON");
}

static json_t *text_or_null(const char *text)
{
    return text && *text ? json_string(text) : json_null();
}

static json_t *summary_json(const struct summary *summary)
{
    const double *percentile = summary->percentile;
    json_t *object;

    if (summary->count == 0)
        return json_null();
    object = json_object();
    set(object, "samples", json_integer((json_int_t)summary->count));
    set(object, "min", json_real(percentile[0]));
    set(object, "p10", json_real(percentile[10]));
    set(object, "median", json_real(percentile[50]));
    set(object, "p90", json_real(percentile[90]));
    set(object, "p99", summary->count >= SAMPLES_FOR_P99 ? json_real(percentile[99]) : json_null());
    set(object, "max", json_real(percentile[100]));
    return object;
}

static json_t *ratio_json(const struct summary *ours, const struct summary *other)
{
    if (ours->count == 0 || other->count == 0 || ours->percentile[50] < 0 ||
        other->percentile[50] <= 0)
        return json_null();
    return json_real(ours->percentile[50] / other->percentile[50]);
}

static json_t *result_json(const struct result *result)
{
    json_t *object = json_object();

    set(object, "row", json_string(result->row));
    set(object, "what", json_string(result->what));
    set(object, "placement", json_string(result->where));
    set(object, "unit",
        result->unit < UNIT_COUNT ? json_string(unit_names[result->unit]) : json_null());
    set(object, "ours", summary_json(&result->ours));
    set(object, "floor", summary_json(&result->floor));
    set(object, "peer", summary_json(&result->peer));
    set(object, "floor_is", text_or_null(result->floor_name));
    set(object, "peer_is", text_or_null(result->peer_name));
    set(object, "ratio_floor", ratio_json(&result->ours, &result->floor));
    set(object, "ratio_peer", ratio_json(&result->ours, &result->peer));
    set(object, "note", text_or_null(result->note));
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

/* ---- from a virtual machine ---- */

/* Return: NULL if there is none. */
static const char *text_of(const json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

static void copy_text(const json_t *object, const char *name, char *text, size_t size)
{
    const char *value = text_of(object, name);

    snprintf(text, size, "%s", value ? value : "");
}

/* null is no summary. */
static struct summary read_one(const json_t *value)
{
    if (!json_is_object(value))
        return (struct summary){ 0 };
    if (json_integer_value(json_object_get(value, "samples")) != 1)
        errx(1, "a virtual machine measured times, which mean nothing there");
    return samples_one(json_number_value(json_object_get(value, "median")));
}

static enum unit read_unit(const json_t *object)
{
    const char *name = text_of(object, "unit");
    int unit = 0;

    while (name && unit < UNIT_COUNT && strcmp(unit_names[unit], name) != 0)
        unit++;
    return name ? (enum unit)unit : UNIT_COUNT;
}

void report_load_guest(struct report *report, const char *path)
{
    json_error_t error;

    json_decref(report->guest);
    report->guest = json_load_file(path, 0, &error);
    if (!json_is_array(json_object_get(report->guest, "results")))
        errx(1, "%s is no report: %s", path, report->guest ? "no results" : error.text);
}

void report_add_guest(struct report *report, const char *row)
{
    const json_t *object;
    size_t i;

    json_array_foreach(json_object_get(report->guest, "results"), i, object)
    {
        struct result result = { .row = row,
                                 .where = "VM",
                                 .floor_name = text_of(object, "floor_is"),
                                 .unit = read_unit(object),
                                 .ours = read_one(json_object_get(object, "ours")),
                                 .floor = read_one(json_object_get(object, "floor")) };
        const char *its_row = text_of(object, "row");

        if (!its_row || strcmp(its_row, row) != 0)
            continue;
        if (result.unit == UNIT_COUNT && result.ours.count > 0)
            errx(1, "the virtual machine counted in an unknown unit");
        copy_text(object, "what", result.what, sizeof(result.what));
        copy_text(object, "note", result.note, sizeof(result.note));
        report_add(report, &result);
    }
}
