/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Each promise of the heap by itself: limits, refusals, giving back, options, fork(). Random
 * histories and alignment are in test-heap.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/heap-source.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

static const struct test_layout one = { 0, 0 };
static const struct test_layout scattered = { 4 * KIB, 0 };
static const struct test_layout huge = { 2 * MIB, 0 };

static struct dmabufd_heap_options options(uint64_t grow_by, uint64_t limit, uint64_t reserve)
{
    return (struct dmabufd_heap_options){ .size = sizeof(struct dmabufd_heap_options),
                                          .grow_by = grow_by,
                                          .limit = limit,
                                          .reserve = reserve };
}

static struct dmabufd_heap_statistics statistics(dmabufd_heap *heap)
{
    struct dmabufd_heap_statistics s = DMABUFD_HEAP_STATISTICS_INIT;

    assert_int_equal(dmabufd_heap_get_statistics(heap, &s), 0);
    return s;
}

static void limit(void **state)
{
    struct dmabufd_heap_options with = options(0, 6 * MIB, 0);
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, huge, &with);
    void *p[3];

    (void)state;
    for (size_t i = 0; i < 3; i++)
        assert_non_null(p[i] = dmabufd_heap_alloc(heap, 2 * MIB, 2 * MIB));
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 1, 0));
    assert_int_equal(errno, ENOMEM);
    assert_non_null(strstr(dmabufd_last_error(), "6291456 of the 6291456 bytes it may"));
    assert_null(dmabufd_heap_alloc(heap, SIZE_MAX, 0));
    assert_null(dmabufd_heap_alloc(heap, SIZE_MAX / 2, 2 * MIB));
    assert_int_equal(dmabufd_heap_free(heap, p[1]), 0);
    assert_ptr_equal(dmabufd_heap_alloc(heap, 2 * MIB, 0), p[1]);
    test_heap_destroy(heap, &source);
}

/* All of it can be had in small pieces, and then none more. */
static void limit_in_small_pieces(void **state)
{
    struct dmabufd_heap_options with = options(0, 4 * MIB, 0);
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, scattered, &with);

    (void)state;
    for (size_t i = 0; i < 1024; i++)
        assert_non_null(dmabufd_heap_alloc(heap, 4096, 4096));
    assert_null(dmabufd_heap_alloc(heap, 4096, 0));
    assert_int_equal(statistics(heap).bytes_in_use, 4 * MIB);
    test_heap_destroy(heap, &source);
}

static void wrong_arguments(void **state)
{
    static const uint64_t bad[] = { 3, 96, 4097, 4 * MIB, UINT64_C(1) << 63, UINT64_MAX };
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);

    (void)state;
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        errno = 0;
        assert_null(dmabufd_heap_alloc(heap, 64, bad[i]));
        assert_int_equal(errno, EINVAL);
    }
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 0, 0));
    assert_int_equal(errno, EINVAL);
    errno = 0;
    assert_null(dmabufd_heap_alloc_with(heap, 64, 0, 8));
    assert_int_equal(errno, EINVAL);
    assert_int_equal(statistics(heap).buffers, 0);
    test_heap_destroy(heap, &source);
}

static void wrong_frees(void **state)
{
    struct test_source source, other_source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);
    dmabufd_heap *other = test_heap_create(&other_source, one, NULL);
    char *small = dmabufd_heap_alloc(heap, 192, 0);
    char *page = dmabufd_heap_alloc(heap, 4096, 0);
    char *large = dmabufd_heap_alloc(heap, 100 * KIB, 0);
    char *foreign = dmabufd_heap_alloc(other, 64, 0);
    char local[64];
    void *const wrong[] = { small + 1,   small + 64,
                            small + 192, page + 64,
                            page + 1,    large + 4096,
                            large + 64,  large + 100 * KIB,
                            foreign,     local,
                            (void *)1,   (void *)UINTPTR_MAX,
                            &other,      (char *)((uintptr_t)small & ~(2 * MIB - 1)) - 1 };

    (void)state;
    assert_non_null(foreign);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
        assert_int_equal(dmabufd_heap_free(heap, wrong[i]), -EINVAL);
        assert_int_equal(dmabufd_heap_usable_size(heap, wrong[i]), 0);
    }
    assert_int_equal(statistics(heap).objects, 3);
    assert_int_equal(dmabufd_heap_free(heap, NULL), 0);
    assert_int_equal(dmabufd_heap_free(heap, small), 0);
    assert_int_equal(dmabufd_heap_free(heap, page), 0);
    assert_int_equal(dmabufd_heap_free(heap, large), 0);
    assert_int_equal(dmabufd_heap_free(heap, small), -EINVAL);
    assert_int_equal(dmabufd_heap_free(heap, page), -EINVAL);
    assert_int_equal(dmabufd_heap_free(heap, large), -EINVAL);
    dmabufd_heap_trim(heap);
    assert_int_equal(dmabufd_heap_free(heap, small), -EINVAL);
    assert_int_equal(dmabufd_heap_free(heap, large), -EINVAL);
    test_heap_destroy(heap, &source);
    assert_int_equal(dmabufd_heap_free(other, foreign), 0);
    test_heap_destroy(other, &other_source);
}

