/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The picture of the pool: where in the space of addresses it has memory, a character for each cell.
 * Rows of nothing, which are most of them on a host with little memory below a high address, take one
 * line together.
 */
#include <inttypes.h>

#include "client/ctl-pool.h"

#define ROW 64

static char cell_letter(uint8_t ready, uint8_t held)
{
    if (ready && held)
        return '%';
    if (held)
        return 'o';
    if (ready)
        return ready == UINT8_MAX ? '#' : '+';
    return '.';
}

static uint32_t row_end(const struct dmabufd_pool_map *map, uint32_t row)
{
    return map->count - row > ROW ? row + ROW : map->count;
}

static bool is_empty(const struct dmabufd_pool_map *map, uint32_t row)
{
    for (uint32_t i = row; i < row_end(map, row); i++) {
        if (map->ready[i] || map->held[i])
            return false;
    }
    return true;
}

static void print_row(const struct dmabufd_pool_map *map, uint32_t row, int digits, FILE *out)
{
    fprintf(out, "  0x%0*" PRIx64 "  ", digits, row * map->cell);
    for (uint32_t i = row; i < row_end(map, row); i++)
        fputc(cell_letter(map->ready[i], map->held[i]), out);
    fputc('\n', out);
}

/* So that all labels are equally long. */
static int digits_of(uint64_t address)
{
    int digits = 1;

    while (address >>= 4)
        digits++;
    return digits;
}

void pool_print_map(const struct dmabufd_pool_map *map, FILE *out)
{
    uint32_t last = map->count > 0 ? (map->count - 1) / ROW * ROW : 0;
    int digits = digits_of(last * map->cell);

    fprintf(out, "Addresses, a character for each %s:\n", size_text(map->cell).text);
    for (uint32_t row = 0; row < map->count; row += ROW) {
        uint32_t next = row;

        while (next < map->count && is_empty(map, next))
            next += ROW;
        /* One row alone needs no more space than its fold. */
        if (next > row + ROW) {
            fputs("  ...\n", out);
            row = next - ROW;
        } else {
            print_row(map, row, digits, out);
        }
    }
    fputs("  . nothing  # all ready  + partly ready  o held by clients  % ready and held\n", out);
}

json_t *pool_map_json(const struct dmabufd_pool_map *map)
{
    json_t *ready = json_array(), *held = json_array();

    for (uint32_t i = 0; i < map->count; i++) {
        json_array_append_new(ready, json_integer(map->ready[i]));
        json_array_append_new(held, json_integer(map->held[i]));
    }
    return json_pack("{s:o,s:o,s:o}", "cell", output_number(map->cell), "ready", ready, "held",
                     held);
}
