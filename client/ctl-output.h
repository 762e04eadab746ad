/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Output: tables with aligned columns, sizes for people, and JSON. */
#ifndef CLIENT_CTL_OUTPUT_H
#define CLIENT_CTL_OUTPUT_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define TABLE_COLUMNS_MAX 9
#define TABLE_CELL_MAX    64

/** A table of right-aligned columns. Start from TABLE(columns...). */
struct table {
    const char *const *titles;
    size_t columns;
    char (*cells)[TABLE_CELL_MAX];
    size_t count; /* of cells */
    size_t capacity;
};

#define TABLE(titles_)                                                         \
    {                                                                          \
        .titles = (titles_), .columns = sizeof(titles_) / sizeof((titles_)[0]) \
    }

/** table_cell() - the next cell, row by row. */
void table_cell(struct table *table, const char *format, ...) __attribute__((format(printf, 2, 3)));

/** table_print() - the table, indented; then frees its cells. */
void table_print(struct table *table);

/** A size in text: "2 MiB" where exact, else "1.5 MiB", rounded down. */
struct size_text {
    char text[24];
};

struct size_text size_text(uint64_t size);

/** output_json() - print @value and a newline; takes the reference. */
void output_json(json_t *value);

/** output_number() - a JSON number; a string if it does not fit. */
json_t *output_number(uint64_t value);

/** output_address() - an address as JSON: a hexadecimal string. */
json_t *output_address(uint64_t address);

#endif