static void zeroed(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);

    (void)state;
    for (size_t size = 1; size <= 3 * MIB; size = size * 2 + 1) {
        for (unsigned int i = 0; i < 3; i++) {
            unsigned char *p = dmabufd_heap_zalloc(heap, size, 0);
            unsigned char *q = dmabufd_heap_alloc_with(heap, size, 0, DMABUFD_HEAP_ALLOC_ZERO);

            assert_true(p && q);
            assert_true(p[0] == 0 && memcmp(p, p + 1, size - 1) == 0);
            assert_true(q[0] == 0 && memcmp(q, q + 1, size - 1) == 0);
            memset(p, 0xff, dmabufd_heap_usable_size(heap, p));
            memset(q, 0xff, dmabufd_heap_usable_size(heap, q));
            assert_int_equal(dmabufd_heap_free(heap, p), 0);
            assert_int_equal(dmabufd_heap_free(heap, q), 0);
        }
    }
    test_heap_destroy(heap, &source);
}

/* Of pages that were in use and pages that never were. */
static void zeroed_across_spans(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, scattered, NULL);
    unsigned char *p[100];

    (void)state;
    for (size_t i = 0; i < 100; i++) {
        assert_non_null(p[i] = dmabufd_heap_alloc(heap, 4096, 0));
        memset(p[i], 0xff, 4096);
    }
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(dmabufd_heap_free(heap, p[i]), 0);
    p[0] = dmabufd_heap_alloc_with(heap, 2 * MIB, 0,
                                   DMABUFD_HEAP_ALLOC_SCATTERED | DMABUFD_HEAP_ALLOC_ZERO);
    assert_non_null(p[0]);
    assert_int_equal(source.live, 1);
    assert_true(p[0][0] == 0 && memcmp(p[0], p[0] + 1, 2 * MIB - 1) == 0);
    test_heap_destroy(heap, &source);
}

/* A device, or a process that holds the buffer too, writes all over it. */
static void hostile_memory(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);
    void *p[200];

    (void)state;
    for (unsigned int round = 0; round < 20; round++) {
        for (size_t i = 0; i < 200; i++)
            assert_non_null(p[i] = dmabufd_heap_alloc(heap, 1 + i * 97, 0));
        for (size_t i = 0; i < SOURCE_MEMORIES; i++) {
            if (source.memory[i].handle)
                memset(source.memory[i].data, 0xff, source.memory[i].size);
        }
        for (size_t i = 0; i < 200; i++)
            assert_int_equal(dmabufd_heap_free(heap, p[(i * 7) % 200]), 0);
    }
    assert_int_equal(statistics(heap).objects, 0);
    test_heap_destroy(heap, &source);
}

static void cache_hits(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);

    (void)state;
    for (unsigned int i = 0; i < 1000; i++)
        dmabufd_heap_free(heap, dmabufd_heap_alloc(heap, 4096, 4096));
    assert_int_equal(statistics(heap).allocations, 1000);
    assert_int_equal(statistics(heap).cache_hits, 999);
    test_heap_destroy(heap, &source);
}

/* A burst goes back by itself, down to what may be needed again; the rhythm of a program costs the
 * daemon nothing. */
