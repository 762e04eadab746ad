/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Limits: connections, connections and buffers of one user, buffers, memory, the host's memory, and
 * the time to say HELLO. Each refusal says which limit it was; nobody else is touched; what was
 * given back can be had again, exactly.
 *
 * Needs the fake backend: the numbers are the daemon's own. Descriptors that run out are
 * test-shortage.c's.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/raw.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

static struct daemon daemon_of_test;

static void start(const char *const *args)
{
    daemon_start_with(&daemon_of_test, "fake", args);
}

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

/* ---- connections ---- */

static bool can_connect(void *data)
{
    dmabufd **d = data;

    return dmabufd_connect(d, NULL) == 0;
}

/* HELLO is answered with the reason, and then the connection ends. */
static int refused_by_hand(void *data)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    struct raw_reply reply;
    int sock = raw_connect();

    (void)data;
    CHECK(sock >= 0);
    CHECK(raw_send(sock, bytes, raw_hello(bytes, 9, 1, 1, "late"), -1, 0) == 0);
    CHECK(raw_receive(sock, &reply) == 1);
    CHECK(raw_is_error(&reply, 9, DMABUFD_CODE_LIMIT, EUSERS));
    CHECK(strstr(reply.message->error->text, "max-clients"));
    CHECK(raw_ended(sock));
    close(sock);
    return 0;
}

static int refused_politely(void *data)
{
    dmabufd *d = NULL;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == -EUSERS && !d);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_LIMIT);
    CHECK(strstr(dmabufd_last_error(), "max-clients"));
    return 0;
}

