/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* In a file of their own, so that no caller has them inlined; see table.h. */
#include "bench/table.h"

int table_translate_huge(const struct table *table, const void *pointer, uint64_t *ret_dma_addr,
                         uint64_t *ret_length)
{
    *ret_dma_addr = table_load(table, (uintptr_t)pointer, 21);
    *ret_length = 1;
    return 0;
}

int table_translate_small(const struct table *table, const void *pointer, uint64_t *ret_dma_addr,
                          uint64_t *ret_length)
{
    *ret_dma_addr = table_load(table, (uintptr_t)pointer, 12);
    *ret_length = 1;
    return 0;
}
