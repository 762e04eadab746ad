/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* When the keeper holds its broker for hung (daemon/keeper/watch.h), with a clock of our own. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "daemon/keeper/watch.h"

#define PERIOD UINT64_C(1000)

static struct watch watch;
static uint64_t now;

static int setup(void **state)
{
    (void)state;
    now = 5000000;
    /* With traces of the broker before. */
    watch = (struct watch){ PERIOD, 1, 77, 3, true, true };
    watch_begin(&watch, now);
    return 0;
}

static enum watch_verdict after(uint64_t ns)
{
    now += ns;
    return watch_period(&watch, now);
}

static void an_idle_broker_that_answers_is_fine(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(after(PERIOD), WATCH_ASK);
        watch_heard(&watch);
        assert_int_equal(watch_answered(&watch, watch.number), 0);
    }
}

static void one_that_never_answers_is_hung(void **state)
{
    (void)state;
    assert_int_equal(after(PERIOD), WATCH_ASK);
    for (unsigned int i = 1; i < WATCH_PERIODS; i++)
        assert_int_equal(after(PERIOD), WATCH_WAIT);
    assert_int_equal(after(PERIOD), WATCH_HUNG);
}

static void one_that_stops_answering_is_hung(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(after(PERIOD), WATCH_ASK);
        watch_heard(&watch);
        assert_int_equal(watch_answered(&watch, watch.number), 0);
    }
    assert_int_equal(after(PERIOD), WATCH_ASK);
    for (unsigned int i = 1; i < WATCH_PERIODS; i++)
        assert_int_equal(after(PERIOD), WATCH_WAIT);
    assert_int_equal(after(PERIOD), WATCH_HUNG);
}

/* Slow, behind a long queue, but at work. */
static void any_sign_of_life_counts(void **state)
{
    (void)state;
    assert_int_equal(after(PERIOD), WATCH_ASK);
    for (int i = 0; i < 20; i++) {
        for (unsigned int j = 1; j < WATCH_PERIODS; j++)
            assert_int_equal(after(PERIOD), WATCH_WAIT);
        watch_heard(&watch);
        assert_int_equal(after(PERIOD), WATCH_WAIT);
    }
    watch_heard(&watch);
    assert_int_equal(watch_answered(&watch, watch.number), 0);
    assert_int_equal(after(PERIOD), WATCH_ASK);
}

static void the_last_moment_is_early_enough(void **state)
{
    (void)state;
    assert_int_equal(after(PERIOD), WATCH_ASK);
    for (unsigned int i = 1; i < WATCH_PERIODS; i++)
        assert_int_equal(after(PERIOD), WATCH_WAIT);
    watch_heard(&watch);
    assert_int_equal(watch_answered(&watch, watch.number), 0);
    assert_int_equal(after(PERIOD), WATCH_ASK);
}

/* However long, and however often: stopped together with the broker, or both out of breath. */
static void when_we_did_not_run_it_proves_nothing(void **state)
{
    (void)state;
    assert_int_equal(after(PERIOD), WATCH_ASK);
    for (unsigned int i = 1; i < WATCH_PERIODS; i++)
        assert_int_equal(after(PERIOD), WATCH_WAIT);
    assert_int_equal(after(3600 * PERIOD), WATCH_WAIT);
    for (int i = 0; i < 20; i++)
        assert_int_equal(after(2 * PERIOD), WATCH_WAIT);
    /* What was counted before still counts. */
    assert_int_equal(after(2 * PERIOD - 1), WATCH_HUNG);
}

static void answers_to_nothing_are_no_answers(void **state)
{
    (void)state;
    assert_int_equal(watch_answered(&watch, 0), -EBADMSG);
    assert_int_equal(watch_answered(&watch, 1), -EBADMSG);
    assert_int_equal(after(PERIOD), WATCH_ASK);
    assert_int_equal(watch_answered(&watch, watch.number + 1), -EBADMSG);
    assert_int_equal(watch_answered(&watch, watch.number), 0);
    assert_int_equal(watch_answered(&watch, watch.number), -EBADMSG);
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_idle_broker_that_answers_is_fine), TEST(one_that_never_answers_is_hung),
        TEST(one_that_stops_answering_is_hung),    TEST(any_sign_of_life_counts),
        TEST(the_last_moment_is_early_enough),     TEST(when_we_did_not_run_it_proves_nothing),
        TEST(answers_to_nothing_are_no_answers),
    };

    return cmocka_run_group_tests_name("watch", tests, NULL, NULL);
}
