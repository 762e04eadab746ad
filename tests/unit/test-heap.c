/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The heap on memory of every layout: what it hands out is compared with a list of what is in use.
 * Single promises are in test-heap-rules.c, several threads in test-heap-threads.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/heap-classes.h"
#include "tests/unit/heap-source.h"
#include "tests/unit/support.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

static const struct test_layout one = { 0, 0 };
static const struct test_layout scattered = { 4 * KIB, 0 };
static const struct test_layout runs = { 64 * KIB, 0 };
static const struct test_layout huge = { 2 * MIB, 0 };
static const struct test_layout shifted = { 0, 4 * KIB };

static struct dmabufd_heap_statistics statistics(dmabufd_heap *heap)
{
    struct dmabufd_heap_statistics s = DMABUFD_HEAP_STATISTICS_INIT;

    assert_int_equal(dmabufd_heap_get_statistics(heap, &s), 0);
    return s;
}

/* Every size and alignment has a class that is large and aligned enough and the smallest such. */
static void classes(void **state)
{
    (void)state;
    heap_classes_init();
    for (uint64_t alignment = 64; alignment <= 4 * KIB; alignment *= 2) {
        for (uint64_t size = 1; size <= 64 * KIB; size += size < 4 * KIB ? 1 : 61) {
            unsigned int class = heap_class_of(size, alignment);

            assert_true(class < HEAP_CLASSES);
            assert_true(heap_classes[class].size >= size);
            assert_int_equal(heap_classes[class].size % alignment, 0);
            for (unsigned int i = 0; i < class; i++)
                assert_true(heap_classes[i].size < size || heap_classes[i].size % alignment);
        }
    }
    assert_int_equal(heap_class_of(64 * KIB + 1, 64), HEAP_CLASSES);
    assert_int_equal(heap_class_of(0, 64), HEAP_CLASSES);
    assert_int_equal(heap_class_of(64, 8192), HEAP_CLASSES);
    assert_int_equal(heap_class_of(64, 96), HEAP_CLASSES);
    assert_int_equal(heap_class_of(SIZE_MAX, 0), HEAP_CLASSES);
}

static void slots_of_classes(void **state)
{
    (void)state;
    for (unsigned int class = 0; class < HEAP_CLASSES; class ++) {
        const struct heap_class *c = &heap_classes[class];
        uint64_t slots = heap_class_slots(class, c->pages), end = 0;

        assert_true((c->pages * HEAP_PAGE) >> c->shift <= HEAP_SLOTS);
        assert_int_equal(c->size & ((UINT64_C(1) << c->shift) - 1), 0);
        for (unsigned int i = 0; i < HEAP_SLOTS; i++) {
            uint64_t at = (uint64_t)i << c->shift;

            if (!(slots >> i & 1))
                continue;
            assert_true(at >= end && at + c->size <= c->pages * HEAP_PAGE);
            if (c->size <= HEAP_PAGE)
                assert_int_equal(at / HEAP_PAGE, (at + c->size - 1) / HEAP_PAGE);
            end = at + c->size;
        }
        /* What a page, or the slab, has left over is less than an object. */
        assert_true(end + c->size > c->pages * HEAP_PAGE);
    }
}

#define OBJECTS 300

struct object {
    unsigned char *pointer;
    size_t size, usable;
    unsigned char mark;
};

struct shadow {
    struct test_source source;
    dmabufd_heap *heap;
    struct object object[OBJECTS];
    uint64_t seed, in_use, bytes;
};

/* The first and the last byte of every 509, which no class is a multiple of. */
static void fill(struct object *object)
{
    for (size_t i = 0; i < object->size; i += 509)
        object->pointer[i] = object->mark;
    object->pointer[object->size - 1] = object->mark;
}

static void check_contents(const struct object *object)
{
    for (size_t i = 0; i < object->size; i += 509)
        assert_int_equal(object->pointer[i], object->mark);
    assert_int_equal(object->pointer[object->size - 1], object->mark);
}

