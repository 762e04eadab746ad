/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long the keeper waits before the next broker (daemon/keeper/backoff.h). */
#include "tests/unit/cmocka-all.h"

#include "daemon/keeper/backoff.h"

#define SHORT_NS UINT64_C(1000000)

static void the_first_end_costs_nothing(void **state)
{
    struct backoff served = { 0 }, failed = { 0 };

    (void)state;
    assert_int_equal(backoff_wait(&served, true, SHORT_NS), 0);
    assert_int_equal(backoff_wait(&failed, false, 0), 0);
}

static void each_wait_is_twice_the_last(void **state)
{
    static const unsigned int expected[] = { 0, 10, 20, 40, 40, 40 };
    struct backoff backoff = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(backoff_wait(&backoff, true, SHORT_NS), expected[i]);
}

static void one_that_never_served_can_wait(void **state)
{
    static const unsigned int expected[] = { 0,   10,   20,   40,   80,   160, 320,
                                             640, 1280, 2560, 5000, 5000, 5000 };
    struct backoff backoff = { 0 };

    (void)state;
    for (size_t i = 0; i < sizeof(expected) / sizeof(expected[0]); i++)
        assert_int_equal(backoff_wait(&backoff, false, 0), expected[i]);
    /* However long it took to fail. */
    assert_int_equal(backoff_wait(&backoff, false, UINT64_C(3600000000000)), 5000);
}

/* Whatever came before: clients wait no longer than this for the one after a broker that served. */
static void serving_bounds_the_wait(void **state)
{
    struct backoff backoff = { 0 };

    (void)state;
    for (int i = 0; i < 20; i++)
        backoff_wait(&backoff, false, 0);
    assert_int_equal(backoff_wait(&backoff, true, SHORT_NS), 40);
    /* And failing starts from there. */
    assert_int_equal(backoff_wait(&backoff, false, 0), 80);
}

static void one_that_lived_is_replaced_at_once(void **state)
{
    struct backoff backoff = { 0 };

    (void)state;
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(backoff_wait(&backoff, true, BACKOFF_SETTLED_NS), 0);
        assert_int_equal(backoff_wait(&backoff, true, BACKOFF_SETTLED_NS - 1), 10);
        assert_int_equal(backoff_wait(&backoff, true, SHORT_NS), 20);
    }
    assert_int_equal(backoff_wait(&backoff, true, UINT64_MAX), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_first_end_costs_nothing),
        cmocka_unit_test(each_wait_is_twice_the_last),
        cmocka_unit_test(one_that_never_served_can_wait),
        cmocka_unit_test(serving_bounds_the_wait),
        cmocka_unit_test(one_that_lived_is_replaced_at_once),
    };

    return cmocka_run_group_tests_name("backoff", tests, NULL, NULL);
}
