/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Ready memory; see pool.h. */
#include "daemon/keeper/pool.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/keeper/memory.h"

static uint64_t top_of_memory(void)
{
    struct zones zones;
    uint64_t top = 0;

    if (zones_read(ZONES_FILE, &zones) < 0)
        return 0;
    for (size_t i = 0; i < zones.count; i++)
        top = zones.zone[i].end > top ? zones.zone[i].end : top;
    return top;
}

int pool_init(struct pool *pool, const struct nodes *nodes, uint32_t files_max)
{
    uint64_t sizes[4];
    size_t count = memory_page_sizes(sizes);

    *pool = (struct pool){ .files_max = files_max, .top = top_of_memory() };
    pool->sets = calloc(count * NODES_MAX, sizeof(*pool->sets));
    if (!pool->sets)
        return -ENOMEM;
    for (size_t i = 0; i < count; i++) {
        for (uint32_t node = 0; sizes[i] > PAGE_4K && node < NODES_MAX; node++) {
            if (nodes->present >> node & 1)
                pool->sets[pool->set_count++] = (struct pool_set){ .page_size = sizes[i],
                                                                   .node = node,
                                                                   .bound = PROTO_POOL_CLASSES - 1,
                                                                   .wanted = -1 };
        }
    }
    return 0;
}

void pool_deinit(struct pool *pool)
{
    for (uint32_t i = 0; i < pool->set_count; i++)
        free(pool->sets[i].pieces);
    free(pool->sets);
    *pool = (struct pool){ 0 };
}

struct pool_set *pool_find(const struct pool *pool, uint64_t page_size, uint32_t node)
{
    for (uint32_t i = 0; i < pool->set_count; i++) {
        if (pool->sets[i].page_size == page_size && pool->sets[i].node == node)
            return &pool->sets[i];
    }
    return NULL;
}

int pool_class(uint64_t size)
{
    if (size < PAGE_2M || size > pool_class_size(PROTO_POOL_CLASSES - 1) || (size & (size - 1)))
        return -1;
    return __builtin_ctzll(size / PAGE_2M);
}

void pool_mix(uint64_t page_size, uint64_t target, uint32_t ret[PROTO_POOL_CLASSES])
{
    unsigned int smallest = page_size > PAGE_2M ? PROTO_POOL_CLASSES - 1 : 0;
    uint64_t share = target / (PROTO_POOL_CLASSES - smallest), left = target;

    memset(ret, 0, PROTO_POOL_CLASSES * sizeof(ret[0]));
    for (unsigned int i = PROTO_POOL_CLASSES - 1; i > smallest; i--) {
        ret[i] = (uint32_t)(share / pool_class_size(i));
        left -= ret[i] * pool_class_size(i);
    }
    ret[smallest] = (uint32_t)(left / pool_class_size(smallest));
}

/* The first piece at or above this address. */
static size_t position(const struct pool_set *set, uint64_t dma_addr)
{
    size_t low = 0, high = set->count;

    while (low < high) {
        size_t middle = low + (high - low) / 2;

        if (set->pieces[middle].dma_addr < dma_addr)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static int make_room(struct pool_set *set, size_t more)
{
    size_t capacity = set->capacity ? set->capacity * 2 : 64;
    struct pool_piece *grown;

    if (set->count + more <= set->capacity)
        return 0;
    while (capacity < set->count + more)
        capacity *= 2;
    grown = reallocarray(set->pieces, capacity, sizeof(*grown));
    if (!grown)
        return -ENOMEM;
    set->pieces = grown;
    set->capacity = capacity;
    return 0;
}

int pool_add(struct pool *pool, struct pool_set *set, struct buffer *buffer)
{
    if (make_room(set, buffer->spans.count) < 0)
        return -ENOMEM;
    for (size_t i = 0; i < buffer->spans.count; i++) {
        const struct dmabufd_span *span = &buffer->spans.list[i];
        size_t at = position(set, span->dma_addr);

        memmove(&set->pieces[at + 1], &set->pieces[at], (set->count - at) * sizeof(set->pieces[0]));
        set->pieces[at] = (struct pool_piece){ .dma_addr = span->dma_addr,
                                               .length = span->length,
                                               .size = buffer->size,
                                               .buffer = buffer };
        set->count++;
    }
    set->ready += buffer->size;
    set->files[pool_class(buffer->size)]++;
    pool->files++;
    return 0;
}

static void uncount(struct pool *pool, struct pool_set *set, const struct buffer *buffer)
{
    set->ready -= buffer->size;
    set->files[pool_class(buffer->size)]--;
    pool->files--;
}

void pool_remove(struct pool *pool, struct pool_set *set, struct buffer *buffer)
{
    for (size_t i = 0; i < buffer->spans.count; i++) {
        size_t at = position(set, buffer->spans.list[i].dma_addr);

        /* Addresses of the fake backend need not be different. */
        while (set->pieces[at].buffer != buffer)
            at++;
        memmove(&set->pieces[at], &set->pieces[at + 1],
                (set->count - at - 1) * sizeof(set->pieces[0]));
        set->count--;
    }
    uncount(pool, set, buffer);
}

void pool_remove_all(struct pool *pool, struct pool_set *set, struct buffer *const *buffers,
                     size_t count)
{
    size_t kept = 0;

    for (size_t i = 0; i < count; i++) {
        buffers[i]->chosen = true;
        uncount(pool, set, buffers[i]);
    }
    for (size_t i = 0; i < set->count; i++) {
        if (!set->pieces[i].buffer->chosen)
            set->pieces[kept++] = set->pieces[i];
    }
    set->count = kept;
    for (size_t i = 0; i < count; i++)
        buffers[i]->chosen = false;
}

static bool counts(const struct pool_piece *piece, bool whole, uint64_t mask)
{
    return (!whole || piece->length == piece->size) &&
           (piece->dma_addr <= mask && piece->length - 1 <= mask - piece->dma_addr);
}

bool pool_next_run(const struct pool_set *set, size_t *at, bool whole, uint64_t mask,
                   struct pool_run *ret)
{
    size_t i = *at;

    while (i < set->count && !counts(&set->pieces[i], whole, mask))
        i++;
    *ret = (struct pool_run){ .first = i };
    while (i < set->count && counts(&set->pieces[i], whole, mask) &&
           (ret->count == 0 ||
            set->pieces[i - 1].dma_addr + set->pieces[i - 1].length == set->pieces[i].dma_addr)) {
        ret->length += set->pieces[i++].length;
        ret->count++;
    }
    *at = i;
    return ret->count > 0;
}