static void check_new(struct shadow *shadow, const struct object *object, uint64_t alignment,
                      bool may_scatter)
{
    uint64_t dma_addr, length;

    if (alignment < 64)
        alignment = 64;
    assert_true(test_source_translate(&shadow->source, object->pointer, &dma_addr, &length));
    assert_int_equal((uintptr_t)object->pointer % alignment, 0);
    assert_int_equal(dma_addr % alignment, 0);
    if (!may_scatter)
        assert_true(length >= object->size);
    if (object->size <= HEAP_PAGE)
        assert_true(dma_addr % HEAP_PAGE + object->size <= HEAP_PAGE);
    assert_true(object->usable >= object->size);
    for (size_t i = 0; i < OBJECTS; i++) {
        const struct object *other = &shadow->object[i];

        if (other->pointer && other != object)
            assert_true(object->pointer + object->usable <= other->pointer ||
                        other->pointer + other->usable <= object->pointer);
    }
}

static void allocate_one(struct shadow *shadow, struct object *object, uint64_t span)
{
    uint64_t bits = 1 + support_below(&shadow->seed, 20);
    size_t size = 1 + support_below(&shadow->seed, UINT64_C(1) << bits);
    uint64_t alignment =
        support_below(&shadow->seed, 3) ? 0 : UINT64_C(1) << support_below(&shadow->seed, 22);
    uint64_t flags = support_below(&shadow->seed, 8) ? 0 : DMABUFD_HEAP_ALLOC_SCATTERED;
    unsigned char *pointer = dmabufd_heap_alloc_with(shadow->heap, size, alignment, flags);

    if (!pointer) {
        /* Only what the layout makes impossible. */
        assert_int_equal(errno, ENOSPC);
        assert_true(alignment > 4 * KIB || (!flags && size > span));
        return;
    }
    *object = (struct object){ .pointer = pointer,
                               .size = size,
                               .usable = dmabufd_heap_usable_size(shadow->heap, pointer),
                               .mark = (unsigned char)support_random(&shadow->seed) };
    check_new(shadow, object, alignment, flags != 0);
    fill(object);
    shadow->in_use++;
    shadow->bytes += object->usable;
}

static void free_one(struct shadow *shadow, struct object *object)
{
    check_contents(object);
    assert_int_equal(dmabufd_heap_free(shadow->heap, object->pointer), 0);
    assert_int_equal(dmabufd_heap_free(shadow->heap, object->pointer), -EINVAL);
    assert_int_equal(dmabufd_heap_usable_size(shadow->heap, object->pointer), 0);
    shadow->in_use--;
    shadow->bytes -= object->usable;
    object->pointer = NULL;
}

static void check_numbers(struct shadow *shadow)
{
    struct dmabufd_heap_statistics s = statistics(shadow->heap);

    assert_int_equal(s.objects, shadow->in_use);
    assert_int_equal(s.bytes_in_use, shadow->bytes);
    assert_int_equal(s.bytes_held, shadow->source.bytes);
    assert_int_equal(s.buffers, shadow->source.live);
    assert_int_equal(s.grows, shadow->source.obtained);
    assert_int_equal(s.give_backs, shadow->source.released);
    assert_true(s.cache_hits <= s.allocations);
}

static void random_history(struct test_layout layout, uint64_t span)
{
    static struct shadow shadow;

    memset(&shadow, 0, sizeof(shadow));
    shadow.seed = support_seed();
    shadow.heap = test_heap_create(&shadow.source, layout, NULL);
    for (unsigned int step = 0; step < 12000; step++) {
        struct object *object = &shadow.object[support_below(&shadow.seed, OBJECTS)];

        if (object->pointer)
            free_one(&shadow, object);
        else
            allocate_one(&shadow, object, span);
        if (support_below(&shadow.seed, 2000) == 0)
            dmabufd_heap_trim(shadow.heap);
        if (step % 97 == 0)
            check_numbers(&shadow);
    }
    for (size_t i = 0; i < OBJECTS; i++) {
        if (shadow.object[i].pointer)
            free_one(&shadow, &shadow.object[i]);
    }
    check_numbers(&shadow);
    dmabufd_heap_trim(shadow.heap);
    check_numbers(&shadow);
    assert_int_equal(shadow.source.live, 0);
    test_heap_destroy(shadow.heap, &shadow.source);
}

