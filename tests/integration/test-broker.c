/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The two processes of the daemon: what each may do, and what is left when one of them dies. A
 * broker can be killed at any moment and another takes its place, with nothing left over; without
 * its keeper it does not live on.
 *
 * Against any backend; killing in the middle of slow work needs the fake one's script.
 */
#include <dirent.h>
#include <errno.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
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

static bool has_broker(void *data)
{
    pid_t before = *(pid_t *)data, now = daemon_broker(&daemon_of_test);

    return now > 0 && now != before;
}

/* Kill it and wait for the next. Return: the next. */
static pid_t kill_broker(void)
{
    pid_t before = daemon_broker(&daemon_of_test);

    assert_true(before > 0);
    assert_int_equal(kill(before, SIGKILL), 0);
    wait_until(has_broker, &before);
    return daemon_broker(&daemon_of_test);
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

static void check_serves(void)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    dmabufd_disconnect(d);
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
    check_serves();
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
    check_serves();
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
    check_serves();
    leftovers_settle(&daemon_of_test, &before);
    assert_int_equal(daemon_log_count(&daemon_of_test, "was killed by signal 9"), kills);
    daemon_stop(&daemon_of_test);
}

/* ---- the end of the keeper ---- */

static void broker_that_hangs(void **state)
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
    check_serves();
    assert_int_equal(daemon_broker(&daemon_of_test), broker);
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

/* ---- privilege ---- */

/* The rest of the line of /proc/PID/status that begins with @field. */
static void status_field(pid_t pid, const char *field, char *out, size_t size)
{
    char path[64], line[256];
    FILE *file;

    *out = '\0';
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0)
            snprintf(out, size, "%s", line + strlen(field) + strspn(line + strlen(field), " \t"));
    }
    fclose(file);
    out[strcspn(out, "\n")] = '\0';
    while (*out && out[strlen(out) - 1] == ' ')
        out[strlen(out) - 1] = '\0';
}

static void assert_field(pid_t pid, const char *field, const char *expected)
{
    char found[256];

    status_field(pid, field, found, sizeof(found));
    assert_string_equal(found, expected);
}

static uint64_t capabilities(pid_t pid, const char *field)
{
    char found[256];

    status_field(pid, field, found, sizeof(found));
    assert_int_equal(strlen(found), 16);
    return strtoull(found, NULL, 16);
}

/* No way to memory, devices or addresses is among its descriptors, but for the moment in which one
 * passes through. Only root may look. */
static bool has_no_power(void *data)
{
    static const char *const powers[] = { "memfd",    "iommu",   "vfio", "pagemap",
                                          "io_uring", "udmabuf", "/proc" };
    pid_t pid = *(pid_t *)data;
    struct dirent *entry;
    char path[300], target[256];
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        for (size_t i = 0; i < sizeof(powers) / sizeof(powers[0]); i++)
            found = found || strstr(target, powers[i]);
    }
    closedir(dir);
    return !found;
}

static void broker_has_no_privilege(void **state)
{
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    (void)state;
    /* One that is to be given up. */
    if (getuid() == 0)
        assert_int_equal(setgroups(1, &(gid_t){ TEST_CLIENT_UID }), 0);
    daemon_start(&daemon_of_test, NULL);
    if (getuid() == 0)
        assert_int_equal(setgroups(0, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dmabufd_connect(&d, NULL), 0);
        assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
        broker = daemon_broker(&daemon_of_test);
        assert_int_equal(capabilities(broker, "CapInh:"), 0);
        assert_int_equal(capabilities(broker, "CapPrm:"), 0);
        assert_int_equal(capabilities(broker, "CapEff:"), 0);
        assert_int_equal(capabilities(broker, "CapAmb:"), 0);
        assert_field(broker, "NoNewPrivs:", "1");
        if (getuid() == 0) {
            assert_int_equal(capabilities(broker, "CapBnd:"), 0);
            assert_field(broker, "Uid:", "61901\t61901\t61901\t61901");
            assert_field(broker, "Gid:", "61901\t61901\t61901\t61901");
            assert_field(broker, "Groups:", "");
            wait_until(has_no_power, &broker);
        }
        /* The one after it is no better. */
        kill_broker();
        check_serves();
        dmabufd_disconnect(d);
    }
    daemon_stop(&daemon_of_test);
}

/* CAP_KILL 5, CAP_SETGID 6, CAP_SETUID 7, CAP_SETPCAP 8, CAP_IPC_LOCK 14, CAP_SYS_RAWIO 17, and
 * nothing else: CAP_SYS_ADMIN is given back. */
static void keeper_has_what_it_needs(void **state)
{
    const uint64_t needs = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 14 | 1 << 17;
    uint64_t permitted;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    permitted = capabilities(daemon_of_test.keeper, "CapPrm:");
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapEff:"), permitted);
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapInh:"), 0);
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapAmb:"), 0);
    if (getuid() == 0) {
        assert_int_equal(permitted, needs & capabilities(getpid(), "CapPrm:"));
        assert_int_equal(capabilities(daemon_of_test.keeper, "CapBnd:") & ~needs, 0);
    } else {
        assert_int_equal(permitted, 0);
    }
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
        cmocka_unit_test_teardown(broker_that_hangs, clean_up),
        cmocka_unit_test_teardown(keeper_killed, clean_up),
        cmocka_unit_test_teardown(broker_ignores_what_is_meant_for_the_keeper, clean_up),
        cmocka_unit_test_teardown(broker_has_no_privilege, clean_up),
        cmocka_unit_test_teardown(keeper_has_what_it_needs, clean_up),
    };

    return cmocka_run_group_tests_name("broker", tests, NULL, NULL);
}
