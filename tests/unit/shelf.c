/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ready buffers without memory; see shelf.h. */
#include "tests/unit/shelf.h"

#include <stdio.h>
#include <stdlib.h>

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "shelf: %s\n", what);
    exit(99);
}

void shelf_begin(struct shelf *shelf, uint64_t page_size)
{
    *shelf = (struct shelf){ .set = { .page_size = page_size, .bound = PROTO_POOL_CLASSES - 1 } };
    shelf->pool = (struct pool){ .sets = &shelf->set, .set_count = 1, .files_max = SHELF_MAX };
}

struct buffer *shelf_put_spans(struct shelf *shelf, const struct shelf_span *spans, size_t count)
{
    struct buffer *buffer = buffer_new();

    need(buffer && shelf->count < SHELF_MAX, "no room");
    buffer->page_size = shelf->set.page_size;
    for (size_t i = 0; i < count; i++) {
        need(spans_append(&buffer->spans, spans[i].page * PAGE_2M, spans[i].count * PAGE_2M) == 0,
             "span");
        buffer->size += spans[i].count * PAGE_2M;
    }
    need(buffer->spans.count == count, "spans that follow one another");
    buffer->span_count = (uint32_t)count;
    need(pool_add(&shelf->pool, &shelf->set, buffer) == 0, "memory");
    shelf->buffers[shelf->count++] = buffer;
    return buffer;
}

struct buffer *shelf_put(struct shelf *shelf, uint64_t page, uint64_t count)
{
    return shelf_put_spans(shelf, &(struct shelf_span){ page, count }, 1);
}

bool shelf_end(struct shelf *shelf)
{
    bool empty = true;

    while (shelf->count > 0) {
        struct buffer *buffer = shelf->buffers[--shelf->count];

        pool_remove(&shelf->pool, &shelf->set, buffer);
        buffer_free(buffer);
    }
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++)
        empty = empty && shelf->set.files[i] == 0;
    empty = empty && shelf->set.count == 0 && shelf->set.ready == 0 && shelf->pool.files == 0;
    free(shelf->set.pieces);
    return empty;
}

uint64_t shelf_page(const struct buffer *buffer)
{
    return buffer->spans.list[0].dma_addr / PAGE_2M;
}
