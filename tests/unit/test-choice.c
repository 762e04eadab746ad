/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/choice.h, rule by rule. Random layouts are in test-choice-random.c. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "tests/unit/shelf.h"

/* In pages; 4 GiB are 2048 of them. */
#define HIGH 4096U

static struct shelf shelf;
static const struct dmabufd_constraints none;
static const struct dmabufd_constraints contiguous = { .flags = DMABUFD_CONTIGUOUS };

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

/* Buffers of so many pages each, one behind the other. */
static void put_row(uint64_t page, const unsigned int *sizes, size_t count)
{
    for (size_t i = 0; i < count; page += sizes[i++])
        shelf_put(&shelf, page, sizes[i]);
}

#define ROW(page, ...)                                   \
    put_row(page, (const unsigned int[]){ __VA_ARGS__ }, \
            sizeof((unsigned int[]){ __VA_ARGS__ }) / sizeof(unsigned int))

static void expect_one(uint64_t pages, const struct dmabufd_constraints *c, uint64_t page)
{
    const struct buffer *got = choice_one(&shelf.set, pages * PAGE_2M, c);

    assert_non_null(got);
    assert_int_equal(got->size, pages * PAGE_2M);
    assert_int_equal(shelf_page(got), page);
}

static void expect_no_one(uint64_t pages, const struct dmabufd_constraints *c)
{
    assert_null(choice_one(&shelf.set, pages * PAGE_2M, c));
}

