/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The calls of the data path. Everything they do is in dmabufd-inline.h. */
#include <errno.h>

#include "client/buffer.h"

int dmabufd_translate(const dmabufd *d, const void *pointer, uint64_t *ret_dma_addr,
                      uint64_t *ret_length)
{
    return arena_translate(&d->arena, pointer, ret_dma_addr, ret_length);
}

int dmabufd_buffer_translate(const dmabufd_buffer *buffer, uint64_t offset, uint64_t *ret_dma_addr,
                             uint64_t *ret_length)
{
    const struct arena *arena = &buffer->connection->arena;
    uintptr_t pointer = (uintptr_t)buffer->data + offset;
    int r;

    if (offset >= buffer->size)
        return -ERANGE;
    offset += buffer->range.offset;
    if (buffer->range.zone == ZONE_LARGE)
        r = dmabufd_translate_entry(&buffer->table[offset >> DMABUFD_LARGE_SHIFT], pointer,
                                    DMABUFD_LARGE_SHIFT, true, ret_dma_addr, ret_length);
    else
        r = dmabufd_translate_entry(&buffer->table[offset >> DMABUFD_SMALL_SHIFT], pointer,
                                    DMABUFD_SMALL_SHIFT, true, ret_dma_addr, ret_length);
    if (__builtin_expect(r > 0, 0))
        return arena_translate_rarely(arena, (const void *)pointer, ret_dma_addr, ret_length);
    return 0;
}

int dmabufd_get_tables(const dmabufd *d, uint32_t layout, struct dmabufd_tables *ret)
{
    if (layout != DMABUFD_TABLES_LAYOUT)
        return -EOPNOTSUPP;
    *ret = (struct dmabufd_tables){
        .base = d->arena.base,
        .small = d->arena.table[ZONE_SMALL],
        .large = d->arena.table[ZONE_LARGE],
        .ends = d->arena.end,
        .connection = d,
    };
    return 0;
}

struct dmabufd_translation dmabufd_translate_value(const dmabufd *d, const void *pointer)
{
    struct dmabufd_translation answer = { .dma_addr = DMABUFD_NO_ADDRESS };

    arena_translate_rarely(&d->arena, pointer, &answer.dma_addr, &answer.length);
    return answer;
}
