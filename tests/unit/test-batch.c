/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Many translations in one call: each answer is that of a call of its own, whatever the pointers
 * are, and whatever else happens. The connection has no socket: a translation does not look at it.
 */
#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>

#include <cmocka.h>

#include "client/connection.h"
#include "common/spans.h"
#include "tests/unit/support.h"

#define KIB     UINT64_C(1024)
#define MIB     (KIB * 1024)
#define GIB     (MIB * 1024)
#define ZONE    (16 * GIB)
#define BUFFERS 12
#define MANY    257
#define CANARY  UINT64_C(0xdeadbeefcafe)

struct world {
    dmabufd *d;
    struct arena_range ranges[BUFFERS];
};

/* Every other buffer in huge pages; each page far from the last, or next to it. */
static void world_make(struct world *world, uint64_t *state)
{
    world->d = aligned_alloc(64, (sizeof(*world->d) + 63) / 64 * 64);
    assert_non_null(world->d);
    memset(world->d, 0, sizeof(*world->d));
    assert_int_equal(arena_init(&world->d->arena, ZONE, NULL), 0);
    for (size_t i = 0; i < BUFFERS; i++) {
        uint64_t page = i % 2 ? 2 * MIB : 4 * KIB, pages = 1 + support_random(state) % 20;
        struct spans spans = { 0 };
        uint64_t address = (i + 1) << 40;

        for (uint64_t k = 0; k < pages; k++) {
            address += support_random(state) % 2 ? page : 3 * page;
            assert_int_equal(spans_append(&spans, address, page), 0);
        }
        assert_int_equal(arena_place(&world->d->arena, pages * page, page, spans.list, spans.count,
                                     &world->ranges[i], NULL),
                         0);
        arena_publish(&world->d->arena, &world->ranges[i], spans.list, spans.count);
        spans_deinit(&spans);
    }
}

static void world_end(struct world *world)
{
    arena_deinit(&world->d->arena);
    free(world->d);
}

/* Mostly into buffers, in all orders; also beside them, and nowhere. */
static const char *some_pointer(const struct world *world, uint64_t *state)
{
    static size_t last;
    const struct arena_range *range;

    if (support_random(state) % 4 == 0)
        last = support_random(state) % BUFFERS;
    range = &world->ranges[last];
    switch (support_random(state) % 8) {
    case 0:
        return (const char *)arena_pointer(&world->d->arena, range) + range->size;
    case 1:
        return (const char *)(uintptr_t)support_random(state);
    default:
        return (const char *)arena_pointer(&world->d->arena, range) +
               support_random(state) % range->size;
    }
}

static bool same(const dmabufd *d, const void *pointer, uint64_t at_most,
                 const struct dmabufd_translation *answer)
{
    uint64_t dma_addr, length;

    if (dmabufd_translate(d, pointer, &dma_addr, &length) == -ENOENT) {
        assert_int_equal(answer->dma_addr, DMABUFD_NO_ADDRESS);
        assert_int_equal(answer->length, 0);
        return false;
    }
    assert_int_equal(answer->dma_addr, dma_addr);
    assert_int_equal(answer->length, length < at_most ? length : at_most);
    return true;
}

static void like_single_calls(void **unused)
{
    uint64_t state = 88172645463325252;

    (void)unused;
    for (int round = 0; round < 20; round++) {
        struct world world;

        world_make(&world, &state);
        for (int k = 0; k < 200; k++) {
            struct dmabufd_translation answers[MANY + 1], pieces[MANY + 1];
            size_t count = support_random(&state) % (MANY + 1), hits = 0, piece_hits = 0;
            const void *pointers[MANY];
            struct iovec iovecs[MANY];

            for (size_t i = 0; i < count; i++) {
                pointers[i] = some_pointer(&world, &state);
                iovecs[i].iov_base = (void *)some_pointer(&world, &state);
                iovecs[i].iov_len = support_random(&state) % (4 * MIB);
                if (support_random(&state) % 16 == 0)
                    iovecs[i].iov_len = support_random(&state) % 2 ? 0 : SIZE_MAX;
            }
            answers[count].length = pieces[count].length = CANARY;
            size_t got = dmabufd_translate_pointers(world.d, pointers, count, answers);
            size_t pieces_got = dmabufd_translate_iovecs(world.d, iovecs, count, pieces);

            for (size_t i = 0; i < count; i++) {
                hits += same(world.d, pointers[i], UINT64_MAX, &answers[i]);
                piece_hits += same(world.d, iovecs[i].iov_base, iovecs[i].iov_len, &pieces[i]);
            }
            assert_int_equal(got, hits);
            assert_int_equal(pieces_got, piece_hits);
            assert_int_equal(answers[count].length, CANARY);
            assert_int_equal(pieces[count].length, CANARY);
        }
        world_end(&world);
    }
}

