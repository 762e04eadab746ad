/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/extents.h: every promise of the header, and random histories against a bitmap.
 * Not the number of bytes it uses, but that giving back never allocates.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/extents.h"
#include "tests/unit/support.h"

#define CLEANUP_EXTENTS CLEANUP(extents_deinit)

static void assert_free(const struct extents *extents, size_t i, uint64_t start, uint64_t length)
{
    assert_true(i < extents->count);
    assert_int_equal(extents->free[i].start, start);
    assert_int_equal(extents->free[i].length, length);
}

static uint64_t take(struct extents *extents, uint64_t length, uint64_t alignment)
{
    uint64_t start = UINT64_MAX;

    assert_int_equal(extents_take(extents, length, alignment, &start), 0);
    return start;
}

static void init_refuses_empty_and_wrapping(void **state)
{
    struct extents extents;

    (void)state;
    assert_int_equal(extents_init(&extents, 0, 0), -EINVAL);
    assert_int_equal(extents_init(&extents, 7, 0), -EINVAL);
    assert_int_equal(extents_init(&extents, UINT64_MAX, 2), -EINVAL);
    assert_int_equal(extents_init(&extents, 2, UINT64_MAX), -EINVAL);
}

static void deinit_of_zeroed_and_twice(void **state)
{
    struct extents extents = { 0 };

    (void)state;
    extents_deinit(&extents);
    assert_int_equal(extents_init(&extents, 0, 1), 0);
    extents_deinit(&extents);
    extents_deinit(&extents);
    assert_null(extents.free);
    assert_int_equal(extents.count, 0);
    assert_int_equal(extents.used, 0);
}

static void packs_towards_the_low_end(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };

    (void)state;
    assert_int_equal(extents_init(&extents, 0x1000, 0x10000), 0);
    assert_int_equal(take(&extents, 0x1000, 1), 0x1000);
    assert_int_equal(take(&extents, 0x2000, 1), 0x2000);
    assert_int_equal(take(&extents, 0x1000, 1), 0x4000);
    assert_int_equal(extents.used, 3);
    /* A hole is used by what fits in, and by nothing larger. */
    assert_int_equal(extents_give(&extents, 0x2000, 0x2000), 0);
    assert_int_equal(take(&extents, 0x3000, 1), 0x5000);
    assert_int_equal(take(&extents, 0x800, 1), 0x2000);
    assert_int_equal(take(&extents, 0x1800, 1), 0x2800);
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, 0x8000, 0x9000);
}

static void aligns_the_start(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };

    (void)state;
    assert_int_equal(extents_init(&extents, 0x1000, 0xf000), 0);
    assert_int_equal(take(&extents, 0x1000, 0x4000), 0x4000);
    /* What was left before it is still there. */
    assert_int_equal(extents.count, 2);
    assert_free(&extents, 0, 0x1000, 0x3000);
    assert_free(&extents, 1, 0x5000, 0xb000);
    assert_int_equal(take(&extents, 0x1000, 0x1000), 0x1000);
    assert_int_equal(take(&extents, 0x1000, 0x2000), 0x2000);
    assert_int_equal(take(&extents, 0x8000, 0x8000), 0x8000);
    /* Exactly to the end of a range, with a lead. */
    assert_free(&extents, 0, 0x3000, 0x1000);
    assert_free(&extents, 1, 0x5000, 0x3000);
    assert_int_equal(extents.count, 2);
}

static void aligns_at_the_extremes(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };
    uint64_t start = 77;

    (void)state;
    assert_int_equal(extents_init(&extents, 1, UINT64_MAX - 1), 0);
    assert_int_equal(take(&extents, 5, UINT64_C(1) << 63), UINT64_C(1) << 63);
    assert_int_equal(take(&extents, 5, 1), 1);
    /* The only other multiple of 2^63 would be 0, which is outside. */
    assert_int_equal(extents_take(&extents, 1, UINT64_C(1) << 63, &start), -ENOSPC);
    assert_int_equal(start, 77);
    assert_int_equal(extents_give(&extents, UINT64_C(1) << 63, 5), 0);
    assert_int_equal(extents_give(&extents, 1, 5), 0);
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, 1, UINT64_MAX - 1);
}

static void take_refuses_bad_arguments(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };
    uint64_t start = 77;

    (void)state;
    assert_int_equal(extents_init(&extents, 0, 0x1000), 0);
    assert_int_equal(extents_take(&extents, 0, 1, &start), -EINVAL);
    assert_int_equal(extents_take(&extents, 1, 0, &start), -EINVAL);
    assert_int_equal(extents_take(&extents, 1, 3, &start), -EINVAL);
    assert_int_equal(extents_take(&extents, 1, UINT64_MAX, &start), -EINVAL);
    assert_int_equal(start, 77);
    assert_int_equal(extents.used, 0);
    assert_free(&extents, 0, 0, 0x1000);
}

