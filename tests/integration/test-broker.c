/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two processes of the daemon, and what is left when one of them dies. A broker can be killed or
 * hang at any moment and another takes its place, with nothing left over; without its keeper it does
 * not live on. What each may do is test-privilege.c's.
 *
 * Against any backend; killing in the middle of slow work needs the fake one's script.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/raw.h"

#define MIB UINT64_C(1048576)
/* In a row; each time somebody is served again. */
#define KILLS 20

static struct daemon daemon_of_test;

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

/* ---- killing ---- */

/* And wait for the one after it. */
static void kill_broker(void)
{
    pid_t before = daemon_broker(&daemon_of_test);

    assert_true(before > 0);
    assert_int_equal(kill(before, SIGKILL), 0);
    daemon_next_broker(&daemon_of_test, before);
}

static uint32_t broker_starts(void)
{
    struct dmabufd_status status;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_get_status(d, &status), 0);
    dmabufd_disconnect(d);
    return status.broker_starts;
}

static void killed_idle(void **state)
{
    struct leftovers before;
    pid_t keeper;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    keeper = daemon_of_test.keeper;
    leftovers_read(&daemon_of_test, &before);
    kill_broker();
    daemon_check_serves(&daemon_of_test);
    assert_int_equal(broker_starts(), 2);
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(daemon_log_count(&daemon_of_test, "was killed by signal 9"), 1);
    assert_int_equal(daemon_log_count(&daemon_of_test, "the broker was started again"), 1);
    assert_int_equal(kill(keeper, 0), 0);
    daemon_stop(&daemon_of_test);
}

/* A client that finds its connection ended, connects again, and is served. */
static int lose_and_return(void *data)
{
    int stream = *(int *)data;
    struct dmabufd_status status;
    struct dmabufd_buffer_info *list;
    uint64_t address, length;
    dmabufd_buffer *buffers[3], *other;
    unsigned char *bytes;
    size_t count;
    char killed;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (int i = 0; i < 3; i++)
        CHECK(dmabufd_alloc(d, MIB, 4096, &buffers[i]) == 0);
    bytes = dmabufd_buffer_data(buffers[0]);
    memset(bytes, 7, MIB);
    CHECK(write_all(stream, "h", 1) && read_all(stream, &killed, 1));
    CHECK(dmabufd_get_status(d, &status) == -ENOTCONN);
    CHECK(dmabufd_alloc(d, 4096, 4096, &other) == -ENOTCONN);
    CHECK(dmabufd_lookup(d, dmabufd_buffer_fd(buffers[0]), &other) == -ENOTCONN);
    CHECK(dmabufd_list(d, &list, &count) == -ENOTCONN);
    /* The memory is still this process's own; whether a device may use it is another matter. */
    CHECK(bytes[0] == 7 && bytes[MIB - 1] == 7);
    CHECK(dmabufd_free(buffers[0]) == -ENOTCONN);
    CHECK(dmabufd_translate(d, bytes, &address, &length) == -ENOENT);
    dmabufd_disconnect(d);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 0);
    CHECK(dmabufd_alloc(d, MIB, 4096, &buffers[0]) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void killed_with_buffers_held(void **state)
{
    int pairs[3][2];
    struct leftovers before;
    pid_t clients[3];
    char held;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pairs[i]), 0);
        clients[i] =
            spawn_as(i % 2 ? TEST_OTHER_UID : TEST_CLIENT_UID, lose_and_return, &pairs[i][1]);
        close(pairs[i][1]);
        assert_true(read_all(pairs[i][0], &held, 1));
    }
    kill_broker();
    for (int i = 0; i < 3; i++)
        assert_true(write_all(pairs[i][0], "k", 1));
    for (int i = 0; i < 3; i++) {
        assert_int_equal(join(clients[i]), 0);
        close(pairs[i][0]);
    }
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(broker_starts(), 2);
    daemon_stop(&daemon_of_test);
}

static bool has_jobs(void *data)
{
    struct dmabufd_status status;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_get_status(d, &status), 0);
    dmabufd_disconnect(d);
    return status.jobs >= *(uint32_t *)data;
}

static void killed_during_slow_builds(void **state)
{
    static const char *const args[] = { "--fake=delay=50", NULL };
    struct leftovers before;
    uint32_t jobs = 4;
    int socks[2];

    (void)state;
    daemon_start_with(&daemon_of_test, "fake", args);
    leftovers_read(&daemon_of_test, &before);
    for (int i = 0; i < 2; i++) {
        socks[i] = raw_greeted();
        assert_int_equal(raw_send_allocate(socks[i], 2, 256 * MIB), 0);
        assert_int_equal(raw_send_allocate(socks[i], 3, 128 * MIB), 0);
    }
    wait_until(has_jobs, &jobs);
    kill_broker();
    for (int i = 0; i < 2; i++) {
        assert_true(raw_ended(socks[i]));
        close(socks[i]);
    }
    daemon_check_serves(&daemon_of_test);
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(broker_starts(), 2);
    daemon_stop(&daemon_of_test);
}

