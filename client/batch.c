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

/* Translates from @i on until one is not in this zone. Return: which that is. @zone, @shift: constants. */
static inline __attribute__((always_inline)) size_t translate_in(
    const struct arena *arena, unsigned int zone, unsigned int shift,
    const struct questions *questions, size_t i, size_t *misses, struct dmabufd_translation *ret)
{
    uint64_t start = zone == ZONE_LARGE ? arena->middle : 0;
    uint64_t room = __atomic_load_n(&arena->end[zone], __ATOMIC_RELAXED) - start;
    const uint64_t *table = arena->table[zone];
    uintptr_t base = arena->base;

    for (; i < questions->count; i++) {
        uintptr_t pointer = pointer_at(questions, i);
        uint64_t offset = pointer - base;
        uint64_t dma_addr, length;

        if (offset - start >= room)
            break;
        if (__builtin_expect(dmabufd_translate_entry(&table[offset >> shift], pointer, shift, true,
                                                     &dma_addr, &length) > 0,
                             0)) {
            /* Of its own, because variables whose address is passed on are memory. */
            struct dmabufd_translation rare;

            if (arena_translate_rarely(arena, (const void *)pointer, &rare.dma_addr, &rare.length) <
                0) {
                miss(&ret[i], misses);
                continue;
            }
            dma_addr = rare.dma_addr;
            length = rare.length;
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
    size_t misses = 0, i = 0;

    while (i < questions->count) {
        size_t before = i;

        i = translate_in(arena, ZONE_LARGE, DMABUFD_LARGE_SHIFT, questions, i, &misses, ret);
        i = translate_in(arena, ZONE_SMALL, DMABUFD_SMALL_SHIFT, questions, i, &misses, ret);
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