static void nothing_asked(void **unused)
{
    uint64_t state = 1;
    struct world world;

    (void)unused;
    world_make(&world, &state);
    assert_int_equal(dmabufd_translate_pointers(world.d, NULL, 0, NULL), 0);
    assert_int_equal(dmabufd_translate_iovecs(world.d, NULL, 0, NULL), 0);
    world_end(&world);
}

/* Too long for its field: the one case that is not decided in the loop. */
static void long_runs(void **unused)
{
    uint64_t size = (DMABUFD_ENTRY_RUN_MAX + 5) * 4 * KIB;
    struct dmabufd_span span = { 0, UINT64_C(1) << 45, size };
    struct dmabufd_translation answers[2];
    const void *pointers[2];
    struct arena_range range;
    dmabufd *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);

    (void)unused;
    assert_non_null(d);
    memset(d, 0, sizeof(*d));
    assert_int_equal(arena_init(&d->arena, ZONE, NULL), 0);
    assert_int_equal(arena_place(&d->arena, size, 4 * KIB, &span, 1, &range, NULL), 0);
    arena_publish(&d->arena, &range, &span, 1);
    pointers[0] = (const char *)arena_pointer(&d->arena, &range) + 7;
    pointers[1] = (const char *)arena_pointer(&d->arena, &range) + size - 1;
    assert_int_equal(dmabufd_translate_pointers(d, pointers, 2, answers), 2);
    assert_int_equal(answers[0].dma_addr, span.dma_addr + 7);
    assert_int_equal(answers[0].length, size - 7);
    assert_int_equal(answers[1].dma_addr, span.dma_addr + size - 1);
    assert_int_equal(answers[1].length, 1);
    arena_deinit(&d->arena);
    free(d);
}

/* ---- while buffers come and go ---- */

struct race {
    struct world world;
    _Atomic bool stop;
    _Atomic unsigned int lucky; /* readers that saw a buffer */
};

/* What a reader may see of buffer @i: nothing, or one run to its end at some multiple of 2^32. */
static bool plausible(const struct race *race, size_t i, uint64_t offset,
                      const struct dmabufd_translation *answer)
{
    if (answer->dma_addr == DMABUFD_NO_ADDRESS)
        return answer->length == 0;
    return answer->length == race->world.ranges[i].size - offset &&
           answer->dma_addr % (UINT64_C(1) << 32) == offset;
}

static void *reader(void *data)
{
    struct race *race = data;
    uint64_t seed = (uintptr_t)&seed | 1;
    bool lucky = false;

    while (!atomic_load(&race->stop)) {
        struct dmabufd_translation answers[32];
        const void *pointers[32];
        uint64_t offsets[32];
        size_t which[32], hits, seen = 0;

        for (size_t k = 0; k < 32; k++) {
            which[k] = support_random(&seed) % BUFFERS;
            offsets[k] = support_random(&seed) % race->world.ranges[which[k]].size;
            pointers[k] =
                (const char *)arena_pointer(&race->world.d->arena, &race->world.ranges[which[k]]) +
                offsets[k];
        }
        hits = dmabufd_translate_pointers(race->world.d, pointers, 32, answers);
        for (size_t k = 0; k < 32; k++) {
            seen += answers[k].dma_addr != DMABUFD_NO_ADDRESS;
            if (!plausible(race, which[k], offsets[k], &answers[k]))
                return (void *)1;
        }
        if (seen != hits)
            return (void *)2;
        if (hits && !lucky)
            atomic_fetch_add(&race->lucky, 1);
        lucky = lucky || hits;
    }
    return NULL;
}

static void while_buffers_come_and_go(void **unused)
{
    static struct race race;
    pthread_t threads[3];
    uint64_t seed = 7;

    (void)unused;
    world_make(&race.world, &seed);
    for (size_t i = 0; i < BUFFERS; i++)
        arena_withdraw(&race.world.d->arena, &race.world.ranges[i]);
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &race), 0);
    /* However long it takes until each reader has had its turn. */
    for (int i = 0; i < 2000 || atomic_load(&race.lucky) < 3; i++) {
        const struct arena_range *range = &race.world.ranges[support_random(&seed) % BUFFERS];
        struct dmabufd_span span = { 0, (1 + support_random(&seed) % 1000) << 32, range->size };
        const void *pointer = arena_pointer(&race.world.d->arena, range);
        struct dmabufd_translation answer;

        arena_withdraw(&race.world.d->arena, range);
        assert_int_equal(dmabufd_translate_pointers(race.world.d, &pointer, 1, &answer), 0);
        arena_publish(&race.world.d->arena, range, &span, 1);
        assert_int_equal(dmabufd_translate_pointers(race.world.d, &pointer, 1, &answer), 1);
        assert_int_equal(answer.dma_addr, span.dma_addr);
    }
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < 3; i++) {
        void *result;

        pthread_join(threads[i], &result);
        assert_null(result);
    }
    world_end(&race.world);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(like_single_calls),
        cmocka_unit_test(nothing_asked),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(while_buffers_come_and_go),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
