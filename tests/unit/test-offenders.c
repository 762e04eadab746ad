/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Which offences are told of in full and which are counted (daemon/broker/offenders.h). */
#include "tests/unit/cmocka-all.h"

#include <string.h>

#include "daemon/broker/offenders.h"
#include "tests/unit/support.h"

#define START UINT64_C(123456789)
#define SOON  (START + OFFENDERS_BURST_NS - 1)
#define OVER  (START + OFFENDERS_BURST_NS)

static struct offenders offenders;

static int setup(void **state)
{
    (void)state;
    memset(&offenders, 0, sizeof(offenders));
    return 0;
}

static void the_first_is_told_and_the_rest_counted(void **state)
{
    struct offender sum;

    (void)state;
    assert_true(offenders_note(&offenders, 1000, START));
    for (int i = 0; i < 37; i++)
        assert_false(offenders_note(&offenders, 1000, START + (uint64_t)i));
    assert_false(offenders_next(&offenders, SOON, &sum));
    assert_true(offenders_next(&offenders, OVER, &sum));
    assert_int_equal(sum.uid, 1000);
    assert_false(sum.others);
    assert_int_equal(sum.more, 37);
    assert_int_equal(sum.since_ns, START);
    assert_false(offenders_next(&offenders, OVER, &sum));
}

static void a_single_one_needs_no_sum(void **state)
{
    struct offender sum;

    (void)state;
    assert_true(offenders_note(&offenders, 1000, START));
    assert_false(offenders_next(&offenders, OVER, &sum));
    assert_int_equal(offenders.count, 0);
    /* The next is one of its own. */
    assert_true(offenders_note(&offenders, 1000, OVER));
}

/* A flood that goes on is told of again and again, each time with its first in full. */
static void the_next_burst_is_told_again(void **state)
{
    struct offender sum;

    (void)state;
    for (uint64_t burst = 0; burst < 5; burst++) {
        uint64_t start = START + burst * OFFENDERS_BURST_NS;

        assert_true(offenders_note(&offenders, 7, start));
        assert_false(offenders_note(&offenders, 7, start + 5));
        assert_false(offenders_next(&offenders, start + OFFENDERS_BURST_NS - 1, &sum));
        assert_true(offenders_next(&offenders, start + OFFENDERS_BURST_NS, &sum));
        assert_int_equal(sum.more, 1);
    }
}

/* Summed up late, nothing is lost, and the sum knows since when. */
static void what_comes_before_the_sum_belongs_to_it(void **state)
{
    struct offender sum;

    (void)state;
    assert_true(offenders_note(&offenders, 7, START));
    assert_false(offenders_note(&offenders, 7, OVER + 100));
    assert_true(offenders_next(&offenders, OVER + 200, &sum));
    assert_int_equal(sum.more, 1);
    assert_int_equal(sum.since_ns, START);
}

static void one_user_does_not_hide_another(void **state)
{
    struct offender sum;

    (void)state;
    assert_true(offenders_note(&offenders, 1, START));
    assert_false(offenders_note(&offenders, 1, START));
    assert_true(offenders_note(&offenders, 0, START + 1));
    assert_false(offenders_note(&offenders, 0, START + 1));
    assert_false(offenders_note(&offenders, 0, START + 1));
    assert_true(offenders_next(&offenders, OVER, &sum));
    assert_int_equal(sum.uid, 1);
    assert_int_equal(sum.more, 1);
    /* The other's burst began later. */
    assert_false(offenders_next(&offenders, OVER, &sum));
    assert_true(offenders_next(&offenders, OVER + 1, &sum));
    assert_int_equal(sum.uid, 0);
    assert_int_equal(sum.more, 2);
}

static void more_users_than_places(void **state)
{
    struct offender sum;
    uint64_t counted = 0;

    (void)state;
    for (uid_t uid = 0; uid < OFFENDERS_MAX; uid++)
        assert_true(offenders_note(&offenders, uid, START));
    for (uid_t uid = OFFENDERS_MAX; uid < 10000; uid++)
        assert_false(offenders_note(&offenders, uid, START + 2));
    assert_false(offenders_note(&offenders, 5, START + 3));
    while (offenders_next(&offenders, OVER + 1, &sum)) {
        assert_false(sum.others);
        assert_int_equal(sum.uid, 5);
        counted += sum.more;
    }
    assert_int_equal(counted, 1);
    assert_true(offenders_next(&offenders, OVER + 2, &sum));
    assert_true(sum.others);
    assert_int_equal(sum.more, 10000 - OFFENDERS_MAX);
    assert_int_equal(sum.since_ns, START + 2);
    assert_false(offenders_next(&offenders, OVER + 2, &sum));
    /* There is room again. */
    assert_true(offenders_note(&offenders, 9999, OVER + 3));
}

/* Against a count of all: each offence is told of or counted, once; the lines are few. */
static void nothing_is_lost(void **state)
{
    uint64_t random = support_seed(), now = START, told = 0, summed = 0, lines = 0;
    const uint64_t all = 200000;
    struct offender sum;

    (void)state;
    for (uint64_t i = 0; i < all; i++) {
        now += support_below(&random, OFFENDERS_BURST_NS / 1000);
        told += offenders_note(&offenders, (uid_t)support_below(&random, 60), now);
        if (support_below(&random, 500) == 0) {
            while (offenders_next(&offenders, now, &sum)) {
                summed += sum.more;
                lines++;
            }
        }
    }
    while (offenders_next(&offenders, now + OFFENDERS_BURST_NS, &sum))
        summed += sum.more;
    assert_int_equal(told + summed, all);
    assert_true(told + lines <= (2 * OFFENDERS_MAX + 1) * ((now - START) / OFFENDERS_BURST_NS + 1));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_first_is_told_and_the_rest_counted),
        TEST(a_single_one_needs_no_sum),
        TEST(the_next_burst_is_told_again),
        TEST(what_comes_before_the_sum_belongs_to_it),
        TEST(one_user_does_not_hide_another),
        TEST(more_users_than_places),
        TEST(nothing_is_lost),
    };

    return cmocka_run_group_tests_name("offenders", tests, NULL, NULL);
}
