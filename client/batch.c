/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many translations in one call. What a single one costs beside its one load is the call, finding
 * the zone and loading what the zone is; here that is once for all neighbours in a list that lie
 * in the same zone, whatever buffers they are in. The zone of the last pointer is tried first.
 */
#include <sys/uio.h>

#include "client/connection.h"

/** What is asked: one of the two. */
struct questions {
    const void *const *pointers;
    const struct iovec *iovecs;
    size_t count;
};

static inline __attribute__((always_inline)) uintptr_t pointer_at(const struct questions *questions,
                                                                  size_t i)
{
    return (uintptr_t)(questions->iovecs ? questions->iovecs[i].iov_base : questions->pointers[i]);
}

static void miss(struct dmabufd_translation *ret, size_t *misses)
{
    ++*misses;
    *ret = (struct dmabufd_translation){ .dma_addr = DMABUFD_NO_ADDRESS };
}

/* Translates from @i on until one is not in this zone. Return: which that is. @shift is a constant. */
static inline __attribute__((always_inline)) size_t translate_in(const struct zone *zone,
                                                                 unsigned int shift,
                                                                 const struct questions *questions,
                                                                 size_t i, size_t *misses,
                                                                 struct dmabufd_translation *ret)
{
    uint64_t limit = atomic_load_explicit(&zone->limit, memory_order_relaxed);
    const _Atomic uint64_t *table = zone->table;
    uintptr_t base = zone->base;

    for (; i < questions->count; i++) {
        uint64_t offset = pointer_at(questions, i) - base;
        uint64_t dma_addr, length;

        if (offset >= limit)
            break;
        if (zone_translate_in(zone, table, offset, &dma_addr, &length, shift) < 0) {
            miss(&ret[i], misses);
            continue;
        }
        if (questions->iovecs && length > questions->iovecs[i].iov_len)
            length = questions->iovecs[i].iov_len;
        ret[i] = (struct dmabufd_translation){ .dma_addr = dma_addr, .length = length };
    }
    return i;
}

static inline __attribute__((always_inline)) size_t translate_all(const struct arena *arena,
                                                                  const struct questions *questions,
                                                                  struct dmabufd_translation *ret)
{
    const struct zone *large = &arena->zone[ZONE_LARGE], *small = &arena->zone[ZONE_SMALL];
    size_t misses = 0, i = 0;

    while (i < questions->count) {
        size_t before = i;

        i = translate_in(large, ARENA_LARGE_SHIFT, questions, i, &misses, ret);
        i = translate_in(small, ARENA_SMALL_SHIFT, questions, i, &misses, ret);
        if (i == before)
            miss(&ret[i++], &misses);
    }
    return questions->count - misses;
}

size_t dmabufd_translate_pointers(const dmabufd *d, const void *const *pointers, size_t count,
                                  struct dmabufd_translation *ret)
{
    const struct questions questions = { .pointers = pointers, .count = count };

    return translate_all(&d->arena, &questions, ret);
}

size_t dmabufd_translate_iovecs(const dmabufd *d, const struct iovec *iovecs, size_t count,
                                struct dmabufd_translation *ret)
{
    const struct questions questions = { .iovecs = iovecs, .count = count };

    return translate_all(&d->arena, &questions, ret);
}
