/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slow clients: they ask and do not read. What waits for them is bounded, nobody else waits with
 * them, and when they read at last they find every reply, once, with its descriptors.
 *
 * Needs the fake backend's script for long scatter lists. Nothing here measures time.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

#define FIRST_ID 1000U
#define SENT_MAX 10000U
/* Replies with descriptors that the broker keeps for a connection (SESSION_FDS_MAX), and with the
 * one that is on its way. */
#define KEPT 4U
#define MADE (KEPT + 1U)

static struct daemon daemon_of_test;
static struct bystander bystander;

static int start(const char *const *args, unsigned int descriptors)
{
    daemon_of_test.descriptors = descriptors;
    daemon_start_with(&daemon_of_test, "fake", args);
    bystander_start(&bystander, &daemon_of_test);
    bystander_before(&bystander);
    return 0;
}

static int start_plain(void **state)
{
    static const char *const args[] = { "--fake=layout=run:4K", NULL };

    (void)state;
    return start(args, 0);
}

static int start_with_few_descriptors(void **state)
{
    static const char *const args[] = { "--fake=layout=run:4K", "--max-clients-per-user=21", NULL };

    (void)state;
    return start(args, 256);
}

static int stop(void **state)
{
    (void)state;
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
    return 0;
}

/* ---- what is asked for without reading ---- */

static void ask(int sock, unsigned int count, uint64_t size)
{
    assert_true(sock >= 0);
    for (unsigned int i = 0; i < count; i++)
        assert_int_equal(raw_send_allocate(sock, FIRST_ID + i, size), 0);
}

/* The daemon has done all that it is going to do before somebody reads. */
static bool is_idle(void *data)
{
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(bystander.d, &status), 0);
    return status.jobs == 0 && status.buffers >= *(uint32_t *)data;
}

static uint32_t buffers_now(void)
{
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(bystander.d, &status), 0);
    return status.buffers;
}

/* Beyond the bystander's own. */
static void wait_for_buffers(uint32_t count)
{
    uint32_t all = count + 1;

    wait_until(is_idle, &all);
}

/* ---- reading at last ---- */

struct seen {
    bool request[SENT_MAX];
    uint64_t buffer[SENT_MAX];
    ino_t inode[SENT_MAX];
    unsigned int count;
};

static int unread_bytes(int sock)
{
    struct pollfd poll_fd = { .fd = sock, .events = POLLIN };
    int bytes;

    assert_int_equal(poll(&poll_fd, 1, 20000), 1);
    assert_int_equal(ioctl(sock, FIONREAD, &bytes), 0);
    return bytes;
}

static void check_buffer_reply(struct raw_reply *reply, struct seen *seen, size_t fd_count)
{
    const Dmabufd__Proto__BufferReply *buffer = reply->message->buffer;
    struct stat st;

    assert_int_equal(reply->message->body_case, DMABUFD__PROTO__REPLY__BODY_BUFFER);
    assert_int_equal(reply->fds.count, fd_count);
    for (size_t i = 0; i < fd_count; i++) {
        assert_int_equal(fstat(reply->fds.fd[i], &st), 0);
        assert_int_equal(st.st_size, i == 0 ? buffer->size : buffer->span_count * 24);
    }
    assert_int_equal(fstat(reply->fds.fd[0], &st), 0);
    for (unsigned int i = 0; i < seen->count; i++) {
        assert_true(seen->buffer[i] != buffer->buffer);
        assert_true(seen->inode[i] != st.st_ino);
    }
    seen->buffer[seen->count] = buffer->buffer;
    seen->inode[seen->count] = st.st_ino;
    wire_fds_close(&reply->fds);
}

/* @count replies to the requests from FIRST_ID on, each once; one of them unread at any time. */
static void receive_buffers(int sock, unsigned int count, size_t fd_count)
{
    struct seen *seen = calloc(1, sizeof(*seen));

    assert_non_null(seen);
    for (; seen->count < count; seen->count++) {
        int unread = unread_bytes(sock);
        struct raw_reply reply;
        uint64_t which;

        assert_int_equal(raw_receive(sock, &reply), 1);
        assert_int_equal(unread, reply.size);
        which = reply.message->id - FIRST_ID;
        assert_true(which < count && !seen->request[which]);
        seen->request[which] = true;
        check_buffer_reply(&reply, seen, fd_count);
    }
    free(seen);
    assert_true(raw_works(sock, 1));
}

/* @fd_count in each reply: 33 spans are one too many for the message, a table follows. */
static void check_unread(unsigned int count, size_t fd_count)
{
    int sock = raw_greeted();

    ask(sock, count, fd_count == 2 ? UINT64_C(33) * 4096 : 4096);
    wait_for_buffers(KEPT);
    for (int i = 0; i < 20; i++)
        bystander_check_alloc(&bystander);
    wait_for_buffers(KEPT);
    assert_in_range(buffers_now(), 1 + KEPT, 1 + MADE);
    assert_true(count_fds(bystander.broker) <= bystander.broker_fds + 1 + KEPT * fd_count);
    receive_buffers(sock, count, fd_count);
    assert_int_equal(buffers_now(), 1 + count);
    close(sock);
    bystander_after(&bystander);
}

static void unread_descriptors(void **state)
{
    (void)state;
    check_unread(64, 1);
}

