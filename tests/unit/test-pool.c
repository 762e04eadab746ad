/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/pool.h: what is ready, in order, counted. */
#include "tests/unit/cmocka-all.h"

#include <string.h>

#include "tests/unit/shelf.h"
#include "tests/unit/support.h"

#define SMALLEST_1G (PROTO_POOL_CLASSES - 1)

static struct shelf shelf;

static int setup(void **state)
{
    (void)state;
    shelf_begin(&shelf, PAGE_2M);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return shelf_end(&shelf) ? 0 : -1;
}

static void classes(void **state)
{
    (void)state;
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++) {
        assert_int_equal(pool_class(pool_class_size(i)), i);
        assert_int_equal(pool_class(pool_class_size(i) + PAGE_2M / 2), -1);
    }
    assert_int_equal(pool_class(PAGE_2M), 0);
    assert_int_equal(pool_class(PAGE_1G), SMALLEST_1G);
    assert_int_equal(pool_class(PAGE_2M / 2), -1);
    assert_int_equal(pool_class(3 * PAGE_2M), -1);
    assert_int_equal(pool_class(2 * PAGE_1G), -1);
    assert_int_equal(pool_class(0), -1);
}

static void expect_mix(uint64_t page_size, uint64_t target)
{
    uint32_t mix[PROTO_POOL_CLASSES];
    uint64_t sum = 0;

    memset(mix, 0xa5, sizeof(mix));
    pool_mix(page_size, target, mix);
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++) {
        sum += mix[i] * pool_class_size(i);
        if (pool_class_size(i) < page_size)
            assert_int_equal(mix[i], 0);
        /* None has more than its share but the smallest. */
        if (pool_class_size(i) > page_size)
            assert_true(mix[i] * pool_class_size(i) <= target / PROTO_POOL_CLASSES);
        /* Nor less, but for what does not divide. */
        if (page_size == PAGE_2M)
            assert_true((mix[i] + 1) * pool_class_size(i) > target / PROTO_POOL_CLASSES);
    }
    assert_int_equal(sum, target / page_size * page_size);
}

static void mixes_of_all_sums(void **state)
{
    uint64_t random = support_seed();

    (void)state;
    for (uint64_t pages = 0; pages < 6000; pages++)
        expect_mix(PAGE_2M, pages * PAGE_2M);
    for (uint64_t pages = 0; pages < 100; pages++)
        expect_mix(PAGE_1G, pages * PAGE_1G);
    for (int i = 0; i < 1000; i++)
        expect_mix(PAGE_2M, support_below(&random, UINT64_C(1) << 44));
}

static void every_class_in_a_mix(void **state)
{
    uint32_t mix[PROTO_POOL_CLASSES];

    (void)state;
    pool_mix(PAGE_2M, PROTO_POOL_CLASSES * PAGE_1G, mix);
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++)
        assert_int_equal(mix[i], PAGE_1G / pool_class_size(i));
    pool_mix(PAGE_2M, PAGE_2M, mix);
    assert_int_equal(mix[0], 1);
    pool_mix(PAGE_1G, 3 * PAGE_1G, mix);
    assert_int_equal(mix[SMALLEST_1G], 3);
}

static void expect_order(void)
{
    for (size_t i = 1; i < shelf.set.count; i++)
        assert_true(shelf.set.pieces[i - 1].dma_addr < shelf.set.pieces[i].dma_addr);
}

