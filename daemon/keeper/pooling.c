/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests about the pool; see pooling.h. */
#include "daemon/keeper/pooling.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/answer.h"
#include "proto/spantable.h"

static void tell_set(struct service *service, const struct link_request *request, uint32_t index)
{
    struct link_reply reply = { .op = request->op, .tag = request->tag };
    struct link_pool *told = &reply.u.pool;
    const struct pool_set *set = &service->pool.sets[index];
    struct pool_run run;
    size_t at = 0;

    told->set_count = service->pool.set_count;
    if (told->set_count > 0) {
        *told = (struct link_pool){ .set_count = service->pool.set_count,
                                    .set = index,
                                    .page_size = set->page_size,
                                    .target = set->target,
                                    .ready = set->ready,
                                    .grants = set->grants,
                                    .misses = set->misses,
                                    .refilled = set->refilled,
                                    .node = set->node,
                                    .refilling = set->jobs > 0 ||
                                                 (set->ready < set->target && !set->starved) };
        memcpy(told->files, set->files, sizeof(told->files));
        while (pool_next_run(set, &at, false, UINT64_MAX, &run)) {
            unsigned int i = 63U - (unsigned int)__builtin_clzll(run.length / PAGE_2M);

            told->runs[i < PROTO_POOL_RUNS ? i : PROTO_POOL_RUNS - 1]++;
            if (run.length > told->largest_run)
                told->largest_run = run.length;
        }
    }
    answer_send(service->link, &reply, NULL);
}

static int on_pool(struct service *service, const struct link_request *request, struct fault *fault)
{
    uint32_t index = request->u.pool_set;

    if (index > 0 && index >= service->pool.set_count)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "the pool has no set %u: there are %u", index, service->pool.set_count);
    tell_set(service, request, index);
    return 0;
}

/* Whose daemon it is; kernel-verified credentials, relayed by the broker. */
static int check_rights(const struct client *client, const char *what, struct fault *fault)
{
    if (client->peer.uid == 0 || client->peer.uid == geteuid())
        return 0;
    return fault_set(fault, DMABUFD_CODE_DENIED, EPERM,
                     "only root and the user that runs the daemon may %s", what);
}

static int on_resize(struct service *service, const struct client *client,
                     const struct link_request *request, struct fault *fault)
{
    const struct link_pool_size *size = &request->u.pool_size;
    struct pool_set *set;
    uint64_t bytes;
    int r = check_rights(client, "change the size of the pool", fault);

    if (r < 0)
        return r;
    set = pool_find(&service->pool, size->page_size, size->node);
    if (!set)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "this host has no huge pages of %llu KiB on node %u",
                         (unsigned long long)(size->page_size >> 10), size->node);
    if (__builtin_mul_overflow(size->pages, size->page_size, &bytes))
        return fault_set(fault, DMABUFD_CODE_TOO_LARGE, E2BIG,
                         "%llu pages are more than a host can have",
                         (unsigned long long)size->pages);
    r = refill_resize(service, set, bytes, fault);
    if (r == 0)
        tell_set(service, request, (uint32_t)(set - service->pool.sets));
    return r;
}

/* Bytes of each cell that are covered; a map is made of two of these. */
struct drawing {
    uint64_t cell; /* bytes */
    uint64_t ready[PROTO_POOL_CELLS];
    uint64_t held[PROTO_POOL_CELLS];
};

static void draw(uint64_t cell, uint64_t *cells, uint64_t address, uint64_t length)
{
    while (length > 0 && address / cell < PROTO_POOL_CELLS) {
        uint64_t rest = cell - address % cell, part = length < rest ? length : rest;

        cells[address / cell] += part;
        address += part;
        length -= part;
    }
}

/* Calls back for each span of a buffer, those in its table included; one whose table cannot be read is
 * left out. */
static void each_span(const struct buffer *buffer,
                      void (*function)(void *data, const struct dmabufd_span *span), void *data)
{
    CLEANUP_FREE struct dmabufd_span *list = NULL;
    const struct dmabufd_span *spans = buffer->spans.list;

    if (!spans && buffer->table_fd >= 0 &&
        spantable_open(buffer->table_fd, buffer->span_count, buffer->size, &list) == 0)
        spans = list;
    for (uint32_t i = 0; spans && i < buffer->span_count; i++)
        function(data, &spans[i]);
}

static void find_end(void *data, const struct dmabufd_span *span)
{
    uint64_t *end = data;

    if (span->dma_addr + span->length > *end)
        *end = span->dma_addr + span->length;
}

static void draw_held(void *data, const struct dmabufd_span *span)
{
    struct drawing *drawing = data;

    draw(drawing->cell, drawing->held, span->dma_addr, span->length);
}

static void each_held(struct service *service,
                      void (*function)(void *data, const struct dmabufd_span *span), void *data)
{
    const struct buffer *buffer;
    uint32_t cursor = 0;

    while ((buffer = slots_next(&service->store.buffers, &cursor))) {
        if (buffer->page_size > PAGE_4K)
            each_span(buffer, function, data);
    }
}

/* All of it, from address 0, in cells of a power of two. */
static void measure(struct service *service, struct drawing *drawing)
{
    uint64_t end = 1;

    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        const struct pool_set *set = &service->pool.sets[i];

        for (size_t j = 0; j < set->count; j++)
            find_end(&end, &(struct dmabufd_span){ .dma_addr = set->pieces[j].dma_addr,
                                                   .length = set->pieces[j].length });
    }
    each_held(service, find_end, &end);
    drawing->cell = PAGE_2M;
    while ((end - 1) / drawing->cell >= PROTO_POOL_CELLS)
        drawing->cell *= 2;
}

static uint8_t share(uint64_t part, uint64_t cell)
{
    /* In 255ths, rounded up; cells are large powers of two. */
    return (uint8_t)(part == 0 ? 0 : (part >= cell ? 255 : 1 + part / (cell / 256) * 254 / 256));
}

static int on_map(struct service *service, const struct client *client,
                  const struct link_request *request, struct fault *fault)
{
    CLEANUP_FREE struct drawing *drawing = NULL;
    struct link_reply reply = { .op = LINK_POOL_MAP, .tag = request->tag };
    struct link_pool_map *map = &reply.u.pool_map;
    int r = check_rights(client, "see where memory is", fault);

    if (r < 0)
        return r;
    drawing = calloc(1, sizeof(*drawing));
    if (!drawing)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    measure(service, drawing);
    for (uint32_t i = 0; i < service->pool.set_count; i++) {
        const struct pool_set *set = &service->pool.sets[i];

        for (size_t j = 0; j < set->count; j++)
            draw(drawing->cell, drawing->ready, set->pieces[j].dma_addr, set->pieces[j].length);
    }
    each_held(service, draw_held, drawing);
    map->cell = drawing->cell;
    for (uint32_t i = 0; i < PROTO_POOL_CELLS; i++) {
        map->ready[i] = share(drawing->ready[i], map->cell);
        map->held[i] = share(drawing->held[i], map->cell);
        if (map->ready[i] || map->held[i])
            map->count = i + 1;
    }
    answer_send(service->link, &reply, NULL);
    return 0;
}

int pooling_request(struct service *service, const struct client *client,
                    const struct link_request *request, struct fault *fault)
{
    switch (request->op) {
    case LINK_POOL:
        return on_pool(service, request, fault);
    case LINK_POOL_RESIZE:
        return on_resize(service, client, request, fault);
    case LINK_POOL_MAP:
        return on_map(service, client, request, fault);
    default:
        return -EBADMSG;
    }
}
