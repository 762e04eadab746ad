/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The library's arena: places, tables, translation. Random layouts are compared with the scatter
 * lists they were made of, byte by byte in meaning. Nothing is mapped unless the test is about
 * that.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/arena.h"
#include "common/memfd.h"
#include "common/spans.h"
#include "tests/unit/support.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)
/* Room for everything below, and within what a sanitizer leaves of the addresses. */
#define ZONE (16 * GIB)

/* A scatter list whose runs are multiples of @granule at multiples of it, or some of 4 KiB. */
static void random_spans(uint64_t *state, uint64_t size, uint64_t granule, struct spans *ret)
{
    *ret = (struct spans){ 0 };
    while (spans_end(ret) < size) {
        uint64_t left = (size - spans_end(ret)) / granule;
        uint64_t length = (1 + support_random(state) % (left < 7 ? left : 7)) * granule;
        uint64_t address = support_random(state) % (ARENA_ADDRESS_END - length) &
                           ~((support_random(state) % 8 ? granule : 4 * KIB) - 1);

        assert_int_equal(spans_append(ret, address, length), 0);
    }
}

struct item {
    struct arena_range range;
    struct spans spans;
    uint64_t page_size;
};

static void place(struct arena *arena, struct item *item, uint64_t size)
{
    struct fault fault;

    assert_int_equal(arena_place(arena, size, item->page_size, item->spans.list, item->spans.count,
                                 &item->range, &fault),
                     0);
    arena_publish(arena, &item->range, item->spans.list, item->spans.count);
}

/* The reference: walk the list. */
static void check_at(const struct arena *arena, const struct item *item, uint64_t offset)
{
    const char *pointer = (const char *)arena_pointer(arena, &item->range) + offset;
    uint64_t address = 0, length = 0;

    assert_int_equal(arena_translate(arena, pointer, &address, &length), 0);
    for (size_t i = 0; i < item->spans.count; i++) {
        const struct dmabufd_span *span = &item->spans.list[i];

        if (offset >= span->offset && offset - span->offset < span->length) {
            assert_int_equal(address, span->dma_addr + (offset - span->offset));
            assert_int_equal(length, span->length - (offset - span->offset));
            return;
        }
    }
    fail();
}

/* First, last and one random byte of every span. */
static void check_item(const struct arena *arena, const struct item *item, uint64_t *state)
{
    for (size_t i = 0; i < item->spans.count; i++) {
        const struct dmabufd_span *span = &item->spans.list[i];

        check_at(arena, item, span->offset);
        check_at(arena, item, span->offset + span->length - 1);
        check_at(arena, item, span->offset + support_random(state) % span->length);
    }
}

static void check_gone(const struct arena *arena, const struct arena_range *range)
{
    uint64_t address = 1, length = 2;

    for (uint64_t offset = 0; offset < range->size; offset += 4 * KIB) {
        const char *pointer = (const char *)arena_pointer(arena, range) + offset;

        assert_int_equal(arena_translate(arena, pointer, &address, &length), -ENOENT);
    }
    assert_int_equal(address, 1);
    assert_int_equal(length, 2);
}

static void random_layouts(void **unused)
{
    uint64_t seed = 88172645463325252;
    struct item items[64] = { 0 };
    struct arena arena;

    (void)unused;
    assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
    for (int step = 0; step < 3000; step++) {
        struct item *item = &items[support_random(&seed) % 64];

        if (item->range.size) {
            check_item(&arena, item, &seed);
            arena_withdraw(&arena, &item->range);
            check_gone(&arena, &item->range);
            arena_unplace(&arena, &item->range);
            spans_deinit(&item->spans);
            item->range.size = 0;
        } else {
            uint64_t granule = support_random(&seed) % 2 ? 4 * KIB : 2 * MIB;
            uint64_t size = (1 + support_random(&seed) % 40) * granule;

            item->page_size = granule;
            random_spans(&seed, size, granule, &item->spans);
            place(&arena, item, size);
        }
    }
    for (size_t i = 0; i < 64; i++) {
        if (items[i].range.size)
            check_item(&arena, &items[i], &seed);
        spans_deinit(&items[i].spans);
    }
    arena_deinit(&arena);
}

