/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The rules of a scatter list; see spans.h. */
#include "common/spans.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

/* Address 0 follows nothing: behind the last address the sum has wrapped. */
static bool touches(const struct dmabufd_span *span, uint64_t dma_addr)
{
    return dma_addr != 0 && span->dma_addr + span->length == dma_addr;
}

void spans_deinit(struct spans *spans)
{
    free(spans->list);
    *spans = (struct spans){ 0 };
}

uint64_t spans_end(const struct spans *spans)
{
    const struct dmabufd_span *last;

    if (spans->count == 0)
        return 0;
    last = &spans->list[spans->count - 1];
    return last->offset + last->length;
}

static int grow(struct spans *spans)
{
    size_t capacity = spans->capacity ? spans->capacity * 2 : 4;
    struct dmabufd_span *list = reallocarray(spans->list, capacity, sizeof(*list));

    if (!list)
        return -ENOMEM;
    spans->list = list;
    spans->capacity = capacity;
    return 0;
}

int spans_append(struct spans *spans, uint64_t dma_addr, uint64_t length)
{
    uint64_t offset = spans_end(spans);
    uint64_t last_addr, end;

    if (length == 0)
        return -EINVAL;
    if (__builtin_add_overflow(dma_addr, length - 1, &last_addr) ||
        __builtin_add_overflow(offset, length, &end))
        return -EOVERFLOW;
    if (spans->count > 0) {
        struct dmabufd_span *last = &spans->list[spans->count - 1];

        if (touches(last, dma_addr)) {
            last->length += length;
            return 0;
        }
    }
    if (spans->count == spans->capacity && grow(spans) < 0)
        return -ENOMEM;
    spans->list[spans->count++] = (struct dmabufd_span){ offset, dma_addr, length };
    return 0;
}

int spans_check(const struct dmabufd_span *list, size_t count, uint64_t size)
{
    uint64_t offset = 0;

    for (size_t i = 0; i < count; i++) {
        const struct dmabufd_span *span = &list[i];
        uint64_t last_addr;

        if (span->offset != offset || span->length == 0 || span->length > size - offset ||
            __builtin_add_overflow(span->dma_addr, span->length - 1, &last_addr))
            return -EBADMSG;
        if (i > 0 && touches(&list[i - 1], span->dma_addr))
            return -EBADMSG;
        offset += span->length;
    }
    return offset == size && size > 0 ? 0 : -EBADMSG;
}
