/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proto/wire.h: datagrams and descriptors between two ends of a socket pair, and what a hostile or
 * a starved end does to the other. Every test ends with as many descriptors as it began with.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "proto/wire.h"
#include "tests/unit/support.h"

/** Two ends of a connection, and how many descriptors there were before. */
struct pair {
    int a;
    int b;
    size_t fds;
};

static int setup(void **state)
{
    static struct pair pair;
    int sock[2];

    pair.fds = support_fds();
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sock) < 0)
        return -1;
    pair.a = sock[0];
    pair.b = sock[1];
    *state = &pair;
    return 0;
}

static int teardown(void **state)
{
    struct pair *pair = *state;

    fd_close(&pair->a);
    fd_close(&pair->b);
    /* Nothing leaked, whatever came. */
    return support_fds() == pair->fds ? 0 : -1;
}

static int some_file(void)
{
    int fd = open("/dev/null", O_RDWR);

    assert_true(fd >= 0);
    return fd;
}

static void assert_same_file(int fd, int other)
{
    struct stat a, b;

    assert_int_equal(fstat(fd, &a), 0);
    assert_int_equal(fstat(other, &b), 0);
    assert_int_equal(a.st_ino, b.st_ino);
    assert_int_equal(a.st_dev, b.st_dev);
}

/* More descriptors in a message than wire_send() would put there. */
static void send_raw(int sock, const void *data, size_t size, int fd, size_t count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * 253)];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = CMSG_SPACE(sizeof(int) * count) };

    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(sizeof(int) * count);
    for (size_t i = 0; i < count; i++)
        memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(fd));
    assert_int_equal(sendmsg(sock, &msg, MSG_NOSIGNAL), (ssize_t)size);
}

static void bytes_round_trip(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    unsigned char out[PROTO_REPLY_MAX], in[PROTO_REPLY_MAX + 1];
    uint64_t random = 1;

    support_fill(&random, out, sizeof(out));
    assert_int_equal(wire_send(pair->a, out, 1, NULL), 0);
    assert_int_equal(wire_send(pair->a, out, sizeof(out), NULL), 0);
    /* One at a time, not run together. */
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 1);
    assert_int_equal(in[0], out[0]);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), sizeof(out));
    assert_memory_equal(in, out, sizeof(out));
    assert_int_equal(fds.count, 0);
    /* The other way, exactly as long as the room. */
    assert_int_equal(wire_send(pair->b, out, 10, NULL), 0);
    assert_int_equal(wire_recv(pair->a, in, 10, &fds), 10);
}

static void descriptors_round_trip(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

    for (size_t count = 1; count <= PROTO_FDS_MAX; count++) {
        struct wire_fds out = { .count = count };
        char in[8];

        for (size_t i = 0; i < count; i++)
            out.fd[i] = i == 1 ? pair->a : null;
        assert_int_equal(wire_send(pair->a, "abc", 3, &out), 0);
        /* Sending takes nothing away. */
        assert_int_equal(out.count, count);
        assert_int_equal(out.fd[0], null);
        assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 3);
        assert_memory_equal(in, "abc", 3);
        assert_int_equal(fds.count, count);
        for (size_t i = 0; i < count; i++) {
            assert_same_file(fds.fd[i], out.fd[i]);
            assert_int_not_equal(fds.fd[i], out.fd[i]);
            assert_int_equal(fcntl(fds.fd[i], F_GETFD), FD_CLOEXEC);
        }
        wire_fds_close(&fds);
        assert_int_equal(fds.count, 0);
    }
}