static void runs_end_with_their_buffer(void **unused)
{
    struct item items[8] = { 0 };
    uint64_t seed = 1;
    struct arena arena;

    (void)unused;
    assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
    /* Neighbours in both kinds of address. */
    for (uint64_t i = 0; i < 8; i++) {
        items[i].page_size = i < 4 ? 4 * KIB : 2 * MIB;
        spans_append(&items[i].spans, (UINT64_C(1) << 52) + i * 2 * MIB, 2 * MIB);
        place(&arena, &items[i], 2 * MIB);
    }
    for (size_t i = 0; i + 1 < 4; i++)
        assert_int_equal(items[i].range.offset + 2 * MIB, items[i + 1].range.offset);
    for (size_t i = 0; i < 8; i++) {
        check_item(&arena, &items[i], &seed);
        spans_deinit(&items[i].spans);
    }
    arena_deinit(&arena);
}

static void zone_follows_the_list(void **unused)
{
    static const struct {
        uint64_t page_size, address, length;
        unsigned int zone;
    } cases[] = {
        { 4 * KIB, UINT64_C(1) << 52, 4 * MIB, ZONE_SMALL },
        { 2 * MIB, UINT64_C(1) << 52, 4 * MIB, ZONE_LARGE },
        { GIB, UINT64_C(1) << 52, GIB, ZONE_LARGE },
        { 2 * MIB, (UINT64_C(1) << 52) + 4 * KIB, 4 * MIB, ZONE_SMALL }, /* not aligned for it */
        { 2 * MIB, 0, 2 * MIB + 4 * KIB, ZONE_SMALL },                   /* a run of half a page */
    };
    struct arena arena;

    (void)unused;
    assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct item item = { .page_size = cases[i].page_size };
        uint64_t rest = -cases[i].length & (cases[i].page_size - 1), seed = 1;

        spans_append(&item.spans, cases[i].address, cases[i].length);
        if (rest)
            spans_append(&item.spans, UINT64_C(1) << 40, rest);
        place(&arena, &item, cases[i].length + rest);
        assert_int_equal(item.range.zone, cases[i].zone);
        assert_int_equal((uintptr_t)arena_pointer(&arena, &item.range) % cases[i].page_size, 0);
        check_item(&arena, &item, &seed);
        spans_deinit(&item.spans);
    }
    arena_deinit(&arena);
}

static void impossible_addresses(void **unused)
{
    static const struct dmabufd_span lists[] = {
        { 0, 1, 8192 },                          /* inside a page */
        { 0, UINT64_C(1) << 52 | 512, 8192 },    /* inside a page */
        { 0, 0, 8192 + 512 },                    /* part of a page */
        { 0, ARENA_ADDRESS_END, 4096 },          /* too high */
        { 0, ARENA_ADDRESS_END - 4096, 8192 },   /* its end is */
        { 0, UINT64_MAX - 8191, 8192 },          /* its end is 0 */
        { 0, 4096, (UINT64_C(1) << 63) + 4096 }, /* too long */
    };
    struct arena_range range = { .size = 77 };
    struct item highest = { .page_size = 4 * KIB };
    struct arena arena;
    struct fault fault;

    (void)unused;
    assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
    for (size_t i = 0; i < sizeof(lists) / sizeof(lists[0]); i++)
        assert_int_equal(arena_place(&arena, lists[i].length, 4096, &lists[i], 1, &range, &fault),
                         -EPROTO);
    assert_int_equal(range.size, 77);
    spans_append(&highest.spans, ARENA_ADDRESS_END - 2 * 4 * KIB, 2 * 4 * KIB);
    place(&arena, &highest, 2 * 4 * KIB);
    check_at(&arena, &highest, 0);
    check_at(&arena, &highest, 2 * 4 * KIB - 1);
    spans_deinit(&highest.spans);
    arena_deinit(&arena);
}