static void expect_list(const struct choice *choice, const uint64_t *pages, size_t count)
{
    assert_int_equal(choice->count, count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(shelf_page(choice->buffer[i]), pages[i]);
}

static void expect_several(uint64_t size, const struct dmabufd_constraints *c,
                           const uint64_t *pages, size_t count)
{
    struct choice choice = { 0 };

    assert_int_equal(choice_several(&shelf.set, size * PAGE_2M, c, &choice), count ? 0 : -ENOSPC);
    if (count > 0)
        expect_list(&choice, pages, count);
    choice_deinit(&choice);
}

#define LIST(...) \
    (const uint64_t[]){ __VA_ARGS__ }, sizeof((uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t)
#define NOTHING NULL, 0

static void nothing_ready(void **state)
{
    struct choice choice = { 0 };

    (void)state;
    expect_no_one(1, &none);
    expect_several(1, &contiguous, NOTHING);
    assert_int_equal(choice_to_give_up(&shelf.set, PAGE_2M, 1, NULL, &choice), -ENOSPC);
    choice_deinit(&choice);
    assert_int_equal(choice_to_give_up(&shelf.set, PAGE_2M, 0, NULL, &choice), 0);
    assert_int_equal(choice.count, 0);
    choice_deinit(&choice);
}

static void exactly_that_size(void **state)
{
    (void)state;
    ROW(HIGH, 2, 4);
    expect_no_one(1, &none);
    expect_no_one(3, &none);
    expect_one(2, &none, HIGH);
    expect_one(4, &none, HIGH + 2);
}

/* Runs of 4, 3 and 5 pages. */
static void the_shortest_run(void **state)
{
    (void)state;
    ROW(HIGH, 1, 1, 1, 1);
    ROW(HIGH + 10, 1, 2);
    ROW(HIGH + 20, 1, 4);
    expect_one(1, &none, HIGH + 10);
    expect_one(2, &none, HIGH + 11);
    expect_several(3, &contiguous, LIST(HIGH + 10, HIGH + 11));
    expect_several(4, &contiguous, LIST(HIGH, HIGH + 1, HIGH + 2, HIGH + 3));
    expect_several(5, &contiguous, LIST(HIGH + 20, HIGH + 21));
}

static void nearest_the_end(void **state)
{
    (void)state;
    ROW(HIGH, 4, 1, 2, 1, 1, 2);
    expect_one(1, &none, HIGH + 8);
    expect_one(2, &none, HIGH + 9);
    expect_several(3, &contiguous, LIST(HIGH + 8, HIGH + 9));
    /* As far from the one as from the other. */
    ROW(HIGH + 20, 2, 1, 1, 2);
    expect_one(1, &contiguous, HIGH + 22);
}

static void low_memory_last(void **state)
{
    const struct dmabufd_constraints low = { .dma_mask = UINT32_MAX };
    const struct dmabufd_constraints wide = { .dma_mask = UINT64_MAX };

    (void)state;
    ROW(100, 1);
    ROW(200, 2, 2);
    ROW(HIGH, 1, 1, 1, 4, 2, 2);
    expect_one(1, &none, HIGH);
    expect_one(1, &low, 100);
    expect_several(4, &contiguous, LIST(HIGH + 7, HIGH + 9));
    /* A mask that all that is here meets is no reason to take what others need. */
    expect_one(1, &wide, HIGH);
}

static void low_memory_when_there_is_no_other(void **state)
{
    (void)state;
    ROW(2047, 1);
    ROW(HIGH, 2);
    expect_one(1, &none, 2047);
}

/* In several pieces it is no good for much else, however long the runs are. */
static void fragmented_first(void **state)
{
    const struct shelf_span spans[] = { { HIGH + 50, 1 }, { HIGH + 40, 1 } };

    (void)state;
    ROW(HIGH, 2);
    ROW(HIGH + 41, 4, 4, 1);
    shelf_put_spans(&shelf, spans, 2);
    expect_one(2, &none, HIGH + 50);
    expect_one(2, &contiguous, HIGH);
    /* Nor is it put behind one token with others. */
    expect_several(6, &contiguous, NOTHING);
    expect_several(5, &contiguous, LIST(HIGH + 45, HIGH + 49));
}

static void within_the_mask(void **state)
{
    const struct dmabufd_constraints c = { .dma_mask = 64 * PAGE_2M - 1 };
    const struct dmabufd_constraints one = { .dma_mask = 64 * PAGE_2M - 1,
                                             .flags = DMABUFD_CONTIGUOUS };

    (void)state;
    ROW(60, 1, 1, 1, 1, 1);
    ROW(63 + 64, 2);
    expect_several(4, &one, LIST(60, 61, 62, 63));
    expect_several(5, &one, NOTHING);
    expect_no_one(2, &c);
    expect_one(1, &c, 60);
}

static void of_mixed_sizes(void **state)
{
    (void)state;
    ROW(HIGH, 8, 1, 2, 4, 1, 1);
    expect_several(7, &contiguous, LIST(HIGH + 9, HIGH + 11, HIGH + 15));
    expect_several(6, &contiguous, LIST(HIGH + 11, HIGH + 15, HIGH + 16));
    expect_several(9, &contiguous, LIST(HIGH, HIGH + 8));
    expect_several(8, &contiguous, LIST(HIGH));
    /* Long enough, but cut in the wrong places. */
    expect_several(10, &contiguous, NOTHING);
    expect_several(18, &contiguous, NOTHING);
}

static void aligned(void **state)
{
    const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS, .alignment = 4 * PAGE_2M };

    (void)state;
    ROW(HIGH + 2, 2, 1, 1, 1, 1, 1);
    expect_several(3, &contiguous, LIST(HIGH + 2, HIGH + 4));
    expect_several(3, &c, LIST(HIGH + 4, HIGH + 5, HIGH + 6));
    expect_one(1, &c, HIGH + 8);
    expect_no_one(2, &c);
}

/* Pages 6 and 7, or 8 and 9: not across 8. */
static void boundary_and_segments(void **state)
{
    const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS,
                                           .boundary = 8 * PAGE_2M,
                                           .max_segments = 1 };
    const struct dmabufd_constraints cuts = { .boundary = PAGE_2M, .max_segment_size = 4096 };

    (void)state;
    ROW(HIGH + 7, 1, 1, 1, 1);
    expect_several(2, &contiguous, LIST(HIGH + 7, HIGH + 8));
    expect_several(2, &c, LIST(HIGH + 9, HIGH + 10));
    expect_several(4, &c, NOTHING);
    ROW(HIGH + 31, 2);
    expect_one(2, &contiguous, HIGH + 31);
    expect_no_one(2, &c);
    /* A device that cuts takes anything. */
    assert_false(choice_needs_fit(&cuts));
    expect_one(2, &cuts, HIGH + 31);
}

