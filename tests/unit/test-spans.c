/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/spans.h: the rules of a scatter list, each broken once, and random runs against a naive
 * list. Where the runs come from is test-resolve.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/spans.h"
#include "tests/unit/support.h"

#define CLEANUP_SPANS CLEANUP(spans_deinit)
#define TOP           (UINT64_MAX - 0xfff) /* the last page there is */

static void assert_span(const struct spans *spans, size_t i, uint64_t offset, uint64_t dma_addr,
                        uint64_t length)
{
    assert_true(i < spans->count);
    assert_int_equal(spans->list[i].offset, offset);
    assert_int_equal(spans->list[i].dma_addr, dma_addr);
    assert_int_equal(spans->list[i].length, length);
}

static void empty_list(void **state)
{
    struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_end(&spans), 0);
    spans_deinit(&spans);
    spans_deinit(&spans);
    assert_null(spans.list);
}

static void deinit_empties(void **state)
{
    struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_append(&spans, 0x1000, 0x1000), 0);
    spans_deinit(&spans);
    assert_null(spans.list);
    assert_int_equal(spans.count, 0);
    assert_int_equal(spans.capacity, 0);
    assert_int_equal(spans_end(&spans), 0);
}

static void append_joins_what_touches(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_append(&spans, 0x5000, 0x1000), 0);
    assert_int_equal(spans_append(&spans, 0x6000, 0x2000), 0);
    assert_int_equal(spans.count, 1);
    assert_span(&spans, 0, 0, 0x5000, 0x3000);
    assert_int_equal(spans_end(&spans), 0x3000);
    /* A gap, an overlap, a step back and the same again do not join. */
    assert_int_equal(spans_append(&spans, 0x9000, 0x1000), 0);
    assert_int_equal(spans_append(&spans, 0x9800, 0x1000), 0);
    assert_int_equal(spans_append(&spans, 0x1000, 0x1000), 0);
    assert_int_equal(spans_append(&spans, 0x1000, 0x1000), 0);
    assert_int_equal(spans.count, 5);
    assert_span(&spans, 1, 0x3000, 0x9000, 0x1000);
    assert_span(&spans, 2, 0x4000, 0x9800, 0x1000);
    assert_span(&spans, 3, 0x5000, 0x1000, 0x1000);
    assert_span(&spans, 4, 0x6000, 0x1000, 0x1000);
    assert_int_equal(spans_end(&spans), 0x7000);
    /* Only with the last, not with one before. */
    assert_int_equal(spans_append(&spans, 0x8000, 1), 0);
    assert_int_equal(spans.count, 6);
}

static void append_takes_odd_bytes(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_append(&spans, 0x1003, 5), 0);
    assert_int_equal(spans_append(&spans, 0x1008, 1), 0);
    assert_int_equal(spans_append(&spans, 0x100a, 1), 0);
    assert_int_equal(spans.count, 2);
    assert_span(&spans, 0, 0, 0x1003, 6);
    assert_span(&spans, 1, 6, 0x100a, 1);
}

static void append_refuses(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_append(&spans, 0x1000, 0), -EINVAL);
    assert_int_equal(spans_append(&spans, TOP, 0x1001), -EOVERFLOW);
    assert_int_equal(spans_append(&spans, UINT64_MAX, 2), -EOVERFLOW);
    assert_int_equal(spans_append(&spans, 2, UINT64_MAX), -EOVERFLOW);
    assert_int_equal(spans.count, 0);
    /* The buffer's own length wraps. */
    assert_int_equal(spans_append(&spans, 1, UINT64_MAX), 0);
    assert_int_equal(spans_append(&spans, 1, 1), -EOVERFLOW);
    assert_int_equal(spans.count, 1);
    assert_int_equal(spans_end(&spans), UINT64_MAX);
}

/* Behind the last address there is none; what is at 0 is another place. */
static void address_zero_follows_nothing(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };

    (void)state;
    assert_int_equal(spans_append(&spans, TOP, 0x1000), 0);
    assert_int_equal(spans_append(&spans, 0, 0x1000), 0);
    assert_int_equal(spans.count, 2);
    assert_span(&spans, 0, 0, TOP, 0x1000);
    assert_span(&spans, 1, 0x1000, 0, 0x1000);
    assert_int_equal(spans_check(spans.list, spans.count, 0x2000), 0);
    /* From 0 on all is as everywhere. */
    assert_int_equal(spans_append(&spans, 0x1000, 0x1000), 0);
    assert_int_equal(spans.count, 2);
    assert_span(&spans, 1, 0x1000, 0, 0x2000);
    assert_int_equal(spans_check(spans.list, spans.count, 0x3000), 0);
}

static void check_accepts(void **state)
{
    const struct dmabufd_span one[] = { { 0, 0x7003, 5 } };
    const struct dmabufd_span three[] = { { 0, 0x8000, 0x1000 },
                                          { 0x1000, 0x7000, 0x1000 },
                                          { 0x2000, TOP, 0x1000 } };
    const struct dmabufd_span all[] = { { 0, 1, UINT64_MAX } };

    (void)state;
    assert_int_equal(spans_check(one, 1, 5), 0);
    assert_int_equal(spans_check(three, 3, 0x3000), 0);
    assert_int_equal(spans_check(all, 1, UINT64_MAX), 0);
}

struct bad {
    const char *what;
    size_t count;
    uint64_t size;
    struct dmabufd_span list[3];
};