static void sorted_and_counted(void **state)
{
    const struct shelf_span spans[] = { { 90, 2 }, { 10, 1 }, { 50, 1 } };

    (void)state;
    shelf_put(&shelf, 100, 4);
    shelf_put(&shelf, 20, 1);
    shelf_put_spans(&shelf, spans, 3);
    shelf_put(&shelf, 60, 1);
    expect_order();
    assert_int_equal(shelf.set.count, 6);
    assert_int_equal(shelf.set.ready, 10 * PAGE_2M);
    assert_int_equal(shelf.pool.files, 4);
    assert_int_equal(shelf.set.files[0], 2);
    assert_int_equal(shelf.set.files[1], 0);
    assert_int_equal(shelf.set.files[2], 2);
    assert_int_equal(shelf.set.pieces[0].dma_addr, 10 * PAGE_2M);
    assert_int_equal(shelf.set.pieces[0].length, PAGE_2M);
    assert_int_equal(shelf.set.pieces[0].size, 4 * PAGE_2M);
    assert_ptr_equal(shelf.set.pieces[0].buffer, shelf.buffers[2]);
    assert_ptr_equal(shelf.set.pieces[4].buffer, shelf.buffers[2]);
    assert_int_equal(shelf.set.pieces[5].size, 4 * PAGE_2M);
}

static void taken_out_of_the_middle(void **state)
{
    const struct shelf_span spans[] = { { 30, 2 }, { 10, 2 } };
    struct buffer *buffer;

    (void)state;
    shelf_put(&shelf, 20, 1);
    shelf_put_spans(&shelf, spans, 2);
    shelf_put(&shelf, 12, 1);
    buffer = shelf.buffers[1];
    shelf.buffers[1] = shelf.buffers[--shelf.count];
    pool_remove(&shelf.pool, &shelf.set, buffer);
    assert_int_equal(shelf.set.count, 2);
    assert_int_equal(shelf.set.ready, 2 * PAGE_2M);
    assert_int_equal(shelf.set.files[2], 0);
    assert_int_equal(shelf.pool.files, 2);
    expect_order();
    /* It is whole. */
    assert_int_equal(buffer->spans.count, 2);
    buffer_free(buffer);
}

static void several_taken_out(void **state)
{
    const struct shelf_span spans[] = { { 30, 2 }, { 10, 2 } };
    struct buffer *buffers[3];

    (void)state;
    shelf_put(&shelf, 20, 1);
    buffers[0] = shelf_put(&shelf, 40, 8);
    buffers[1] = shelf_put_spans(&shelf, spans, 2);
    buffers[2] = shelf_put(&shelf, 12, 1);
    shelf.count = 1;
    pool_remove_all(&shelf.pool, &shelf.set, buffers, 0);
    assert_int_equal(shelf.set.count, 5);
    pool_remove_all(&shelf.pool, &shelf.set, buffers, 3);
    assert_int_equal(shelf.set.count, 1);
    assert_ptr_equal(shelf.set.pieces[0].buffer, shelf.buffers[0]);
    assert_int_equal(shelf.set.ready, PAGE_2M);
    assert_int_equal(shelf.set.files[0], 1);
    assert_int_equal(shelf.set.files[2], 0);
    assert_int_equal(shelf.set.files[3], 0);
    assert_int_equal(shelf.pool.files, 1);
    for (size_t i = 0; i < 3; i++) {
        assert_false(buffers[i]->chosen);
        buffer_free(buffers[i]);
    }
}

/* Some backends tell the same address of all memory. */
static void the_same_address_twice(void **state)
{
    struct buffer *first;

    (void)state;
    first = shelf_put(&shelf, 7, 1);
    shelf_put(&shelf, 7, 1);
    shelf_put(&shelf, 7, 1);
    pool_remove(&shelf.pool, &shelf.set, first);
    for (size_t i = 0; i < shelf.set.count; i++)
        assert_ptr_not_equal(shelf.set.pieces[i].buffer, first);
    assert_int_equal(shelf.set.count, 2);
    assert_int_equal(pool_add(&shelf.pool, &shelf.set, first), 0);
}

