/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Table: the floor of a translation. A flat array with the device address of each page of one
 * range, which is all that a translation needs where there is one buffer that never goes away.
 */
#ifndef BENCH_TABLE_H
#define BENCH_TABLE_H

#include <stdint.h>

struct table {
    uint64_t *entries;
    uintptr_t base;
    uint64_t size; /* bytes it describes */
    unsigned int shift;
};

/** table_load() - the one bare load; @shift: of the table, a constant at every call. */
static inline __attribute__((always_inline)) uint64_t table_load(const struct table *table,
                                                                 uintptr_t pointer,
                                                                 unsigned int shift)
{
    uint64_t offset = pointer - table->base;

    return table->entries[offset >> shift] + (offset & ((UINT64_C(1) << shift) - 1));
}

/**
 * table_translate_huge() - the same behind a function call that the compiler cannot see through,
 * with the results where dmabufd_translate() puts them; checks nothing
 * Return: 0.
 */
int table_translate_huge(const struct table *table, const void *pointer, uint64_t *ret_dma_addr,
                         uint64_t *ret_length);

/** table_translate_small() - for 4 KiB pages. */
int table_translate_small(const struct table *table, const void *pointer, uint64_t *ret_dma_addr,
                          uint64_t *ret_length);

#endif