/* The second question of a fresh broker, both times: were the answer to the first one's taken for
 * that to the second's, it would be of the wrong kind. */
static void lose_the_answer_to_a_free(void)
{
    struct raw_reply reply;
    int sock = raw_greeted();

    assert_int_equal(raw_send_allocate(sock, 2, 512 * MIB), 0);
    assert_int_equal(raw_receive(sock, &reply), 1);
    wire_fds_close(&reply.fds);
    assert_int_equal(raw_send_free(sock, 3, reply.message->buffer->buffer), 0);
    kill_broker();
    /* Answered before the end, or not. */
    while (raw_receive(sock, &reply) == 1)
        assert_int_equal(reply.message->id, 3);
    close(sock);
    sock = raw_greeted();
    assert_true(raw_works(sock, 2));
    assert_int_equal(raw_send_allocate(sock, 3, 256 * MIB), 0);
    assert_int_equal(raw_receive(sock, &reply), 1);
    assert_int_equal(reply.message->id, 3);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_BUFFER);
    assert_true(reply.fds.count > 0);
    wire_fds_close(&reply.fds);
    close(sock);
}

static void killed_with_a_teardown_in_flight(void **state)
{
    struct leftovers before;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    for (int i = 0; i < 2; i++) {
        kill_broker();
        lose_the_answer_to_a_free();
    }
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(broker_starts(), 5);
    daemon_stop(&daemon_of_test);
}

static void killed_again_and_again(void **state)
{
    const char *text = getenv("DMABUFD_TEST_BROKER_KILLS");
    uint32_t kills = text ? (uint32_t)atoi(text) : KILLS;
    struct leftovers before;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    for (uint32_t i = 0; i < kills; i++) {
        int sock = raw_greeted();

        assert_true(sock >= 0);
        assert_true(raw_works(sock, 2));
        for (uint64_t id = 3; id < 11; id++)
            assert_int_equal(raw_send_allocate(sock, id, (id % 3) * MIB + 4096), 0);
        usleep(i * 37 % 1500);
        kill_broker();
        close(sock);
    }
    assert_int_equal(broker_starts(), kills + 1);
    daemon_check_serves(&daemon_of_test);
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(daemon_log_count(&daemon_of_test, "was killed by signal 9"), kills);
    daemon_stop(&daemon_of_test);
}

/* ---- hanging ---- */

#define PATIENCE_SECONDS 1 /* as in impatient[] */

static const char *const impatient[] = { "--hang-timeout=1", NULL };

static void broker_that_hangs_is_replaced(void **state)
{
    struct leftovers before;
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    (void)state;
    daemon_start(&daemon_of_test, impatient);
    leftovers_read(&daemon_of_test, &before);
    for (uint32_t i = 1; i <= 2; i++) {
        assert_int_equal(dmabufd_connect(&d, NULL), 0);
        assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
        broker = daemon_broker(&daemon_of_test);
        assert_int_equal(kill(broker, SIGSTOP), 0);
        daemon_next_broker(&daemon_of_test, broker);
        assert_int_equal(dmabufd_free(buffer), -ENOTCONN);
        dmabufd_disconnect(d);
        daemon_check_serves(&daemon_of_test);
        assert_int_equal(broker_starts(), i + 1);
        assert_int_equal(daemon_log_count(&daemon_of_test, "does not answer for 1 s: killing it"),
                         i);
        leftovers_settle(&daemon_of_test, &before);
    }
    daemon_stop(&daemon_of_test);
}

/* As systemctl freeze does it: the time in which nobody ran is not held against the broker. */
static void stopped_as_a_whole(void **state)
{
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    (void)state;
    daemon_start(&daemon_of_test, impatient);
    broker = daemon_broker(&daemon_of_test);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(kill(daemon_of_test.keeper, SIGSTOP), 0);
        assert_int_equal(kill(broker, SIGSTOP), 0);
        sleep(3 * PATIENCE_SECONDS);
        assert_int_equal(kill(daemon_of_test.keeper, SIGCONT), 0);
        assert_int_equal(kill(broker, SIGCONT), 0);
        /* Idle for long enough to be asked some times. */
        sleep(2 * PATIENCE_SECONDS);
        assert_int_equal(daemon_broker(&daemon_of_test), broker);
        assert_int_equal(dmabufd_free(buffer), 0);
        assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
    }
    dmabufd_disconnect(d);
    assert_int_equal(broker_starts(), 1);
    daemon_stop(&daemon_of_test);
}