/* Runs longer than an entry can say, at the lengths around the limit, ending at another buffer. */
static void long_runs(void **unused)
{
    const uint64_t at[] = { 0, 1, 4095, 4096, GIB + 5, 4 * GIB - 4097, 4 * GIB };
    struct item next = { .page_size = 4 * KIB };
    struct arena arena;

    (void)unused;
    for (int64_t more = -2; more <= 2; more++) {
        for (unsigned int runs = 1; runs <= 2; runs++) {
            uint64_t size = (runs * DMABUFD_ENTRY_RUN_MAX + (uint64_t)more) * 4 * KIB;
            struct item item = { .page_size = 4 * KIB };

            assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
            /* Address 0 with a run that does not fit: its entry must not look like none. */
            spans_append(&item.spans, 0, size);
            place(&arena, &item, size);
            next.spans = (struct spans){ 0 };
            spans_append(&next.spans, size, 4 * KIB);
            place(&arena, &next, 4 * KIB);
            for (size_t i = 0; i < sizeof(at) / sizeof(at[0]); i++) {
                if (at[i] < size)
                    check_at(&arena, &item, at[i]);
            }
            check_at(&arena, &item, size - 1);
            check_at(&arena, &next, 0);
            spans_deinit(&item.spans);
            spans_deinit(&next.spans);
            arena_deinit(&arena);
        }
    }
}

static void full(void **unused)
{
    struct dmabufd_span all = { 0, 0, 4 * GIB };
    struct arena_range first, second, third;
    struct arena arena;
    struct fault fault;

    (void)unused;
    assert_int_equal(arena_init(&arena, 4 * GIB, NULL), 0);
    assert_int_equal(arena_place(&arena, all.length, 2 * MIB, &all, 1, &first, &fault), 0);
    assert_int_equal(first.zone, ZONE_LARGE);
    /* The other zone serves as well, at the price of a larger table. */
    assert_int_equal(arena_place(&arena, all.length, 2 * MIB, &all, 1, &second, &fault), 0);
    assert_int_equal(second.zone, ZONE_SMALL);
    assert_int_equal(arena_place(&arena, all.length, 2 * MIB, &all, 1, &third, &fault), -ENOMEM);
    assert_non_null(strstr(fault.text, "addresses"));
    arena_unplace(&arena, &first);
    assert_int_equal(arena_place(&arena, all.length, 2 * MIB, &all, 1, &third, &fault), 0);
    arena_deinit(&arena);
}

static void mapping(void **unused)
{
    struct dmabufd_span span = { 0, UINT64_C(1) << 52, 8 * KIB };
    struct arena_range range;
    struct arena arena;
    struct fault fault;
    char *data;
    int fd;

    (void)unused;
    assert_int_equal(memfd_open("test", 0, &fd), 0);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_int_equal(arena_init(&arena, ZONE, NULL), 0);
    for (int i = 0; i < 100; i++) {
        assert_int_equal(arena_place(&arena, 8192, 4096, &span, 1, &range, &fault), 0);
        assert_int_equal(range.offset, 0); /* given back each time */
        assert_int_equal(arena_map(&arena, &range, fd, 0, DMABUFD_READ_WRITE, &fault), 0);
        data = arena_pointer(&arena, &range);
        assert_int_equal(data[8191], i == 0 ? 0 : 42);
        data[8191] = 42;
        arena_release(&arena, &range);
    }
    /* Nothing is there between two buffers. */
    assert_int_equal(msync(data, 8192, MS_ASYNC), 0);
    assert_int_equal(arena_place(&arena, 8192, 4096, &span, 1, &range, &fault), 0);
    assert_int_equal(arena_map(&arena, &range, -1, 0, DMABUFD_READ_WRITE, &fault), -EBADF);
    arena_unplace(&arena, &range);
    arena_deinit(&arena);
    close(fd);
}

/* Readers never see an address with the length of another, while buffers come and go. */
struct race {
    struct arena arena;
    struct item items[4];
    atomic_uint lucky; /* readers that have translated something */
    atomic_bool stop;
};

