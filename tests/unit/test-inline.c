/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Translation compiled into the program: always what the call says, also about memory that came after
 * the program asked for the tables, and where the library has to be asked after all. The connection
 * has no socket: a translation does not look at it.
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

#include <cmocka.h>

#include "client/connection.h"
#include "common/spans.h"

#define KIB    UINT64_C(1024)
#define MIB    (KIB * 1024)
#define GIB    (MIB * 1024)
#define ZONE   (16 * GIB)
#define CANARY UINT64_C(0xdeadbeefcafe)

static uint64_t random_number(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

static dmabufd *connection_make(struct dmabufd_tables *ret)
{
    dmabufd *d = aligned_alloc(64, (sizeof(*d) + 63) / 64 * 64);

    assert_non_null(d);
    memset(d, 0, sizeof(*d));
    assert_int_equal(arena_init(&d->arena, ZONE, NULL), 0);
    assert_int_equal(dmabufd_get_tables(d, DMABUFD_TABLES_LAYOUT, ret), 0);
    return d;
}

static void connection_end(dmabufd *d)
{
    arena_deinit(&d->arena);
    free(d);
}

static char *put(dmabufd *d, const struct dmabufd_span *list, size_t count, uint64_t page_size,
                 struct arena_range *ret)
{
    uint64_t size = list[count - 1].offset + list[count - 1].length;

    assert_int_equal(arena_place(&d->arena, size, page_size, list, count, ret, NULL), 0);
    arena_publish(&d->arena, ret, list, count);
    return arena_pointer(&d->arena, ret);
}

/* The call, and the three things that are compiled in, say the same. Return: whether it is a hit. */
static bool agree(const dmabufd *d, const struct dmabufd_tables *tables, const char *pointer)
{
    uint64_t dma_addr = CANARY, length = CANARY;
    uint64_t inline_addr = CANARY, inline_length = CANARY, only_addr = CANARY;
    struct dmabufd_translation value = dmabufd_translate_value(d, pointer);
    int r = dmabufd_translate(d, pointer, &dma_addr, &length);

    assert_int_equal(dmabufd_translate_inline(tables, pointer, &inline_addr, &inline_length), r);
    assert_int_equal(dmabufd_translate_inline(tables, pointer, &only_addr, NULL), r);
    assert_int_equal(inline_addr, dma_addr);
    assert_int_equal(inline_length, length);
    assert_int_equal(only_addr, dma_addr);
    assert_int_equal(value.dma_addr, r == 0 ? dma_addr : DMABUFD_NO_ADDRESS);
    assert_int_equal(value.length, r == 0 ? length : 0);
    if (r < 0)
        assert_int_equal(dma_addr, CANARY);
    return r == 0;
}

static void wrong_layout(void **unused)
{
    struct dmabufd_tables tables, untouched;
    dmabufd *d = connection_make(&tables);

    (void)unused;
    memset(&untouched, 0x5a, sizeof(untouched));
    tables = untouched;
    assert_int_equal(dmabufd_get_tables(d, 0, &tables), -EOPNOTSUPP);
    assert_int_equal(dmabufd_get_tables(d, DMABUFD_TABLES_LAYOUT + 1, &tables), -EOPNOTSUPP);
    assert_memory_equal(&tables, &untouched, sizeof(tables));
    connection_end(d);
}

/* Buffers come and go; the tables were asked for when there was none. */
static void random_layouts(void **unused)
{
    struct {
        struct arena_range range;
        struct spans spans;
    } items[16] = { 0 };
    struct dmabufd_tables tables;
    dmabufd *d = connection_make(&tables);
    uint64_t seed = 88172645463325252;

    (void)unused;
    for (int step = 0; step < 2000; step++) {
        size_t i = random_number(&seed) % 16;
        uint64_t page = random_number(&seed) % 2 ? 4 * KIB : 2 * MIB;
        const char *data;

        if (items[i].range.size) {
            data = arena_pointer(&d->arena, &items[i].range);
            arena_withdraw(&d->arena, &items[i].range);
            assert_false(agree(d, &tables, data));
            arena_unplace(&d->arena, &items[i].range);
            spans_deinit(&items[i].spans);
        }
        items[i].spans = (struct spans){ 0 };
        for (uint64_t n = 1 + random_number(&seed) % 20; n > 0; n--)
            assert_int_equal(spans_append(&items[i].spans,
                                          random_number(&seed) % (UINT64_C(1) << 52) & ~(page - 1),
                                          (1 + random_number(&seed) % 5) * page),
                             0);
        data = put(d, items[i].spans.list, items[i].spans.count, page, &items[i].range);
        for (size_t k = 0; k < items[i].spans.count; k++) {
            const struct dmabufd_span *span = &items[i].spans.list[k];

            assert_true(agree(d, &tables, data + span->offset));
            assert_true(agree(d, &tables, data + span->offset + span->length - 1));
            assert_true(
                agree(d, &tables, data + span->offset + random_number(&seed) % span->length));
        }
        agree(d, &tables, data + items[i].range.size);
        agree(d, &tables, data - 1);
        assert_false(agree(d, &tables, (const char *)(uintptr_t)random_number(&seed)));
    }
    for (size_t i = 0; i < 16; i++)
        spans_deinit(&items[i].spans);
    connection_end(d);
}

/* At each edge of the range, of its halves, and of what can be read of their tables. */
static void edges(void **unused)
{
    struct dmabufd_span small = { 0, 4 * KIB, 4 * KIB }, large = { 0, 2 * MIB, 2 * MIB };
    struct dmabufd_tables tables;
    dmabufd *d = connection_make(&tables);
    const struct arena *arena = &d->arena;
    const char *base = (const char *)arena->base;
    struct arena_range range;

    (void)unused;
    for (int round = 0; round < 2; round++) {
        const uintptr_t at[] = { 0,
                                 arena->end[ZONE_SMALL],
                                 arena->middle,
                                 arena->end[ZONE_LARGE],
                                 2 * arena->middle,
                                 4 * KIB,
                                 2 * MIB,
                                 arena->middle + 2 * MIB,
                                 -arena->base };

        for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
            bool hit = round == 1 && (at[i] == 0 || at[i] == arena->middle);
            bool before = round == 1 && (at[i] == 4 * KIB || at[i] == arena->middle + 2 * MIB);

            assert_int_equal(agree(d, &tables, (const char *)(arena->base + at[i])), hit);
            assert_int_equal(agree(d, &tables, (const char *)(arena->base + at[i] - 1)), before);
        }
        if (round == 0) {
            assert_ptr_equal(put(d, &small, 1, 4 * KIB, &range), base);
            assert_ptr_equal(put(d, &large, 1, 2 * MIB, &range), base + arena->middle);
        }
    }
    connection_end(d);
}