static int ask_on_and_on(void *data)
{
    time_t end = time(NULL) + 3 * PATIENCE_SECONDS;
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    while (time(NULL) < end) {
        CHECK(dmabufd_alloc(d, 4096, 4096, &buffer) == 0);
        CHECK(dmabufd_free(buffer) == 0);
    }
    dmabufd_disconnect(d);
    return 0;
}

static void busy_is_not_hung(void **state)
{
    pid_t clients[4];

    (void)state;
    daemon_start(&daemon_of_test, impatient);
    for (size_t i = 0; i < 4; i++)
        clients[i] = spawn_as(TEST_CLIENT_UID, ask_on_and_on, NULL);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(join(clients[i]), 0);
    assert_int_equal(broker_starts(), 1);
    daemon_stop(&daemon_of_test);
}

/* For somebody with a debugger. */
static void hanging_can_be_allowed(void **state)
{
    static const char *const args[] = { "--hang-timeout=0", NULL };
    pid_t broker;

    (void)state;
    daemon_start(&daemon_of_test, args);
    broker = daemon_broker(&daemon_of_test);
    assert_int_equal(kill(broker, SIGSTOP), 0);
    sleep(3 * PATIENCE_SECONDS);
    assert_int_equal(daemon_broker(&daemon_of_test), broker);
    assert_int_equal(kill(broker, SIGCONT), 0);
    daemon_check_serves(&daemon_of_test);
    assert_int_equal(broker_starts(), 1);
    daemon_stop(&daemon_of_test);
}

/* ---- the end of the keeper ---- */

static void hangs_at_the_end(void **state)
{
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
    broker = daemon_broker(&daemon_of_test);
    assert_int_equal(kill(broker, SIGSTOP), 0);
    daemon_stop(&daemon_of_test);
    assert_int_equal(kill(broker, 0), -1);
    assert_int_equal(errno, ESRCH);
    assert_int_equal(dmabufd_free(buffer), -ENOTCONN);
    dmabufd_disconnect(d);
}

static bool is_gone(void *data)
{
    return kill(*(pid_t *)data, 0) < 0 && errno == ESRCH;
}

static void check_keeper_killed(bool broker_hangs)
{
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    daemon_start(&daemon_of_test, NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
    broker = daemon_broker(&daemon_of_test);
    if (broker_hangs)
        assert_int_equal(kill(broker, SIGSTOP), 0);
    kill(daemon_of_test.keeper, SIGKILL);
    assert_int_equal(join(daemon_of_test.keeper), 128 + SIGKILL);
    wait_until(is_gone, &broker);
    assert_int_equal(dmabufd_free(buffer), -ENOTCONN);
    dmabufd_disconnect(d);
    assert_int_equal(dmabufd_connect(&d, NULL), -ECONNREFUSED);
    daemon_of_test.keeper = 0;
    daemon_kill(&daemon_of_test);
}

static void keeper_killed(void **state)
{
    (void)state;
    check_keeper_killed(false);
    check_keeper_killed(true);
}

/* Both are told to end by whoever ends a whole group, and by a terminal. */
static void broker_ignores_what_is_meant_for_the_keeper(void **state)
{
    struct leftovers before;
    pid_t broker;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    broker = daemon_broker(&daemon_of_test);
    assert_int_equal(kill(broker, SIGTERM), 0);
    assert_int_equal(kill(broker, SIGINT), 0);
    daemon_check_serves(&daemon_of_test);
    assert_int_equal(daemon_broker(&daemon_of_test), broker);
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(killed_idle, clean_up),
        cmocka_unit_test_teardown(killed_with_buffers_held, clean_up),
        cmocka_unit_test_teardown(killed_during_slow_builds, clean_up),
        cmocka_unit_test_teardown(killed_with_a_teardown_in_flight, clean_up),
        cmocka_unit_test_teardown(killed_again_and_again, clean_up),
        cmocka_unit_test_teardown(broker_that_hangs_is_replaced, clean_up),
        cmocka_unit_test_teardown(stopped_as_a_whole, clean_up),
        cmocka_unit_test_teardown(busy_is_not_hung, clean_up),
        cmocka_unit_test_teardown(hanging_can_be_allowed, clean_up),
        cmocka_unit_test_teardown(hangs_at_the_end, clean_up),
        cmocka_unit_test_teardown(keeper_killed, clean_up),
        cmocka_unit_test_teardown(broker_ignores_what_is_meant_for_the_keeper, clean_up),
    };

    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