static void take_hands_over(void **state)
{
    struct wire_fds fds = WIRE_FDS_NONE;
    int a = some_file(), b = some_file(), taken;

    (void)state;
    assert_int_equal(wire_fds_take(&fds, 0), -1);
    assert_int_equal(wire_fds_put(&fds, a), 0);
    assert_int_equal(wire_fds_put(&fds, b), 0);
    taken = wire_fds_take(&fds, 0);
    assert_int_equal(taken, a);
    assert_int_equal(wire_fds_take(&fds, 0), -1);
    assert_int_equal(wire_fds_take(&fds, 2), -1);
    assert_int_equal(fds.count, 2);
    wire_fds_close(&fds);
    wire_fds_close(&fds);
    assert_int_equal(fds.count, 0);
    assert_int_equal(fcntl(b, F_GETFD), -1);
    assert_int_equal(errno, EBADF);
    /* What was taken lives. */
    assert_int_equal(fcntl(taken, F_GETFD), 0);
    fd_close(&taken);
}

static void put_beyond_the_limit_closes(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    int extra;

    (void)state;
    for (size_t i = 0; i < PROTO_FDS_MAX; i++)
        assert_int_equal(wire_fds_put(&fds, some_file()), 0);
    extra = some_file();
    assert_int_equal(wire_fds_put(&fds, extra), -EMFILE);
    assert_int_equal(fcntl(extra, F_GETFD), -1);
    assert_int_equal(fds.count, PROTO_FDS_MAX);
}

static void too_many_descriptors(void **state)
{
    static const size_t counts[] = { PROTO_FDS_MAX + 1, 17, 253 };
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    struct wire_fds fds = WIRE_FDS_NONE;
    size_t before = support_fds();
    char in[8];

    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        send_raw(pair->a, "abc", 3, null, counts[i]);
        assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), -EMSGSIZE);
        assert_int_equal(fds.count, 0);
        assert_int_equal(support_fds(), before);
    }
    /* The next message is whole. */
    assert_int_equal(wire_send(pair->a, "d", 1, NULL), 0);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 1);
}

static void too_long_with_descriptors(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    struct wire_fds out = { .fd = { null, null }, .count = 2 };
    struct wire_fds fds = WIRE_FDS_NONE;
    size_t before = support_fds();
    char in[4];

    assert_int_equal(wire_send(pair->a, "abcde", 5, &out), 0);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), -EMSGSIZE);
    assert_int_equal(fds.count, 0);
    assert_int_equal(support_fds(), before);
    assert_int_equal(wire_send(pair->a, "abcde", 5, &out), 0);
    assert_int_equal(wire_recv_lossy(pair->b, in, sizeof(in), &fds), -EMSGSIZE);
    assert_int_equal(fds.count, 0);
    assert_int_equal(support_fds(), before);
}

/* Three descriptors arrive where there is room for none, one, two. */
static void out_of_descriptors(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    struct wire_fds out = { .fd = { null, null, null }, .count = 3 };
    size_t before = support_fds();

    for (unsigned int room = 0; room < 3; room++) {
        struct wire_fds fds = WIRE_FDS_NONE;
        uint64_t saved;
        char in[8];
        ssize_t n;

        assert_int_equal(wire_send(pair->a, "abc", 3, &out), 0);
        saved = support_leave_room(room);
        n = wire_recv(pair->b, in, sizeof(in), &fds);
        support_restore_room(saved);
        assert_int_equal(n, -EMSGSIZE);
        assert_int_equal(fds.count, 0);
        assert_int_equal(support_fds(), before);
    }
}

static void out_of_descriptors_but_lossy(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    struct wire_fds out = { .fd = { null, null, null }, .count = 3 };
    size_t before = support_fds();

    for (unsigned int room = 0; room <= 3; room++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
        uint64_t saved;
        char in[8];
        ssize_t n;

        assert_int_equal(wire_send(pair->a, "abc", 3, &out), 0);
        saved = support_leave_room(room);
        n = wire_recv_lossy(pair->b, in, sizeof(in), &fds);
        support_restore_room(saved);
        assert_int_equal(n, 3);
        assert_memory_equal(in, "abc", 3);
        assert_int_equal(fds.lost, room < 3);
        assert_int_equal(fds.count, room < 3 ? 0 : 3);
        assert_int_equal(support_fds(), before + fds.count);
    }
}