static void *reader(void *argument)
{
    struct race *race = argument;
    uint64_t seed = (uint64_t)(uintptr_t)&seed | 1, hits = 0;

    while (!atomic_load_explicit(&race->stop, memory_order_relaxed)) {
        const struct item *item = &race->items[support_random(&seed) % 4];
        uint64_t offset = support_random(&seed) % (2 * MIB), address, length;
        const char *pointer = (const char *)arena_pointer(&race->arena, &item->range) + offset;

        if (arena_translate(&race->arena, pointer, &address, &length) < 0)
            continue;
        /* Each buffer is one run that ends at a multiple of 2 MiB, whichever it is by now. */
        if ((address + length) % (2 * MIB) || length > 2 * MIB || offset + length != 2 * MIB)
            return (void *)1;
        if (hits++ == 0)
            atomic_fetch_add(&race->lucky, 1);
    }
    return hits ? NULL : (void *)2;
}

static void concurrent_readers(void **unused)
{
    struct race *race = aligned_alloc(64, (sizeof(*race) + 63) / 64 * 64);
    pthread_t threads[3];
    uint64_t seed = 7;

    (void)unused;
    assert_non_null(race);
    memset(race, 0, sizeof(*race));
    assert_int_equal(arena_init(&race->arena, ZONE, NULL), 0);
    for (size_t i = 0; i < 4; i++) {
        race->items[i].page_size = i < 2 ? 4 * KIB : 2 * MIB;
        spans_append(&race->items[i].spans, (i + 1) << 40, 2 * MIB);
        place(&race->arena, &race->items[i], 2 * MIB);
    }
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, reader, race), 0);
    /* However long it takes until each reader has had its turn. */
    for (int i = 0; i < 2000 || atomic_load(&race->lucky) < 3; i++) {
        const struct arena_range *range = &race->items[support_random(&seed) % 4].range;
        struct dmabufd_span span = { 0, (support_random(&seed) % 1000) << 32, 2 * MIB };

        arena_withdraw(&race->arena, range);
        check_gone(&race->arena, range);
        arena_publish(&race->arena, range, &span, 1);
    }
    atomic_store(&race->stop, true);
    for (size_t i = 0; i < 3; i++) {
        void *result;

        pthread_join(threads[i], &result);
        assert_null(result);
    }
    for (size_t i = 0; i < 4; i++)
        spans_deinit(&race->items[i].spans);
    arena_deinit(&race->arena);
    free(race);
}

#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED
#endif
#endif
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define SANITIZED
#endif

#ifndef SANITIZED /* a sanitizer needs more addresses than any limit allows */
/* In a child, because a limit that was lowered stays. Return: size of a zone in GiB, 0: refused. */
static uint64_t zone_under_limit(uint64_t limit, uint64_t want)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        struct rlimit as = { limit, limit };
        struct arena arena;

        setrlimit(RLIMIT_AS, &as);
        if (arena_init(&arena, want, NULL) < 0)
            _exit(0);
        _exit((int)(arena.middle / GIB));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return (uint64_t)WEXITSTATUS(status);
}

static void limited_addresses(void **unused)
{
    (void)unused;
    /* A quarter of what the process may have, but not too little. */
    assert_int_equal(zone_under_limit(70 * GIB, 0), 16);
    assert_int_equal(zone_under_limit(12 * GIB, 0), 4);
    /* What is wanted, or halves of it. */
    assert_int_equal(zone_under_limit(200 * GIB, 64 * GIB), 64);
    assert_int_equal(zone_under_limit(40 * GIB, 64 * GIB), 16);
    /* Not even the least. */
    assert_int_equal(zone_under_limit(7 * GIB, 0), 0);
}
#endif

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_layouts),
        cmocka_unit_test(runs_end_with_their_buffer),
        cmocka_unit_test(zone_follows_the_list),
        cmocka_unit_test(impossible_addresses),
        cmocka_unit_test(long_runs),
        cmocka_unit_test(full),
        cmocka_unit_test(mapping),
        cmocka_unit_test(concurrent_readers),
#ifndef SANITIZED
        cmocka_unit_test(limited_addresses),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