static void exhausts(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };
    uint64_t start = 77;

    (void)state;
    assert_int_equal(extents_init(&extents, 0x10, 0x20), 0);
    assert_int_equal(extents_take(&extents, 0x21, 1, &start), -ENOSPC);
    assert_int_equal(extents_take(&extents, UINT64_MAX, 1, &start), -ENOSPC);
    assert_int_equal(extents_take(&extents, 1, 0x40, &start), -ENOSPC);
    assert_int_equal(take(&extents, 0x20, 0x10), 0x10);
    assert_int_equal(extents.count, 0);
    assert_int_equal(extents_take(&extents, 1, 1, &start), -ENOSPC);
    assert_int_equal(start, 77);
    assert_int_equal(extents.used, 1);
    assert_int_equal(extents_give(&extents, 0x10, 0x20), 0);
    assert_int_equal(take(&extents, 0x20, 1), 0x10);
}

static void give_merges_both_sides(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };

    (void)state;
    assert_int_equal(extents_init(&extents, 0, 60), 0);
    for (uint64_t i = 0; i < 6; i++)
        assert_int_equal(take(&extents, 10, 1), i * 10);
    assert_int_equal(extents_give(&extents, 10, 10), 0); /* alone */
    assert_int_equal(extents_give(&extents, 30, 10), 0); /* alone */
    assert_int_equal(extents.count, 2);
    assert_int_equal(extents_give(&extents, 40, 10), 0); /* joins the one before */
    assert_free(&extents, 1, 30, 20);
    assert_int_equal(extents_give(&extents, 0, 10), 0); /* joins the one after */
    assert_free(&extents, 0, 0, 20);
    assert_int_equal(extents.count, 2);
    assert_int_equal(extents_give(&extents, 20, 10), 0); /* joins both */
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, 0, 50);
    assert_int_equal(extents_give(&extents, 50, 10), 0);
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, 0, 60);
    assert_int_equal(extents.used, 0);
}

static void give_refuses_what_is_free(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };

    (void)state;
    assert_int_equal(extents_init(&extents, 0, 100), 0);
    /* Nothing is out at all. */
    assert_int_equal(extents_give(&extents, 0, 10), -EINVAL);
    assert_int_equal(extents_give(&extents, 200, 10), -EINVAL);
    assert_int_equal(take(&extents, 10, 1), 0);
    assert_int_equal(take(&extents, 10, 1), 10);
    assert_int_equal(take(&extents, 10, 1), 20);
    assert_int_equal(extents_give(&extents, 10, 10), 0);
    assert_int_equal(extents_give(&extents, 10, 10), -EINVAL); /* twice */
    assert_int_equal(extents_give(&extents, 5, 10), -EINVAL);  /* reaches into a free one */
    assert_int_equal(extents_give(&extents, 19, 5), -EINVAL);  /* begins in a free one */
    assert_int_equal(extents_give(&extents, 5, 20), -EINVAL);  /* has a free one inside */
    assert_int_equal(extents_give(&extents, 12, 2), -EINVAL);  /* is inside a free one */
    assert_int_equal(extents_give(&extents, 25, 10), -EINVAL);
    assert_int_equal(extents_give(&extents, 0, 0), -EINVAL);
    assert_int_equal(extents_give(&extents, 20, UINT64_MAX), -EINVAL);
    assert_int_equal(extents_give(&extents, UINT64_MAX, 1), -EINVAL);
    assert_int_equal(extents.used, 2);
    assert_int_equal(extents.count, 2);
    assert_free(&extents, 0, 10, 10);
    assert_free(&extents, 1, 30, 70);
}

#define MANY 2000

/* Every second one first: each of these needs an entry of its own. */
static void give_never_allocates(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };
    const struct extent *table;
    size_t capacity, peak = 0;

    (void)state;
    assert_int_equal(extents_init(&extents, 0, MANY), 0);
    for (uint64_t i = 0; i < MANY; i++)
        assert_int_equal(take(&extents, 1, 1), i);
    assert_int_equal(extents.count, 0);
    table = extents.free;
    capacity = extents.capacity;
    for (uint64_t pass = 0; pass < 2; pass++) {
        for (uint64_t i = pass; i < MANY; i += 2) {
            assert_int_equal(extents_give(&extents, i, 1), 0);
            assert_true(extents.count <= extents.capacity);
            peak = extents.count > peak ? extents.count : peak;
        }
    }
    assert_int_equal(peak, MANY / 2);
    assert_ptr_equal(extents.free, table);
    assert_int_equal(extents.capacity, capacity);
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, 0, MANY);
}

