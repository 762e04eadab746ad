/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The two calls of the data path. Everything they do is in arena.h. */
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
    if (offset >= buffer->size)
        return -ERANGE;
    offset += buffer->range.offset;
    if (buffer->range.zone == ZONE_LARGE)
        return zone_translate(buffer->zone, offset, ret_dma_addr, ret_length, ARENA_LARGE_SHIFT);
    return zone_translate(buffer->zone, offset, ret_dma_addr, ret_length, ARENA_SMALL_SHIFT);
}