static void hysteresis(void **state)
{
    struct dmabufd_heap_options with = options(4 * MIB, 0, 0);
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, &with);
    uint64_t obtained;
    void *p[64];

    (void)state;
    for (size_t i = 0; i < 64; i++)
        assert_non_null(p[i] = dmabufd_heap_alloc(heap, MIB, 0));
    assert_int_equal(source.bytes, 64 * MIB);
    for (size_t i = 1; i < 64; i++)
        assert_int_equal(dmabufd_heap_free(heap, p[i]), 0);
    assert_true(source.bytes <= 8 * MIB);
    obtained = source.obtained;
    for (size_t i = 0; i < 1000; i++) {
        p[1] = dmabufd_heap_alloc(heap, 3 * MIB + i, 0);
        assert_non_null(p[1]);
        assert_int_equal(dmabufd_heap_free(heap, p[1]), 0);
    }
    assert_true(source.obtained <= obtained + 1);
    assert_int_equal(dmabufd_heap_free(heap, p[0]), 0);
    dmabufd_heap_trim(heap);
    assert_int_equal(source.bytes, 0);
    test_heap_destroy(heap, &source);
}

static void reserve(void **state)
{
    struct dmabufd_heap_options with = options(0, 0, 10 * MIB);
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, &with);
    void *p;

    (void)state;
    assert_int_equal(source.bytes, 10 * MIB);
    p = dmabufd_heap_alloc_with(heap, 10 * MIB, 0, DMABUFD_HEAP_ALLOC_NO_GROW);
    assert_non_null(p);
    errno = 0;
    assert_null(dmabufd_heap_alloc_with(heap, 1, 0, DMABUFD_HEAP_ALLOC_NO_GROW));
    assert_int_equal(errno, ENOMEM);
    assert_non_null(dmabufd_heap_alloc(heap, 1, 0));
    assert_int_equal(dmabufd_heap_free(heap, p), 0);
    dmabufd_heap_trim(heap);
    assert_int_equal(source.bytes, 12 * MIB);
    test_heap_destroy(heap, &source);
}

static void kept(void **state)
{
    struct dmabufd_heap_options with = options(0, 0, 0);
    struct test_source source;
    dmabufd_heap *heap;
    void *p[8];

    (void)state;
    with.flags = DMABUFD_HEAP_KEEP;
    heap = test_heap_create(&source, one, &with);
    for (size_t i = 0; i < 8; i++)
        assert_non_null(p[i] = dmabufd_heap_alloc(heap, 5 * MIB, 0));
    for (size_t i = 0; i < 8; i++)
        assert_int_equal(dmabufd_heap_free(heap, p[i]), 0);
    assert_int_equal(source.released, 0);
    assert_int_equal(dmabufd_heap_trim(heap), 48 * MIB);
    assert_int_equal(source.live, 0);
    test_heap_destroy(heap, &source);
}

/* Its wish for a large step is refused, what is needed is not. */
static void source_refuses(void **state)
{
    struct dmabufd_heap_options with = options(64 * MIB, 0, 0);
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, &with);
    struct dmabufd_heap_statistics before;

    (void)state;
    source.refuse_above = 4 * MIB;
    assert_non_null(dmabufd_heap_alloc(heap, 64, 0));
    assert_int_equal(source.bytes, 2 * MIB);
    before = statistics(heap);
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 5 * MIB, 0));
    assert_int_equal(errno, ENOMEM);
    assert_non_null(strstr(dmabufd_last_error(), "the source has no 6291456 bytes"));
    assert_int_equal(statistics(heap).bytes_held, before.bytes_held);
    source.broken = true;
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 3 * MIB, 0));
    assert_int_equal(errno, ENOTCONN);
    assert_non_null(dmabufd_heap_alloc(heap, MIB, 0));
    test_heap_destroy(heap, &source);
}

static void refused_options(void **state)
{
    struct dmabufd_heap_options wrong[] = { options(0, 4 * MIB, 5 * MIB),
                                            options(0, MIB, 0),
                                            options(0, 0, 0),
                                            options(0, 0, 0),
                                            options(0, 0, 0),
                                            options(UINT64_MAX, 0, 0) };
    struct {
        struct dmabufd_heap_options known;
        uint64_t later;
    } newer = { options(0, 0, 0), 0 };
    struct test_source source;
    dmabufd_heap *heap = NULL;
    struct fault fault;

    (void)state;
    wrong[2].page_size = 8192;
    wrong[3].flags = 2;
    wrong[4].size = 8;
    test_source_init(&source, one);
    for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++)
        assert_int_equal(heap_create(&source.ops, &wrong[i], &heap, &fault), -EINVAL);
    newer.known.size = sizeof(newer);
    newer.later = 1;
    assert_int_equal(heap_create(&source.ops, &newer.known, &heap, &fault), -E2BIG);
    assert_null(heap);
    newer.later = 0;
    assert_int_equal(heap_create(&source.ops, &newer.known, &heap, &fault), 0);
    dmabufd_heap_destroy(heap);
    source.refuse_above = MIB;
    newer.known.reserve = 2 * MIB;
    assert_int_equal(heap_create(&source.ops, &newer.known, &heap, &fault), -ENOMEM);
    test_source_deinit(&source);
    assert_null(dmabufd_heap_destroy(NULL));
}