#define SPACE    512
#define BASE     3
#define LIVE_MAX 64
#define HISTORY  20000

/** The reference: one flag a unit, and what is out. */
struct naive {
    bool used[SPACE];
    struct extent live[LIVE_MAX];
    size_t live_count;
};

static bool naive_fits(const struct naive *naive, uint64_t at, uint64_t length)
{
    for (uint64_t i = 0; i < length; i++) {
        if (at + i >= SPACE || naive->used[at + i])
            return false;
    }
    return true;
}

/* The lowest place that is aligned, or SPACE. */
static uint64_t naive_find(const struct naive *naive, uint64_t length, uint64_t alignment)
{
    uint64_t at = 0;

    while (at < SPACE && ((at + BASE) % alignment != 0 || !naive_fits(naive, at, length)))
        at++;
    return at;
}

static void assert_same(const struct extents *extents, const struct naive *naive)
{
    size_t i = 0;
    uint64_t at = 0;

    while (at < SPACE) {
        uint64_t start = at;

        while (at < SPACE && !naive->used[at])
            at++;
        if (at > start) {
            assert_free(extents, i, BASE + start, at - start);
            i++;
        }
        while (at < SPACE && naive->used[at])
            at++;
    }
    assert_int_equal(extents->count, i);
    assert_int_equal(extents->used, naive->live_count);
    assert_true(extents->count <= extents->capacity);
    assert_true(extents->count <= extents->used + 1);
}

static void take_both(struct extents *extents, struct naive *naive, uint64_t *random)
{
    uint64_t length = 1 + support_below(random, 24);
    uint64_t alignment = UINT64_C(1) << support_below(random, 6);
    uint64_t at = naive_find(naive, length, alignment);
    uint64_t start = 77;
    int r = extents_take(extents, length, alignment, &start);

    if (at == SPACE) {
        assert_int_equal(r, -ENOSPC);
        assert_int_equal(start, 77);
        return;
    }
    assert_int_equal(r, 0);
    assert_int_equal(start, BASE + at);
    memset(&naive->used[at], 1, length);
    naive->live[naive->live_count++] = (struct extent){ start, length };
}

static void give_both(struct extents *extents, struct naive *naive, uint64_t *random)
{
    size_t i = support_below(random, naive->live_count);
    struct extent extent = naive->live[i];

    assert_int_equal(extents_give(extents, extent.start, extent.length), 0);
    assert_int_equal(extents_give(extents, extent.start, extent.length), -EINVAL);
    memset(&naive->used[extent.start - BASE], 0, extent.length);
    naive->live[i] = naive->live[--naive->live_count];
}

static void agrees_with_a_bitmap(void **state)
{
    CLEANUP_EXTENTS struct extents extents = { 0 };
    static struct naive naive;
    uint64_t random = support_seed();

    (void)state;
    memset(&naive, 0, sizeof(naive));
    assert_int_equal(extents_init(&extents, BASE, SPACE), 0);
    for (int i = 0; i < HISTORY; i++) {
        /* Phases of growth and of decline, so that full and empty are both reached. */
        uint64_t growth = (i / 300) % 2 ? 3 : 7;
        bool grow = support_below(&random, 10) < growth;

        if (naive.live_count == 0 || (grow && naive.live_count < LIVE_MAX))
            take_both(&extents, &naive, &random);
        else
            give_both(&extents, &naive, &random);
        assert_same(&extents, &naive);
    }
    while (naive.live_count > 0)
        give_both(&extents, &naive, &random);
    assert_int_equal(extents.count, 1);
    assert_free(&extents, 0, BASE, SPACE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(init_refuses_empty_and_wrapping),
        cmocka_unit_test(deinit_of_zeroed_and_twice),
        cmocka_unit_test(packs_towards_the_low_end),
        cmocka_unit_test(aligns_the_start),
        cmocka_unit_test(aligns_at_the_extremes),
        cmocka_unit_test(take_refuses_bad_arguments),
        cmocka_unit_test(exhausts),
        cmocka_unit_test(give_merges_both_sides),
        cmocka_unit_test(give_refuses_what_is_free),
        cmocka_unit_test(give_never_allocates),
        cmocka_unit_test(agrees_with_a_bitmap),
    };

    return cmocka_run_group_tests_name("extents", tests, NULL, NULL);
}