static int connects(void *data)
{
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static int allocates(void *data)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 4096, 4096, &buffer) == 0);
    CHECK(dmabufd_free(buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void check_works(dmabufd *d)
{
    dmabufd_buffer *buffer;

    assert_int_equal(dmabufd_alloc(d, 4096, 4096, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
}

static void max_clients(void **state)
{
    static const char *const args[] = { "--max-clients=4", "--max-clients-per-user=4", NULL };
    dmabufd *d[4], *again;

    (void)state;
    start(args);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dmabufd_connect(&d[i], NULL), 0);
    run_as(TEST_CLIENT_UID, refused_by_hand, NULL);
    run_as(TEST_CLIENT_UID, refused_politely, NULL);
    for (int i = 0; i < 4; i++)
        check_works(d[i]);
    dmabufd_disconnect(d[2]);
    wait_until(can_connect, &again);
    check_works(again);
    run_as(TEST_CLIENT_UID, refused_politely, NULL);
    d[2] = again;
    for (int i = 0; i < 4; i++)
        dmabufd_disconnect(d[i]);
    daemon_stop(&daemon_of_test);
}

struct sitter {
    int stream;
    int connections;
    bool greets;
};

/* Holds connections until told to go. */
static int sit(void *data)
{
    const struct sitter *sitter = data;
    char go;

    for (int i = 0; i < sitter->connections; i++)
        CHECK((sitter->greets ? raw_greeted() : raw_connect()) >= 0);
    CHECK(write_all(sitter->stream, "s", 1));
    CHECK(read_all(sitter->stream, &go, 1));
    return 0;
}

/* Return: the stream by which to let it go. */
static int start_sitter(struct sitter sitter, pid_t *ret)
{
    int pair[2];
    char sits;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sitter.stream = pair[1];
    *ret = spawn_as(TEST_CLIENT_UID, sit, &sitter);
    close(pair[1]);
    assert_true(read_all(pair[0], &sits, 1));
    return pair[0];
}

static void end_sitter(int stream, pid_t pid)
{
    assert_true(write_all(stream, "g", 1));
    close(stream);
    assert_int_equal(join(pid), 0);
}

static bool another_is_served(void *data)
{
    (void)data;
    return join(spawn_as(TEST_CLIENT_UID, connects, NULL)) == 0;
}

static void max_clients_per_user(void **state)
{
    static const char *const args[] = { "--max-clients=8", "--max-clients-per-user=3", NULL };
    int stream;
    pid_t pid;

    (void)state;
    start(args);
    stream = start_sitter((struct sitter){ .connections = 3, .greets = true }, &pid);
    run_as(TEST_CLIENT_UID, refused_by_hand, NULL);
    run_as(TEST_CLIENT_UID, refused_politely, NULL);
    if (getuid() == 0)
        run_as(TEST_OTHER_UID, connects, NULL);
    end_sitter(stream, pid);
    wait_until(another_is_served, NULL);
    daemon_stop(&daemon_of_test);
}

/* Connections beyond a user's limit must not take the place of others, said HELLO or not. */
static void one_user_cannot_keep_others_out(void **state)
{
    static const char *const args[] = { "--max-clients=8", "--max-clients-per-user=4", NULL };
    pid_t pid;
    int stream;

    (void)state;
    if (getuid() != 0) {
        print_message("needs two users: run as root\n");
        skip();
    }
    start(args);
    stream = start_sitter((struct sitter){ .connections = 200 }, &pid);
    run_as(TEST_OTHER_UID, connects, NULL);
    end_sitter(stream, pid);
    daemon_stop(&daemon_of_test);
}

/* Sweeps are 5 s apart, and a connection is ended by the second that finds it without HELLO. */
static void without_hello(void **state)
{
    int greeted, silent;

    (void)state;
    start(NULL);
    greeted = raw_greeted();
    silent = raw_connect();
    assert_true(silent >= 0 && raw_ended(silent));
    close(silent);
    assert_true(raw_works(greeted, 5));
    close(greeted);
    daemon_stop(&daemon_of_test);
}

/* ---- buffers ---- */

static void assert_refused(dmabufd *d, uint64_t size, int error, enum dmabufd_code code,
                           const char *names)
{
    dmabufd_buffer *buffer = NULL;

    assert_int_equal(dmabufd_alloc(d, size, 4096, &buffer), -error);
    assert_null(buffer);
    assert_int_equal(dmabufd_last_code(), code);
    assert_non_null(strstr(dmabufd_last_error(), names));
}

static void max_buffers(void **state)
{
    static const char *const args[] = { "--max-buffers=4", NULL };
    dmabufd_buffer *buffers[5], *foreign, *looked_up = NULL;
    dmabufd *d, *other;

    (void)state;
    start(args);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_connect(&other, NULL), 0);
    assert_int_equal(dmabufd_get_info(d)->max_buffers, 4);
    assert_int_equal(dmabufd_alloc(other, 4096, 4096, &foreign), 0);
    for (int i = 0; i < 4; i++)
        assert_int_equal(dmabufd_alloc(d, 4096, 4096, &buffers[i]), 0);
    assert_refused(d, 4096, EMFILE, DMABUFD_CODE_LIMIT, "--max-buffers");
    assert_int_equal(dmabufd_lookup(d, dmabufd_buffer_fd(foreign), &looked_up), -EMFILE);
    assert_null(looked_up);
    assert_int_equal(dmabufd_last_code(), DMABUFD_CODE_LIMIT);
    assert_non_null(strstr(dmabufd_last_error(), "--max-buffers"));
    /* One of those it holds is not one more. */
    assert_int_equal(dmabufd_lookup(d, dmabufd_buffer_fd(buffers[0]), &buffers[4]), 0);
    assert_int_equal(dmabufd_free(buffers[4]), 0);
    assert_refused(d, 4096, EMFILE, DMABUFD_CODE_LIMIT, "--max-buffers");
    check_works(other);
    assert_int_equal(dmabufd_free(buffers[0]), 0);
    assert_int_equal(dmabufd_lookup(d, dmabufd_buffer_fd(foreign), &looked_up), 0);
    assert_refused(d, 4096, EMFILE, DMABUFD_CODE_LIMIT, "--max-buffers");
    assert_int_equal(dmabufd_free(looked_up), 0);
    /* What failed on the way is not counted for ever. */
    for (int i = 0; i < 10; i++)
        assert_refused(d, 0, EINVAL, DMABUFD_CODE_INVALID, "size is 0");
    assert_int_equal(dmabufd_alloc(d, 4096, 4096, &buffers[0]), 0);
    assert_refused(d, 4096, EMFILE, DMABUFD_CODE_LIMIT, "--max-buffers");
    dmabufd_disconnect(d);
    dmabufd_disconnect(other);
    daemon_stop(&daemon_of_test);
}

struct hoarder {
    int stream;
    unsigned int connections;
    unsigned int expected; /* that it gets, all connections together */
};

/* Takes all buffers it can get, holds them until told to go. */
static int hoard(void *data)
{
    const struct hoarder *hoarder = data;
    unsigned int count = 0;
    char go;

    for (unsigned int i = 0; i < hoarder->connections; i++) {
        dmabufd_buffer *buffer;
        dmabufd *d;

        CHECK(dmabufd_connect(&d, NULL) == 0);
        while (dmabufd_alloc(d, 4096, 4096, &buffer) == 0)
            count++;
        CHECK(dmabufd_last_code() == DMABUFD_CODE_LIMIT);
        CHECK(dmabufd_alloc(d, 4096, 4096, &buffer) == -EMFILE);
    }
    CHECK(count == hoarder->expected && strstr(dmabufd_last_error(), "LimitNOFILE"));
    CHECK(write_all(hoarder->stream, "h", 1) && read_all(hoarder->stream, &go, 1));
    return 0;
}

/* Of 512 descriptors three eighths are for buffers, and one user can have half of those. */
static void buffers_of_one_user(void **state)
{
    static const char *const args[] = { "--max-buffers=40", NULL };
    struct hoarder hoarder = { .connections = 4, .expected = 512 / 8 * 3 / 2 };
    int pair[2];
    char hoards;
    pid_t pid;

    (void)state;
    daemon_of_test.descriptors = 512;
    start(args);
    daemon_of_test.descriptors = 0;
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    hoarder.stream = pair[1];
    pid = spawn_as(TEST_CLIENT_UID, hoard, &hoarder);
    close(pair[1]);
    assert_true(read_all(pair[0], &hoards, 1));
    if (getuid() == 0)
        run_as(TEST_OTHER_UID, allocates, NULL);
    assert_true(write_all(pair[0], "g", 1));
    assert_int_equal(join(pid), 0);
    close(pair[0]);
    run_as(TEST_CLIENT_UID, allocates, NULL);
    daemon_stop(&daemon_of_test);
}

/* One connection stays, many others ask and are gone before they have an answer. */
static int ask_and_leave(void *data)
{
    int stays = raw_greeted();
    struct raw_reply reply;

    (void)data;
    CHECK(stays >= 0);
    for (int i = 0; i < 60; i++) {
        int sock = raw_greeted();

        CHECK(sock >= 0);
        for (uint64_t id = 2; id < 6; id++)
            CHECK(raw_send_allocate(sock, id, 4096) == 0);
        close(sock);
    }
    CHECK(raw_send_allocate(stays, 2, 4096) == 0 && raw_receive(stays, &reply) == 1);
    CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_BUFFER);
    close(stays);
    return 0;
}

/* 240 requests came to nothing, where one user can have 48 buffers and all together 96. */
static void buffers_of_those_who_left(void **state)
{
    static const char *const args[] = { "--fake=delay=5", "--max-clients-per-user=21", NULL };
    struct leftovers before;

    (void)state;
    daemon_of_test.descriptors = 256;
    start(args);
    daemon_of_test.descriptors = 0;
    leftovers_read(&daemon_of_test, &before);
    run_as(TEST_CLIENT_UID, ask_and_leave, NULL);
    leftovers_settle(&daemon_of_test, &before);
    run_as(TEST_OTHER_UID, allocates, NULL);
    daemon_stop(&daemon_of_test);
}

/* ---- memory ---- */

static void memory_limit(void **state)
{
    static const char *const args[] = { "--memory-limit=16M", "--memory-limit-per-user=16M", NULL };
    dmabufd_buffer *first, *second, *third;
    dmabufd *d, *other;

    (void)state;
    start(args);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_connect(&other, NULL), 0);
    assert_refused(d, 16 * MIB + 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "--memory-limit");
    assert_int_equal(dmabufd_alloc(d, 8 * MIB, 4096, &first), 0);
    assert_int_equal(dmabufd_alloc(other, 8 * MIB, 4096, &second), 0);
    assert_refused(d, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "--memory-limit");
    assert_refused(other, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "16 MiB");
    for (int i = 0; i < 20; i++) {
        assert_int_equal(dmabufd_free(first), 0);
        assert_refused(other, 8 * MIB + 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "8 MiB");
        assert_int_equal(dmabufd_alloc(other, 8 * MIB - 4096, 4096, &first), 0);
        assert_int_equal(dmabufd_alloc(d, 1, 4096, &third), 0);
        assert_refused(d, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "0 MiB");
        assert_int_equal(dmabufd_free(third), 0);
        assert_int_equal(dmabufd_free(first), 0);
        assert_int_equal(dmabufd_alloc(d, 8 * MIB, 4096, &first), 0);
    }
    assert_int_equal(dmabufd_alloc(d, 4096, 0, &third), -ENOMEM);
    dmabufd_disconnect(d);
    dmabufd_disconnect(other);
    daemon_stop(&daemon_of_test);
}

static void memory_reserve(void **state)
{
    static const char *const args[] = { "--memory-reserve=1024T", NULL };
    struct leftovers before;
    dmabufd *d;

    (void)state;
    start(args);
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_refused(d, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "--memory-reserve");
    assert_refused(d, 4 * MIB, ENOMEM, DMABUFD_CODE_NO_MEMORY, "1073741824 MiB");
    dmabufd_disconnect(d);
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(max_clients, clean_up),
        cmocka_unit_test_teardown(max_clients_per_user, clean_up),
        cmocka_unit_test_teardown(one_user_cannot_keep_others_out, clean_up),
        cmocka_unit_test_teardown(without_hello, clean_up),
        cmocka_unit_test_teardown(max_buffers, clean_up),
        cmocka_unit_test_teardown(buffers_of_one_user, clean_up),
        cmocka_unit_test_teardown(buffers_of_those_who_left, clean_up),
        cmocka_unit_test_teardown(memory_limit, clean_up),
        cmocka_unit_test_teardown(memory_reserve, clean_up),
    };

    return cmocka_run_group_tests_name("limits", tests, NULL, NULL);
}