static const struct bad bads[] = {
    { "no span", 0, 0x1000, { { 0 } } },
    { "no span, no size", 0, 0, { { 0 } } },
    { "no size", 1, 0, { { 0, 0x1000, 0x1000 } } },
    { "first not at 0", 1, 0x1000, { { 0x1000, 0x1000, 0x1000 } } },
    { "first not at 0, ends well", 1, 0x2000, { { 0x1000, 0x1000, 0x1000 } } },
    { "gap", 2, 0x3000, { { 0, 0x1000, 0x1000 }, { 0x2000, 0x8000, 0x1000 } } },
    { "overlap", 2, 0x1800, { { 0, 0x1000, 0x1000 }, { 0x800, 0x8000, 0x1000 } } },
    { "order", 2, 0x2000, { { 0x1000, 0x1000, 0x1000 }, { 0, 0x8000, 0x1000 } } },
    { "the same twice", 2, 0x2000, { { 0, 0x1000, 0x1000 }, { 0, 0x1000, 0x1000 } } },
    { "empty span", 2, 0x1000, { { 0, 0x9000, 0 }, { 0, 0x1000, 0x1000 } } },
    { "empty span at the end", 2, 0x1000, { { 0, 0x1000, 0x1000 }, { 0x1000, 0x9000, 0 } } },
    { "beyond", 1, 0xfff, { { 0, 0x1000, 0x1000 } } },
    { "one too many", 2, 0x1000, { { 0, 0x1000, 0x1000 }, { 0x1000, 0x9000, 0x1000 } } },
    { "beyond, length wraps", 2, 0x2000, { { 0, 0x1000, 0x1000 }, { 0x1000, 0, UINT64_MAX } } },
    { "short", 1, 0x1001, { { 0, 0x1000, 0x1000 } } },
    { "short of a span", 2, 0x3000, { { 0, 0x1000, 0x1000 }, { 0x1000, 0x9000, 0x1000 } } },
    { "not maximal", 2, 0x2000, { { 0, 0x1000, 0x1000 }, { 0x1000, 0x2000, 0x1000 } } },
    { "not maximal later",
      3,
      0x3000,
      { { 0, 0x9000, 0x1000 }, { 0x1000, 0x1000, 0x1000 }, { 0x2000, 0x2000, 0x1000 } } },
    { "wraps", 1, 0x2000, { { 0, TOP, 0x2000 } } },
    { "wraps by one", 1, 2, { { 0, UINT64_MAX, 2 } } },
};

static void check_refuses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bads); i++) {
        if (spans_check(bads[i].list, bads[i].count, bads[i].size) != -EBADMSG)
            fail_msg("taken for good: %s", bads[i].what);
    }
}

#define RUNS 200

/** The reference: where each unit of the buffer is. */
struct naive {
    uint64_t addr[RUNS * 8];
    size_t count;
};

static void append_both(struct spans *spans, struct naive *naive, uint64_t addr, uint64_t length)
{
    assert_int_equal(spans_append(spans, addr, length), 0);
    for (uint64_t i = 0; i < length; i++)
        naive->addr[naive->count++] = addr + i;
}

/* Each unit is where it was put, and a span ends exactly where the next unit is elsewhere. */
static void assert_same(const struct spans *spans, const struct naive *naive)
{
    size_t at = 0;

    for (size_t i = 0; i < spans->count; i++) {
        const struct dmabufd_span *span = &spans->list[i];

        assert_int_equal(span->offset, at);
        assert_true(span->length > 0);
        for (uint64_t j = 0; j < span->length; j++, at++) {
            assert_true(at < naive->count);
            assert_int_equal(span->dma_addr + j, naive->addr[at]);
        }
        if (at < naive->count)
            assert_true(naive->addr[at] == 0 || naive->addr[at - 1] + 1 != naive->addr[at]);
    }
    assert_int_equal(at, naive->count);
    assert_int_equal(spans_end(spans), naive->count);
    assert_int_equal(spans_check(spans->list, spans->count, naive->count), 0);
    assert_int_equal(spans_check(spans->list, spans->count, naive->count + 1), -EBADMSG);
    assert_int_equal(spans_check(spans->list, spans->count, naive->count - 1), -EBADMSG);
}

static void random_runs_make_an_exact_list(void **state)
{
    static struct naive naive;
    uint64_t random = support_seed();

    (void)state;
    for (int round = 0; round < 200; round++) {
        CLEANUP_SPANS struct spans spans = { 0 };
        uint64_t runs = 1 + support_below(&random, RUNS);
        uint64_t next = 0;

        naive.count = 0;
        for (uint64_t i = 0; i < runs; i++) {
            uint64_t length = 1 + support_below(&random, 8);

            /* Half of the runs go on where the last ended; some end at the last address. */
            if (support_below(&random, 2))
                next = support_below(&random, 64);
            else if (support_below(&random, 16) == 0 || next > UINT64_MAX - length)
                next = UINT64_MAX - length + 1;
            append_both(&spans, &naive, next, length);
            next += length;
        }
        assert_same(&spans, &naive);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_list),
        cmocka_unit_test(deinit_empties),
        cmocka_unit_test(append_joins_what_touches),
        cmocka_unit_test(append_takes_odd_bytes),
        cmocka_unit_test(append_refuses),
        cmocka_unit_test(address_zero_follows_nothing),
        cmocka_unit_test(check_accepts),
        cmocka_unit_test(check_refuses),
        cmocka_unit_test(random_runs_make_an_exact_list),
    };

    return cmocka_run_group_tests_name("spans", tests, NULL, NULL);
}