static void unread_tables(void **state)
{
    (void)state;
    check_unread(64, 2);
}

static void more_than_may_be_in_flight(void **state)
{
    (void)state;
    check_unread(150, 1);
}

struct sleeper {
    int stream;
    unsigned int connections;
};

static int ask_and_sleep(void *data)
{
    const struct sleeper *sleeper = data;

    for (unsigned int i = 0; i < sleeper->connections; i++) {
        int sock = raw_greeted();

        CHECK(sock >= 0);
        for (unsigned int n = 0; n < 64; n++)
            CHECK(raw_send_allocate(sock, FIRST_ID + n, UINT64_C(33) * 4096) == 0);
    }
    CHECK(write_all(sleeper->stream, "a", 1));
    pause();
    return 1;
}

static pid_t start_sleeper(unsigned int connections)
{
    struct sleeper sleeper = { .connections = connections };
    int pair[2];
    char asked;
    pid_t pid;

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    sleeper.stream = pair[1];
    pid = spawn_as(TEST_CLIENT_UID, ask_and_sleep, &sleeper);
    close(pair[1]);
    assert_true(read_all(pair[0], &asked, 1));
    close(pair[0]);
    return pid;
}

static void end_sleeper(pid_t pid)
{
    kill(pid, SIGKILL);
    assert_int_equal(join(pid), 128 + SIGKILL);
    bystander_after(&bystander);
    bystander_check_alloc(&bystander);
}

static void killed_with_unread_replies(void **state)
{
    pid_t pid = start_sleeper(1);

    (void)state;
    wait_for_buffers(KEPT);
    bystander_check(&bystander);
    end_sleeper(pid);
}

/* Together they have all the descriptors that one user can have. */
static void many_of_them(void **state)
{
    pid_t pid = start_sleeper(18);

    (void)state;
    wait_for_buffers(256 / 8 * 3 / 2 - (getuid() != 0));
    bystander_check(&bystander);
    /* Of another user, that is. */
    if (getuid() == 0)
        bystander_check_alloc(&bystander);
    end_sleeper(pid);
}

/* ---- replies without descriptors ---- */

/* Until nothing more is taken, also not after the daemon has had time to. */
static unsigned int ask_until_full(int sock)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    unsigned int sent = 0, in_vain = 0;

    while (sent < SENT_MAX && in_vain < 10) {
        size_t size = raw_status(bytes, FIRST_ID + sent);

        if (send(sock, bytes, size, MSG_DONTWAIT | MSG_NOSIGNAL) >= 0) {
            sent++;
            in_vain = 0;
            continue;
        }
        assert_int_equal(errno, EAGAIN);
        in_vain++;
        bystander_check_alloc(&bystander);
    }
    return sent;
}

static void everything_full(void **state)
{
    static bool seen[SENT_MAX];
    int sock = raw_greeted();
    unsigned int sent;

    (void)state;
    assert_true(sock >= 0);
    sent = ask_until_full(sock);
    bystander_check(&bystander);
    bystander_check_alloc(&bystander);
    assert_in_range(sent, 65, SENT_MAX - 1);
    memset(seen, 0, sizeof(seen));
    for (unsigned int i = 0; i < sent; i++) {
        struct raw_reply reply;
        uint64_t which;

        assert_int_equal(raw_receive(sock, &reply), 1);
        assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_STATUS);
        which = reply.message->id - FIRST_ID;
        assert_true(which < sent && !seen[which]);
        seen[which] = true;
    }
    assert_true(raw_works(sock, 1));
    close(sock);
    bystander_after(&bystander);
}

/* Descriptors and plain replies in turns: the plain ones wait behind, none is lost. */
static void mixed(void **state)
{
    unsigned int buffers = 0, others = 0;
    int sock = raw_greeted();

    (void)state;
    assert_true(sock >= 0);
    for (unsigned int i = 0; i < 100; i++) {
        assert_int_equal(i % 2 ? raw_send_status(sock, FIRST_ID + i)
                               : raw_send_allocate(sock, FIRST_ID + i, 4096),
                         0);
    }
    wait_for_buffers(KEPT);
    bystander_check(&bystander);
    for (unsigned int i = 0; i < 100; i++) {
        struct raw_reply reply;
        bool buffer;

        assert_int_equal(raw_receive(sock, &reply), 1);
        buffer = reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_BUFFER;
        assert_int_equal(reply.fds.count, buffer);
        assert_int_equal(reply.message->id % 2, !buffer);
        buffers += buffer;
        others += reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_STATUS;
        wire_fds_close(&reply.fds);
    }
    assert_int_equal(buffers, 50);
    assert_int_equal(others, 50);
    close(sock);
    bystander_after(&bystander);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(unread_descriptors, start_plain, stop),
        cmocka_unit_test_setup_teardown(unread_tables, start_plain, stop),
        cmocka_unit_test_setup_teardown(more_than_may_be_in_flight, start_plain, stop),
        cmocka_unit_test_setup_teardown(killed_with_unread_replies, start_plain, stop),
        cmocka_unit_test_setup_teardown(many_of_them, start_with_few_descriptors, stop),
        cmocka_unit_test_setup_teardown(everything_full, start_plain, stop),
        cmocka_unit_test_setup_teardown(mixed, start_plain, stop),
    };

    return cmocka_run_group_tests_name("slow", tests, NULL, NULL);
}
