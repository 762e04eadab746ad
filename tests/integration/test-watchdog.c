/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The watchdog of systemd, as the daemon sees it: it is fed, by the keeper alone, also while brokers
 * come and go. When it is not is test-heartbeat.c's, and what systemd makes of that is
 * tests/vm/test-service.sh's.
 *
 * Against any backend.
 */
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/integration/harness.h"

static struct daemon daemon_of_test;
static int notify;

/* At the place that the harness told the daemon, and does not need any more once that is ready. */
static int start(void **state)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    (void)state;
    setenv("WATCHDOG_USEC", "100000", 1);
    daemon_start(&daemon_of_test, NULL);
    unsetenv("WATCHDOG_USEC");
    snprintf(address.sun_path, sizeof(address.sun_path), "%s/notify", daemon_of_test.directory);
    notify = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(notify >= 0);
    assert_int_equal(bind(notify, (struct sockaddr *)&address, sizeof(address)), 0);
    return 0;
}

static int stop(void **state)
{
    char path[96];

    (void)state;
    snprintf(path, sizeof(path), "%s/notify", daemon_of_test.directory);
    unlink(path);
    close(notify);
    daemon_stop(&daemon_of_test);
    return 0;
}

static void expect_beat(void)
{
    struct pollfd wait = { .fd = notify, .events = POLLIN };
    char text[256];
    ssize_t n;

    assert_int_equal(poll(&wait, 1, 20000), 1);
    n = recv(notify, text, sizeof(text) - 1, 0);
    assert_true(n > 0);
    text[n] = '\0';
    assert_string_equal(text, "WATCHDOG=1");
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