static void at_most_so_many_chunks(void **state)
{
    struct choice choice = { 0 };

    (void)state;
    for (uint64_t i = 0; i <= PROTO_CHUNKS_MAX; i++)
        shelf_put(&shelf, HIGH + i, 1);
    expect_several(PROTO_CHUNKS_MAX + 1, &contiguous, NOTHING);
    assert_int_equal(choice_several(&shelf.set, PROTO_CHUNKS_MAX * PAGE_2M, &contiguous, &choice),
                     0);
    assert_int_equal(choice.count, PROTO_CHUNKS_MAX);
    choice_deinit(&choice);
    /* A longer run is better than too many of them. */
    ROW(8192, 128, 64, 32, 16, 8, 2, 1, 128);
    expect_several(PROTO_CHUNKS_MAX + 1, &contiguous,
                   LIST(8192, 8320, 8384, 8416, 8432, 8440, 8442));
}

/* The longest runs whole, and the rest out of one that has it. */
static void scattered(void **state)
{
    const struct dmabufd_constraints two = { .max_segments = 2 };
    const struct dmabufd_constraints one = { .max_segments = 1 };
    const struct dmabufd_constraints long_ones = { .min_span = 2 * PAGE_2M };
    const struct dmabufd_constraints longer = { .min_span = 5 * PAGE_2M };

    (void)state;
    ROW(HIGH, 1);
    ROW(HIGH + 10, 2, 2);
    ROW(HIGH + 20, 2, 1);
    ROW(HIGH + 30, 1, 1);
    expect_several(6, &two, LIST(HIGH + 10, HIGH + 12, HIGH + 30, HIGH + 31));
    expect_several(5, &two, LIST(HIGH + 10, HIGH + 12, HIGH));
    expect_several(6, &one, NOTHING);
    expect_several(8, &two, NOTHING);
    expect_several(8, &long_ones, LIST(HIGH + 10, HIGH + 12, HIGH + 20, HIGH + 22, HIGH));
    expect_several(8, &longer, NOTHING);
}

static void at_most_so_many_chunks_scattered(void **state)
{
    const struct dmabufd_constraints c = { .alignment = PAGE_2M };
    struct choice choice = { 0 };

    (void)state;
    for (uint64_t i = 0; i <= PROTO_CHUNKS_MAX; i++)
        shelf_put(&shelf, HIGH + 2 * i, 1);
    expect_several(PROTO_CHUNKS_MAX + 1, &c, NOTHING);
    assert_int_equal(choice_several(&shelf.set, PROTO_CHUNKS_MAX * PAGE_2M, &c, &choice), 0);
    assert_int_equal(choice.count, PROTO_CHUNKS_MAX);
    choice_deinit(&choice);
}

/* A run that is long enough but has not the rest is no reason to stop at it. */
static void a_run_cut_elsewhere(void **state)
{
    const struct dmabufd_constraints c = { .alignment = PAGE_2M };

    (void)state;
    ROW(HIGH, 4, 4);
    ROW(HIGH + 10, 2);
    ROW(HIGH + 20, 1);
    expect_several(3, &c, LIST(HIGH + 10, HIGH + 20));
    expect_several(11, &c, LIST(HIGH, HIGH + 4, HIGH + 10, HIGH + 20));
}

static void expect_given_up(uint64_t size, uint64_t missing, const struct dmabufd_constraints *c,
                            const uint64_t *pages, size_t count)
{
    struct choice choice = { 0 };

    assert_int_equal(choice_to_give_up(&shelf.set, size * PAGE_2M, missing * PAGE_2M, c, &choice),
                     0);
    expect_list(&choice, pages, count);
    choice_deinit(&choice);
}

static void shedding(void **state)
{
    struct choice choice = { 0 };

    (void)state;
    ROW(HIGH, 2, 2, 1);
    ROW(HIGH + 10, 4, 2);
    ROW(HIGH + 20, 1, 1);
    expect_given_up(0, 1, NULL, LIST(HIGH + 21));
    expect_given_up(0, 3, NULL, LIST(HIGH + 21, HIGH + 20, HIGH + 4));
    expect_given_up(0, 4, NULL, LIST(HIGH + 21, HIGH + 20, HIGH + 4, HIGH + 2));
    expect_given_up(0, 13, NULL,
                    LIST(HIGH + 21, HIGH + 20, HIGH + 4, HIGH + 2, HIGH, HIGH + 14, HIGH + 10));
    assert_int_equal(choice_to_give_up(&shelf.set, 0, 14 * PAGE_2M, NULL, &choice), -ENOSPC);
    choice_deinit(&choice);
}