/* More than there was room for, in any order, and half of them away again. */
static void many(void **state)
{
    uint64_t random = support_seed();
    struct buffer *away[SHELF_MAX];
    uint64_t place[300];
    size_t gone = 0;

    (void)state;
    for (size_t i = 0; i < 300; i++) {
        size_t j = support_below(&random, i + 1);

        place[i] = place[j];
        place[j] = i;
    }
    for (size_t i = 0; i < 300; i++)
        shelf_put(&shelf, place[i] * 3, 1 + place[i] % 2);
    assert_int_equal(shelf.set.count, 300);
    expect_order();
    while (shelf.count > 150) {
        size_t i = support_below(&random, shelf.count);

        away[gone++] = shelf.buffers[i];
        pool_remove(&shelf.pool, &shelf.set, shelf.buffers[i]);
        shelf.buffers[i] = shelf.buffers[--shelf.count];
    }
    assert_int_equal(shelf.set.count, 150);
    assert_int_equal(shelf.pool.files, 150);
    expect_order();
    while (gone > 0)
        buffer_free(away[--gone]);
}

static void expect_run(size_t *at, bool whole, uint64_t mask, uint64_t page, uint64_t count)
{
    struct pool_run run;

    assert_true(pool_next_run(&shelf.set, at, whole, mask, &run));
    assert_int_equal(shelf.set.pieces[run.first].dma_addr, page * PAGE_2M);
    assert_int_equal(run.length, count * PAGE_2M);
    assert_int_equal(*at, run.first + run.count);
}

static void expect_no_run(size_t *at, bool whole, uint64_t mask)
{
    struct pool_run run;

    assert_false(pool_next_run(&shelf.set, at, whole, mask, &run));
}

static void runs(void **state)
{
    const struct shelf_span spans[] = { { 18, 1 }, { 12, 1 } };
    const uint64_t mask = 16 * PAGE_2M - 1;
    size_t at = 0;

    (void)state;
    expect_no_run(&at, false, UINT64_MAX);
    shelf_put(&shelf, 10, 2);
    shelf_put(&shelf, 13, 2);
    shelf_put_spans(&shelf, spans, 2);
    shelf_put(&shelf, 15, 2);
    shelf_put(&shelf, 20, 1);
    expect_run(&at, false, UINT64_MAX, 10, 7);
    expect_run(&at, false, UINT64_MAX, 18, 1);
    expect_run(&at, false, UINT64_MAX, 20, 1);
    expect_no_run(&at, false, UINT64_MAX);
    at = 0;
    expect_run(&at, true, UINT64_MAX, 10, 2);
    expect_run(&at, true, UINT64_MAX, 13, 4);
    expect_run(&at, true, UINT64_MAX, 20, 1);
    expect_no_run(&at, true, UINT64_MAX);
    at = 0;
    /* The last byte counts. */
    expect_run(&at, false, mask, 10, 5);
    expect_no_run(&at, false, mask);
    at = 0;
    expect_run(&at, false, 17 * PAGE_2M - 1, 10, 7);
    expect_no_run(&at, false, 17 * PAGE_2M - 1);
}

static void sets_of_the_host(void **state)
{
    struct nodes nodes = { .present = 5 };
    uint64_t sizes[4];
    size_t count = memory_page_sizes(sizes);
    struct pool pool;

    (void)state;
    assert_int_equal(pool_init(&pool, &nodes, 7), 0);
    assert_int_equal(pool.set_count, 2 * (count - 1));
    assert_int_equal(pool.files_max, 7);
    for (size_t i = 1; i < count; i++) {
        assert_int_equal(pool_find(&pool, sizes[i], 0)->page_size, sizes[i]);
        assert_int_equal(pool_find(&pool, sizes[i], 2)->node, 2);
        assert_null(pool_find(&pool, sizes[i], 1));
    }
    assert_null(pool_find(&pool, PAGE_4K, 0));
    assert_null(pool_find(&pool, 3, 0));
    pool_deinit(&pool);
    assert_int_equal(pool.set_count, 0);
    pool_deinit(&pool);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes),
        cmocka_unit_test(mixes_of_all_sums),
        cmocka_unit_test(every_class_in_a_mix),
        TEST(sorted_and_counted),
        TEST(taken_out_of_the_middle),
        TEST(several_taken_out),
        TEST(the_same_address_twice),
        TEST(many),
        TEST(runs),
        cmocka_unit_test(sets_of_the_host),
    };

    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}
