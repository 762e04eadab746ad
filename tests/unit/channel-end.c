/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One channel under observation; see channel-end.h. */
#include "tests/unit/channel-end.h"

#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "tests/unit/support.h"

struct end end_a, end_b;
char end_both[2 * END_LOG];
size_t end_both_count;

static struct event_base *base;
static size_t fds_before;

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct end *end = data;

    assert_true(end->messages < END_LOG);
    end->log[end->messages++] = *(const char *)bytes;
    end_both[end_both_count++] = end == &end_a ? 'a' : 'b';
    end->sizes += size;
    end->fds += fds->count;
    if (end->messages != end->at)
        return 0;
    if (end->act == END_TAKE_FD_OUT)
        end->taken = wire_fds_take(fds, 0);
    if (end->act == END_PAUSE)
        channel_pause(end->channel, true);
    if (end->act == END_ANSWER)
        channel_send(end->channel, "answer", 6, fds);
    if (end->act == END_FREE)
        end->channel = channel_free(end->channel);
    return end->act == END_REFUSE ? -EBADMSG : 0;
}

static void on_drained(void *data)
{
    struct end *end = data;

    end->drained++;
    if (end->free_in_drained)
        end->channel = channel_free(end->channel);
}

static void on_closed(void *data, int error)
{
    struct end *end = data;

    end->closed++;
    end->error = error;
    if (end->free_in_closed)
        end->channel = channel_free(end->channel);
}

static const struct channel_ops ops = { on_message, on_drained, on_closed };

void end_open(struct end *end, bool one_unread)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    *end = (struct end){ .peer = pair[1], .taken = -1 };
    assert_int_equal(
        channel_new(base, pair[0], WIRE_NOBODY, END_MAX, one_unread, &ops, end, &end->channel), 0);
}

static int setup_with(bool one_unread)
{
    fds_before = support_fds();
    end_both_count = 0;
    base = event_base_new();
    if (!base)
        return -1;
    end_open(&end_a, one_unread);
    end_b = (struct end){ .peer = -1, .taken = -1 };
    return 0;
}

int end_setup(void **state)
{
    (void)state;
    return setup_with(false);
}

int end_setup_one_unread(void **state)
{
    (void)state;
    return setup_with(true);
}

int end_teardown(void **state)
{
    (void)state;
    end_a.channel = channel_free(end_a.channel);
    end_b.channel = channel_free(end_b.channel);
    fd_close(&end_a.peer);
    fd_close(&end_b.peer);
    fd_close(&end_a.taken);
    event_base_free(base);
    return support_fds() == fds_before ? 0 : -1;
}

void end_pump(void)
{
    for (int i = 0; i < 20; i++)
        assert_true(event_base_loop(base, EVLOOP_NONBLOCK) >= 0);
}

static struct wire_fds one_fd(void)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    assert_int_equal(wire_fds_put(&fds, open("/dev/null", O_RDWR | O_CLOEXEC)), 0);
    return fds;
}

void end_queue(char letter, bool with_fd)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    if (with_fd)
        fds = one_fd();
    assert_int_equal(channel_send(end_a.channel, &letter, 1, &fds), 0);
    assert_int_equal(fds.count, 0);
}

char end_peer_reads(bool with_fd)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char bytes[END_MAX];
    ssize_t n = wire_recv(end_a.peer, bytes, sizeof(bytes), &fds);

    if (n == -EAGAIN)
        return '-';
    assert_true(n > 0);
    assert_int_equal(fds.count, with_fd);
    return bytes[0];
}

void end_peer_sends(struct end *end, const char *letters, bool with_fd)
{
    for (size_t i = 0; letters[i]; i++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

        if (with_fd)
            fds = one_fd();
        assert_int_equal(wire_send(end->peer, &letters[i], 1, &fds), 0);
    }
}