/* Files in the wrong places: all of those that the buffer would lie in. */
static void a_run_to_be_cut_anew(void **state)
{
    const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS, .alignment = 4 * PAGE_2M };

    (void)state;
    ROW(HIGH + 3, 4, 4, 4);
    ROW(HIGH + 40, 16);
    ROW(HIGH + 60, 1);
    expect_given_up(3, 0, &c, LIST(HIGH + 3));
    expect_given_up(5, 0, &c, LIST(HIGH + 3, HIGH + 7));
    expect_given_up(5, 9, &c, LIST(HIGH + 3, HIGH + 7, HIGH + 60));
    expect_given_up(13, 0, &c, LIST(HIGH + 40));
    /* There is no such run: only what is missing. */
    expect_given_up(17, 1, &c, LIST(HIGH + 60));
    expect_given_up(3, 0, &none, NOTHING);
}

/* Each once, though its pieces are met in two runs. */
static void in_several_spans(void **state)
{
    const struct shelf_span spans[] = { { HIGH + 10, 1 }, { HIGH, 1 } };
    const struct shelf_span others[] = { { HIGH + 1, 2 }, { HIGH + 20, 2 } };

    (void)state;
    shelf_put_spans(&shelf, spans, 2);
    shelf_put_spans(&shelf, others, 2);
    ROW(HIGH + 30, 4, 4);
    expect_given_up(3, 3, &contiguous, LIST(HIGH + 10, HIGH + 1));
    expect_given_up(0, 6, NULL, LIST(HIGH + 10, HIGH + 1));
    expect_given_up(0, 7, NULL, LIST(HIGH + 10, HIGH + 1, HIGH + 34));
}

static void giving_up_below_a_mask(void **state)
{
    const struct dmabufd_constraints c = { .dma_mask = UINT32_MAX };
    struct choice choice = { 0 };

    (void)state;
    ROW(100, 2, 2);
    ROW(HIGH, 1);
    expect_given_up(5, 2, &c, LIST(102));
    expect_given_up(5, 1, &none, LIST(HIGH));
    assert_int_equal(choice_to_give_up(&shelf.set, 5 * PAGE_2M, 5 * PAGE_2M, &c, &choice), -ENOSPC);
    choice_deinit(&choice);
}

/* The last addresses there are: nothing behind them. */
static void at_the_end_of_addresses(void **state)
{
    const uint64_t last = UINT64_MAX / PAGE_2M;
    const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS,
                                           .alignment = UINT64_C(1) << 63 };
    struct choice choice = { 0 };

    (void)state;
    ROW(0, 1);
    ROW(last - 1, 1, 1);
    expect_several(2, &contiguous, LIST(last - 1, last));
    expect_several(3, &contiguous, NOTHING);
    expect_one(1, &c, 0);
    expect_several(2, &c, NOTHING);
    assert_int_equal(choice_to_give_up(&shelf.set, 2 * PAGE_2M, 0, &c, &choice), 0);
    assert_int_equal(choice.count, 0);
    choice_deinit(&choice);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nothing_ready),
        TEST(exactly_that_size),
        TEST(the_shortest_run),
        TEST(nearest_the_end),
        TEST(low_memory_last),
        TEST(low_memory_when_there_is_no_other),
        TEST(fragmented_first),
        TEST(within_the_mask),
        TEST(of_mixed_sizes),
        TEST(aligned),
        TEST(boundary_and_segments),
        TEST(at_most_so_many_chunks),
        TEST(scattered),
        TEST(at_most_so_many_chunks_scattered),
        TEST(a_run_cut_elsewhere),
        TEST(shedding),
        TEST(a_run_to_be_cut_anew),
        TEST(in_several_spans),
        TEST(giving_up_below_a_mask),
        TEST(at_the_end_of_addresses),
    };

    return cmocka_run_group_tests_name("choice", tests, NULL, NULL);
}
