/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/channel.h when too many descriptors of our user are in flight (ETOOMANYREFS, unix(7)): the
 * connection does not end, and goes on when there is room again, of which no event tells.
 *
 * A program of its own: it gives up privilege, which the kernel would not limit.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <time.h>

#include "common/cleanup.h"
#include "daemon/channel.h"
#include "tests/unit/support.h"

#define NOBODY       65534
#define MESSAGES_MAX 2000

static unsigned int closed, drained;

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    (void)data;
    (void)bytes;
    (void)size;
    (void)fds;
    return 0;
}

static void on_drained(void *data)
{
    (void)data;
    drained++;
}

static void on_closed(void *data, int error)
{
    (void)data;
    (void)error;
    closed++;
}

static const struct channel_ops ops = { on_message, on_drained, on_closed };

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
}

/* Sends until the kernel does not let this user have more in flight. Return: how many messages. */
static size_t fill(int sock, int fd)
{
    struct wire_fds fds = { .fd = { fd, fd, fd, fd }, .count = PROTO_FDS_MAX };
    uint64_t saved = support_leave_room(0);
    size_t count = 0;
    int r = 0;

    while (r == 0 && count < MESSAGES_MAX) {
        r = wire_send(sock, "x", 1, &fds);
        count += r == 0;
    }
    support_restore_room(saved);
    assert_int_equal(r, -ETOOMANYREFS);
    return count;
}

static size_t drain(int sock)
{
    size_t count = 0;

    for (;;) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
        char byte;

        if (wire_recv(sock, &byte, 1, &fds) != 1)
            return count;
        count++;
    }
}

/* Until all is sent, but not longer than @ms. */
static void run_loop(struct event_base *base, struct channel *channel, uint64_t ms)
{
    const struct timeval slice = { .tv_usec = 10000 };
    uint64_t until = support_now_ms() + ms;

    while (channel_queued(channel) > 0 && support_now_ms() < until) {
        assert_int_equal(event_base_loopexit(base, &slice), 0);
        assert_int_equal(event_base_dispatch(base), 0);
    }
}

static uint64_t cpu_ms(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (uint64_t)used.tv_sec * 1000 + (uint64_t)used.tv_nsec / 1000000;
}

/* Of the channel's own peer nothing is unread: only looking again can help. */
static void goes_on_when_there_is_room(void **state)
{
    struct event_base *base;
    CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    struct wire_fds fds = WIRE_FDS_NONE;
    struct channel *channel;
    int pair[2], other[2], r;
    uint64_t saved, cpu;
    size_t filled;

    (void)state;
    if (geteuid() == 0 && (setgroups(0, NULL) < 0 || setgid(NOBODY) < 0 || setuid(NOBODY) < 0))
        skip();
    /* For the leak sanitizer, which looks at its own process. */
    prctl(PR_SET_DUMPABLE, 1);
    base = event_base_new();
    assert_non_null(base);
    make_pair(pair);
    make_pair(other);
    assert_int_equal(channel_new(base, pair[0], WIRE_NOBODY, 64, false, &ops, NULL, &channel), 0);
    assert_int_equal(event_base_loop(base, EVLOOP_NONBLOCK), 0);
    filled = fill(other[0], null);
    assert_int_equal(wire_fds_put(&fds, fcntl(null, F_DUPFD_CLOEXEC, 0)), 0);
    saved = support_leave_room(0);
    r = channel_send(channel, "x", 1, &fds);
    cpu = cpu_ms();
    run_loop(base, channel, 200);
    cpu = cpu_ms() - cpu;
    support_restore_room(saved);
    assert_int_equal(r, 0);
    assert_int_equal(channel_queued(channel), 1);
    assert_int_equal(drained, 0);
    /* It waited. Looking again all the time would be 200. */
    assert_true(cpu < 100);
    assert_int_equal(drain(other[1]), filled);
    saved = support_leave_room(0);
    run_loop(base, channel, 5000);
    support_restore_room(saved);
    assert_int_equal(channel_queued(channel), 0);
    assert_int_equal(drained, 1);
    assert_int_equal(closed, 0);
    assert_int_equal(drain(pair[1]), 1);
    channel_free(channel);
    fd_close(&pair[1]);
    fd_close(&other[0]);
    fd_close(&other[1]);
    event_base_free(base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on_when_there_is_room),
    };

    return cmocka_run_group_tests_name("channel in flight", tests, NULL, NULL);
}
