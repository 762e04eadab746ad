/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What systemd's watchdog is told (daemon/keeper/heartbeat.h), with a clock of our own, and whether the
 * supervisor takes its broker for well. */
#include "tests/unit/cmocka-all.h"

#include "daemon/keeper/heartbeat.h"
#include "daemon/keeper/supervisor.h"

#define HANG_NS (10 * NS_PER_S)
#define BOUND   (HANG_NS + HEARTBEAT_REPLACED_NS)

static struct heartbeat heartbeat;
static uint64_t now;
static bool is_new;

static int setup(void **state)
{
    (void)state;
    now = 1000 * NS_PER_S;
    /* With traces of another life. */
    heartbeat = (struct heartbeat){ HANG_NS, 5, HEARTBEAT_NO_BROKER };
    heartbeat_begin(&heartbeat, now);
    return 0;
}

static enum heartbeat_sign after(uint64_t ns, bool broker_is_well, bool workers_hang)
{
    now += ns;
    return heartbeat_look(&heartbeat, broker_is_well, workers_hang, now, &is_new);
}

static void beats_while_all_is_well(void **state)
{
    (void)state;
    for (int i = 0; i < 100; i++) {
        assert_int_equal(after(100 * NS_PER_S, true, false), HEARTBEAT_WELL);
        assert_false(is_new);
    }
}

/* It beats while one is replaced, however often, and stops when that takes too long. */
static void broker_may_be_replaced(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++) {
        assert_int_equal(after(BOUND, false, false), HEARTBEAT_WELL);
        assert_int_equal(after(1, true, false), HEARTBEAT_WELL);
    }
    assert_int_equal(after(BOUND, false, false), HEARTBEAT_WELL);
    assert_int_equal(after(1, false, false), HEARTBEAT_NO_BROKER);
    assert_true(is_new);
    assert_int_equal(after(1, false, false), HEARTBEAT_NO_BROKER);
    assert_false(is_new);
    /* Later than hoped, but still before systemd lost patience. */
    assert_int_equal(after(1, true, false), HEARTBEAT_WELL);
    assert_true(is_new);
}

static void first_broker_has_time(void **state)
{
    (void)state;
    assert_int_equal(after(BOUND, false, false), HEARTBEAT_WELL);
    assert_int_equal(after(1, false, false), HEARTBEAT_NO_BROKER);
}

/* As long as --hang-timeout says it may be silent. */
static void patience_is_the_supervisors(void **state)
{
    (void)state;
    heartbeat.hang_ns = 3600 * NS_PER_S;
    heartbeat_begin(&heartbeat, now);
    assert_int_equal(after(3600 * NS_PER_S, false, false), HEARTBEAT_WELL);
    assert_int_equal(after(HEARTBEAT_REPLACED_NS + 1, false, false), HEARTBEAT_NO_BROKER);
}

static void workers_that_hang_end_it(void **state)
{
    (void)state;
    assert_int_equal(after(1, true, true), HEARTBEAT_WORKERS_HANG);
    assert_true(is_new);
    assert_int_equal(after(1, true, true), HEARTBEAT_WORKERS_HANG);
    assert_false(is_new);
    assert_int_equal(after(BOUND + 1, false, true), HEARTBEAT_WORKERS_HANG);
    assert_int_equal(after(1, true, false), HEARTBEAT_WELL);
    assert_true(is_new);
}

static void on_timer(evutil_socket_t fd, short what, void *data)
{
    (void)fd;
    (void)what;
    (void)data;
}

static void broker_is_well_if_it_serves_and_speaks(void **state)
{
    struct event_base *base = event_base_new();
    struct supervisor supervisor = { .pid = 77, .is_ready = true };
    const struct timeval later = { .tv_sec = 1000 };

    (void)state;
    supervisor.killed_event = evtimer_new(base, on_timer, NULL);
    assert_true(supervisor_is_well(&supervisor));
    supervisor.watch.silent = 1;
    assert_false(supervisor_is_well(&supervisor));
    supervisor.watch.silent = 0;
    supervisor.is_ready = false;
    assert_false(supervisor_is_well(&supervisor));
    supervisor.is_ready = true;
    evtimer_add(supervisor.killed_event, &later);
    assert_false(supervisor_is_well(&supervisor));
    event_free(supervisor.killed_event);
    event_base_free(base);
    /* Between two brokers, and after the last. */
    supervisor = (struct supervisor){ .is_ready = true };
    assert_false(supervisor_is_well(&supervisor));
}

#define TEST(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(beats_while_all_is_well),  TEST(broker_may_be_replaced),
        TEST(first_broker_has_time),    TEST(patience_is_the_supervisors),
        TEST(workers_that_hang_end_it), TEST(broker_is_well_if_it_serves_and_speaks),
    };

    return cmocka_run_group_tests_name("heartbeat", tests, NULL, NULL);
}
