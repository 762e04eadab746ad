/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How dmabufctl shows things; see ctl-output.h. Without memory it cannot go on. */
#include "client/ctl-output.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "client/ctl.h"

static void grow(struct table *table)
{
    size_t capacity = table->capacity ? table->capacity * 2 : 64;
    char(*cells)[TABLE_CELL_MAX] = reallocarray(table->cells, capacity, sizeof(*cells));

    if (!cells) {
        ctl_error("no memory for a table");
        exit(CTL_FAILED);
    }
    table->cells = cells;
    table->capacity = capacity;
}

void table_cell(struct table *table, const char *format, ...)
{
    va_list args;

    if (table->count == table->capacity)
        grow(table);
    va_start(args, format);
    vsnprintf(table->cells[table->count++], TABLE_CELL_MAX, format, args);
    va_end(args);
}

void table_print(struct table *table)
{
    size_t width[TABLE_COLUMNS_MAX];

    for (size_t i = 0; i < table->columns; i++)
        width[i] = strlen(table->titles[i]);
    for (size_t i = 0; i < table->count; i++) {
        size_t length = strlen(table->cells[i]);
        size_t column = i % table->columns;

        if (length > width[column])
            width[column] = length;
    }
    for (size_t i = 0; i < table->columns; i++)
        printf("  %*s%s", (int)width[i], table->titles[i], i + 1 == table->columns ? "\n" : "");
    for (size_t i = 0; i < table->count; i++) {
        size_t column = i % table->columns;

        printf("  %*s%s", (int)width[column], table->cells[i],
               column + 1 == table->columns ? "\n" : "");
    }
    free(table->cells);
    table->cells = NULL;
    table->count = table->capacity = 0;
}

struct size_text size_text(uint64_t size)
{
    static const char *const units[] = { "bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
    struct size_text ret;
    uint64_t whole = size;
    unsigned int unit = 0;

    while (whole >= 1024) {
        whole /= 1024;
        unit++;
    }
    if (whole << (10 * unit) == size) {
        snprintf(ret.text, sizeof(ret.text), "%" PRIu64 " %s", whole, units[unit]);
    } else {
        uint64_t tenths = ((size >> (10 * (unit - 1))) & 1023) * 10 / 1024;

        snprintf(ret.text, sizeof(ret.text), "%" PRIu64 ".%" PRIu64 " %s", whole, tenths,
                 units[unit]);
    }
    return ret;
}

void output_json(json_t *value)
{
    if (!value || json_dumpf(value, stdout, JSON_INDENT(2)) < 0)
        ctl_error("cannot make the JSON text");
    putchar('\n');
    json_decref(value);
}

json_t *output_number(uint64_t value)
{
    char text[24];

    if (value <= INT64_MAX)
        return json_integer((json_int_t)value);
    snprintf(text, sizeof(text), "%" PRIu64, value);
    return json_string(text);
}

json_t *output_address(uint64_t address)
{
    char text[24];

    snprintf(text, sizeof(text), "0x%" PRIx64, address);
    return json_string(text);
}