/* A reader with old tables sees what lies behind the ends that there were. */
static void ends_grow(void **unused)
{
    struct dmabufd_span small = { 0, 0, GIB }, large = { 0, 0, 14 * GIB }, more = { 0, 0, GIB };
    struct dmabufd_tables tables;
    dmabufd *d = connection_make(&tables);
    struct arena_range range;

    (void)unused;
    for (int i = 0; i < 3; i++) {
        uint64_t end = d->arena.end[ZONE_SMALL];
        const char *data = put(d, &small, 1, 4 * KIB, &range);

        assert_true(d->arena.end[ZONE_SMALL] > end);
        assert_true(agree(d, &tables, data));
        assert_true(agree(d, &tables, data + GIB - 1));
    }
    assert_true(agree(d, &tables, put(d, &large, 1, 2 * MIB, &range) + large.length - 1));
    assert_true(agree(d, &tables, put(d, &more, 1, GIB, &range) + more.length - 1));
    connection_end(d);
}

/* Too long for the field; also where pointer and device address are equal, or nearly. */
static void long_runs(void **unused)
{
    (void)unused;
    for (int64_t over = -2; over <= 2; over++) {
        for (int kind = 0; kind < 3; kind++) {
            uint64_t size = (DMABUFD_ENTRY_RUN_MAX + (uint64_t)over) * 4 * KIB;
            struct dmabufd_span span = { 0, UINT64_C(1) << 45, size };
            struct dmabufd_tables tables;
            dmabufd *d = connection_make(&tables);
            uint64_t dma_addr, length;
            struct arena_range range;
            const char *data;

            if (kind > 0)
                span.dma_addr = d->arena.base + (kind == 1 ? 0 : 4 * KIB);
            data = put(d, &span, 1, 4 * KIB, &range);
            for (uint64_t at = 5; at < size; at += 300 * MIB) {
                assert_true(agree(d, &tables, data + at));
                dmabufd_translate_inline(&tables, data + at, &dma_addr, &length);
                assert_int_equal(dma_addr, span.dma_addr + at);
                assert_int_equal(length, size - at);
            }
            assert_true(agree(d, &tables, data + size - 1));
            arena_withdraw(&d->arena, &range);
            assert_false(agree(d, &tables, data));
            connection_end(d);
        }
    }
}

