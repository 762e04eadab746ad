/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of systemd, as the daemon sees it: it is fed, by the keeper alone, also while brokers
 * come and go. When it is not is test-heartbeat.c's, and what systemd makes of that is
 * tests/vm/test-service.sh's.
 *
 * Against any backend.
 */
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/harness.h"

static struct daemon daemon_of_test;

static int start(void **state)
{
    (void)state;
    setenv("WATCHDOG_USEC", "100000", 1);
    daemon_start(&daemon_of_test, NULL);
    unsetenv("WATCHDOG_USEC");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_test);
    return 0;
}

static bool has_beaten(void *data)
{
    (void)data;
    return daemon_notified(&daemon_of_test, "WATCHDOG=1\n");
}

/* A new one. */
static void expect_beat(void)
{
    has_beaten(NULL);
    daemon_of_test.notify.text[0] = '\0';
    wait_until(has_beaten, NULL);
    assert_int_equal(strspn(daemon_of_test.notify.text, "WATCHDOG=1\n"),
                     strlen(daemon_of_test.notify.text));
}

static void beats_on_and_on(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        expect_beat();
    daemon_check_serves(&daemon_of_test);
}

static void beats_while_brokers_change(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++) {
        pid_t broker = daemon_broker(&daemon_of_test);

        assert_int_equal(kill(broker, SIGKILL), 0);
        expect_beat();
        daemon_next_broker(&daemon_of_test, broker);
        expect_beat();
    }
    assert_int_equal(daemon_log_count(&daemon_of_test, "watchdog"), 0);
}

/* It has no business with systemd. Only root may look. */
static void broker_knows_nothing_of_it(void **state)
{
    char path[64], environment[65536];
    size_t size;
    FILE *file;

    (void)state;
    if (getuid() != 0)
        skip();
    snprintf(path, sizeof(path), "/proc/%d/environ", (int)daemon_broker(&daemon_of_test));
    file = fopen(path, "re");
    assert_non_null(file);
    size = fread(environment, 1, sizeof(environment), file);
    fclose(file);
    assert_true(size > 0);
    assert_null(memmem(environment, size, "WATCHDOG_", 9));
    assert_null(memmem(environment, size, "NOTIFY_SOCKET", 13));
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(beats_on_and_on),
        TEST(beats_while_brokers_change),
        TEST(broker_knows_nothing_of_it),
    };

    return cmocka_run_group_tests_name("watchdog", tests, NULL, NULL);
}