static void end_of_connection(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char in[8];

    assert_int_equal(wire_send(pair->a, "last", 4, NULL), 0);
    fd_close(&pair->a);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 4);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 0);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 0);
}

static void empty_datagram(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FD int null = some_file();
    struct wire_fds fds = WIRE_FDS_NONE;
    size_t before = support_fds();
    uint64_t saved;
    ssize_t n;
    char in[8];

    /* With a descriptor it cannot be the end, and is no message either. */
    send_raw(pair->a, "", 0, null, 1);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), -EBADMSG);
    assert_int_equal(fds.count, 0);
    assert_int_equal(support_fds(), before);
    /* Nor if the descriptor was lost on the way. */
    send_raw(pair->a, "", 0, null, 1);
    saved = support_leave_room(0);
    n = wire_recv(pair->b, in, sizeof(in), &fds);
    support_restore_room(saved);
    assert_true(n == -EBADMSG || n == -EMSGSIZE);
    assert_int_equal(support_fds(), before);
}

static void nothing_to_read(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char in[8];

    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), -EAGAIN);
}

/* SIGPIPE would end this program. */
static void peer_gone(void **state)
{
    struct pair *pair = *state;

    fd_close(&pair->b);
    assert_int_equal(wire_send(pair->a, "abc", 3, NULL), -EPIPE);
}

static void queue_full(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    static char out[PROTO_REPLY_MAX], in[PROTO_REPLY_MAX];
    int r = 0, sent = 0;

    while (r == 0 && sent < 100000) {
        r = wire_send(pair->a, out, sizeof(out), NULL);
        sent += r == 0;
    }
    assert_int_equal(r, -EAGAIN);
    assert_true(sent > 0);
    for (int i = 0; i < sent; i++)
        assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), sizeof(out));
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), -EAGAIN);
    assert_int_equal(wire_send(pair->a, out, sizeof(out), NULL), 0);
}

static void unread_tells_what_was_not_read(void **state)
{
    struct pair *pair = *state;
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char in[8];
    int one;

    assert_int_equal(wire_unread(pair->a), 0);
    assert_int_equal(wire_send(pair->a, "abc", 3, NULL), 0);
    one = wire_unread(pair->a);
    assert_true(one >= 3);
    assert_int_equal(wire_send(pair->a, "abc", 3, NULL), 0);
    assert_true(wire_unread(pair->a) > one);
    assert_int_equal(wire_unread(pair->b), 0);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 3);
    assert_int_equal(wire_unread(pair->a), one);
    assert_int_equal(wire_recv(pair->b, in, sizeof(in), &fds), 3);
    assert_int_equal(wire_unread(pair->a), 0);
}

static void errors_of_the_socket(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char in[8];

    (void)state;
    assert_int_equal(wire_send(-1, "abc", 3, NULL), -EBADF);
    assert_int_equal(wire_recv(-1, in, sizeof(in), &fds), -EBADF);
    assert_int_equal(wire_unread(-1), -EBADF);
}

#define WITH_PAIR(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_PAIR(bytes_round_trip),     WITH_PAIR(descriptors_round_trip),
        WITH_PAIR(take_hands_over),      WITH_PAIR(put_beyond_the_limit_closes),
        WITH_PAIR(too_many_descriptors), WITH_PAIR(too_long_with_descriptors),
        WITH_PAIR(out_of_descriptors),   WITH_PAIR(out_of_descriptors_but_lossy),
        WITH_PAIR(end_of_connection),    WITH_PAIR(empty_datagram),
        WITH_PAIR(nothing_to_read),      WITH_PAIR(peer_gone),
        WITH_PAIR(queue_full),           WITH_PAIR(unread_tells_what_was_not_read),
        WITH_PAIR(errors_of_the_socket),
    };

    return cmocka_run_group_tests_name("wire", tests, NULL, NULL);
}