static void random_one_span(void **state)
{
    (void)state;
    random_history(one, UINT64_MAX);
}

static void random_scattered(void **state)
{
    (void)state;
    random_history(scattered, 4 * KIB);
}

static void random_runs(void **state)
{
    (void)state;
    random_history(runs, 64 * KIB);
}

static void random_huge(void **state)
{
    (void)state;
    random_history(huge, 2 * MIB);
}

static void random_shifted(void **state)
{
    (void)state;
    random_history(shifted, UINT64_MAX);
}

/* In pages of 2 MiB everything up to that can be had, and at any alignment. */
static void alignments(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, huge, NULL);

    (void)state;
    for (uint64_t alignment = 1; alignment <= 2 * MIB; alignment *= 2) {
        for (uint64_t size = 1; size <= 2 * MIB; size = size * 3 + 1) {
            uint64_t dma_addr, length;
            void *p = dmabufd_heap_alloc(heap, size, alignment);

            assert_non_null(p);
            assert_true(test_source_translate(&source, p, &dma_addr, &length));
            assert_true(length >= size);
            assert_int_equal(dma_addr & (alignment - 1), 0);
            assert_int_equal((uintptr_t)p & (alignment - 1), 0);
        }
    }
    test_heap_destroy(heap, &source);
}

static void alignment_that_no_span_has(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, shifted, NULL);

    (void)state;
    assert_non_null(dmabufd_heap_alloc(heap, 8192, 4096));
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 64, 8192));
    assert_int_equal(errno, ENOSPC);
    assert_non_null(strstr(dmabufd_last_error(), "aligned to 8192"));
    assert_int_equal(statistics(heap).bytes_held, 2 * MIB);
    test_heap_destroy(heap, &source);
}

static void no_span_is_long_enough(void **state)
{
    struct test_source source;
    dmabufd_heap *heap = test_heap_create(&source, runs, NULL);
    struct dmabufd_heap_statistics before;
    void *p;

    (void)state;
    assert_non_null(dmabufd_heap_alloc(heap, 64 * KIB, 0));
    before = statistics(heap);
    errno = 0;
    assert_null(dmabufd_heap_alloc(heap, 64 * KIB + 1, 0));
    assert_int_equal(errno, ENOSPC);
    assert_non_null(strstr(dmabufd_last_error(), "no span has 65537 bytes:"));
    assert_non_null(strstr(dmabufd_last_error(), "seen has 65536,"));
    assert_int_equal(statistics(heap).bytes_held, before.bytes_held);
    assert_int_equal(statistics(heap).objects, before.objects);
    p = dmabufd_heap_alloc_with(heap, 3 * MIB + 1, 0, DMABUFD_HEAP_ALLOC_SCATTERED);
    assert_non_null(p);
    memset(p, 1, 3 * MIB + 1);
    assert_int_equal(dmabufd_heap_free(heap, p), 0);
    test_heap_destroy(heap, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(slots_of_classes),
        cmocka_unit_test(random_one_span),
        cmocka_unit_test(random_scattered),
        cmocka_unit_test(random_runs),
        cmocka_unit_test(random_huge),
        cmocka_unit_test(random_shifted),
        cmocka_unit_test(alignments),
        cmocka_unit_test(no_span_is_long_enough),
        cmocka_unit_test(alignment_that_no_span_has),
    };

    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}