/* ---- while buffers come and go ---- */

struct race {
    dmabufd *d;
    struct dmabufd_tables tables;
    struct arena_range ranges[4];
    atomic_uint lucky; /* readers that have translated something */
    atomic_bool stop;
};

static void *reader(void *argument)
{
    struct race *race = argument;
    const struct dmabufd_tables tables = race->tables;
    uint64_t seed = (uintptr_t)&seed | 1, hits = 0;

    while (!atomic_load_explicit(&race->stop, memory_order_relaxed)) {
        const struct arena_range *range = &race->ranges[random_number(&seed) % 4];
        uint64_t offset = random_number(&seed) % (2 * MIB), address, length, only;
        const char *pointer = (const char *)arena_pointer(&race->d->arena, range) + offset;

        if (dmabufd_translate_inline(&tables, pointer, &only, NULL) == 0 &&
            only % (2 * MIB) != offset)
            return (void *)1;
        if (dmabufd_translate_inline(&tables, pointer, &address, &length) < 0)
            continue;
        /* Each buffer is one run, or two halves of one, at a multiple of 4 GiB, whichever by now. */
        if (address % (4 * GIB) != offset || (offset + length != 2 * MIB && offset + length != MIB))
            return (void *)2;
        if (hits++ == 0)
            atomic_fetch_add(&race->lucky, 1);
    }
    return hits ? NULL : (void *)3;
}

/* Another buffer at the same place; at times it is two runs. */
static void replace(struct race *race, size_t i, uint64_t *seed)
{
    uint64_t first = random_number(seed) % 1000 * 4 * GIB, second = first + 4 * GIB;
    struct dmabufd_span whole = { 0, first, 2 * MIB };
    struct dmabufd_span halves[] = { { 0, first, MIB }, { MIB, second + MIB, MIB } };
    bool cut = i < 2 && random_number(seed) % 2;
    const char *pointer = arena_pointer(&race->d->arena, &race->ranges[i]);
    uint64_t dma_addr, length;

    arena_withdraw(&race->d->arena, &race->ranges[i]);
    assert_int_equal(dmabufd_translate_inline(&race->tables, pointer, &dma_addr, &length), -ENOENT);
    arena_publish(&race->d->arena, &race->ranges[i], cut ? halves : &whole, cut ? 2 : 1);
}

static void concurrent_readers(void **unused)
{
    struct race race = { .lucky = 0 };
    pthread_t threads[3];
    uint64_t seed = 7;

    (void)unused;
    race.d = connection_make(&race.tables);
    for (size_t i = 0; i < 4; i++) {
        struct dmabufd_span span = { 0, (i + 1) << 40, 2 * MIB };

        put(race.d, &span, 1, i < 2 ? 4 * KIB : 2 * MIB, &race.ranges[i]);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, &race), 0);
    /* However long it takes until each reader has had its turn. */
    for (int i = 0; i < 2000 || atomic_load(&race.lucky) < 3; i++) {
        struct dmabufd_span span = { 0, 0, 32 * MIB };
        struct arena_range range;

        replace(&race, random_number(&seed) % 4, &seed);
        /* Ends grow meanwhile. */
        if (i < 300)
            put(race.d, &span, 1, i % 2 ? 4 * KIB : 2 * MIB, &range);
    }
    atomic_store(&race.stop, true);
    for (size_t i = 0; i < 3; i++) {
        void *result;

        pthread_join(threads[i], &result);
        assert_null(result);
    }
    connection_end(race.d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_layout), cmocka_unit_test(random_layouts),
        cmocka_unit_test(edges),        cmocka_unit_test(ends_grow),
        cmocka_unit_test(long_runs),    cmocka_unit_test(concurrent_readers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