static void statistics_versions(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);
    struct {
        struct dmabufd_heap_statistics known;
        uint64_t later;
    } newer = { DMABUFD_HEAP_STATISTICS_INIT, 7 };

    (void)state;
    newer.known.size = sizeof(newer);
    assert_int_equal(dmabufd_heap_get_statistics(heap, &newer.known), 0);
    assert_int_equal(newer.known.size, sizeof(newer.known));
    assert_int_equal(newer.later, 7);
    newer.known.size = 8;
    assert_int_equal(dmabufd_heap_get_statistics(heap, &newer.known), -EINVAL);
    test_heap_destroy(heap, &source);
}

/* More heaps than places for caches, in turns. */
static void many_heaps(void **state)
{
    static struct test_source sources[20];
    dmabufd_heap *heaps[20];
    void *p[20];

    (void)state;
    for (size_t i = 0; i < 20; i++)
        heaps[i] = test_heap_create(&sources[i], huge, NULL);
    for (unsigned int round = 0; round < 50; round++) {
        for (size_t i = 0; i < 20; i++)
            assert_non_null(p[i] = dmabufd_heap_alloc(heaps[i], 64 + 300 * i, 0));
        for (size_t i = 0; i < 20; i++) {
            assert_int_equal(dmabufd_heap_free(heaps[(i + 1) % 20], p[i]), -EINVAL);
            assert_int_equal(dmabufd_heap_free(heaps[i], p[i]), 0);
        }
    }
    for (size_t i = 0; i < 20; i++) {
        assert_int_equal(statistics(heaps[i]).cache_hits, 49);
        test_heap_destroy(heaps[i], &sources[i]);
    }
}

/* Checked in the child without the framework, whose state is the parent's. */
static int child_of_heap(dmabufd_heap *heap, void *cached, void *large)
{
    errno = 0;
    if (dmabufd_heap_alloc(heap, 64, 0) || errno != ENOTCONN)
        return 1;
    if (dmabufd_heap_alloc(heap, MIB, 0) || errno != ENOTCONN)
        return 2;
    if (dmabufd_heap_free(heap, cached) != -ENOTCONN || dmabufd_heap_free(heap, large) != -ENOTCONN)
        return 3;
    if (dmabufd_heap_trim(heap) != 0)
        return 4;
    dmabufd_heap_destroy(heap);
    return 0;
}

static void forked(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, one, NULL);
    void *cached = dmabufd_heap_alloc(heap, 64, 0);
    void *large = dmabufd_heap_alloc(heap, 4 * MIB, 0);
    int status;
    pid_t pid;

    (void)state;
    dmabufd_heap_free(heap, dmabufd_heap_alloc(heap, 64, 0));
    pid = fork();
    if (pid == 0)
        _exit(child_of_heap(heap, cached, large));
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(dmabufd_heap_free(heap, cached), 0);
    assert_int_equal(dmabufd_heap_free(heap, large), 0);
    assert_non_null(dmabufd_heap_alloc(heap, 64, 0));
    test_heap_destroy(heap, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limit),
        cmocka_unit_test(limit_in_small_pieces),
        cmocka_unit_test(wrong_arguments),
        cmocka_unit_test(wrong_frees),
        cmocka_unit_test(zeroed),
        cmocka_unit_test(zeroed_across_spans),
        cmocka_unit_test(hostile_memory),
        cmocka_unit_test(cache_hits),
        cmocka_unit_test(hysteresis),
        cmocka_unit_test(reserve),
        cmocka_unit_test(kept),
        cmocka_unit_test(source_refuses),
        cmocka_unit_test(refused_options),
        cmocka_unit_test(statistics_versions),
        cmocka_unit_test(many_heaps),
        cmocka_unit_test(forked),
    };

    return cmocka_run_group_tests_name("heap, rules", tests, NULL, NULL);
}
