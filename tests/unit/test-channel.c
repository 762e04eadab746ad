/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/channel.h over a socket pair whose other end is the test's: order, holding back, pausing,
 * how a connection ends, and freeing at any moment.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "daemon/channel.h"
#include "tests/unit/support.h"

#define MAX 64 /* longest datagram accepted */
#define LOG 256

/** A channel, its other end, and what its owner was told. */
struct end {
    struct channel *channel;
    int peer;
    /* What the owner does in message(), when the message with this number (from 1) comes. */
    size_t at;
    enum { GO_ON, TAKE_FD_OUT, PAUSE, FREE, REFUSE, ANSWER } act;
    bool free_in_drained;
    bool free_in_closed;
    /* What it was told. */
    char log[LOG]; /* first byte of each message */
    size_t messages;
    size_t sizes;
    size_t fds;
    int taken;
    unsigned int drained;
    unsigned int closed;
    int error;
};

static struct event_base *base;
static struct end a, b;
static char both[2 * LOG]; /* which end got a message, in order */
static size_t both_count;
static size_t fds_before;

/* What SIOCOUTQ tells instead of the truth, or -1; the linker sends ioctl() here (--wrap). */
static int unread_told = -1;

int __real_ioctl(int fd, unsigned long request, int *argument);
int __wrap_ioctl(int fd, unsigned long request, int *argument);

int __wrap_ioctl(int fd, unsigned long request, int *argument)
{
    if (request != SIOCOUTQ || unread_told < 0)
        return __real_ioctl(fd, request, argument);
    *argument = unread_told;
    return 0;
}

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct end *end = data;

    assert_true(end->messages < LOG);
    end->log[end->messages++] = *(const char *)bytes;
    both[both_count++] = end == &a ? 'a' : 'b';
    end->sizes += size;
    end->fds += fds->count;
    if (end->messages != end->at)
        return 0;
    if (end->act == TAKE_FD_OUT)
        end->taken = wire_fds_take(fds, 0);
    if (end->act == PAUSE)
        channel_pause(end->channel, true);
    if (end->act == ANSWER)
        channel_send(end->channel, "answer", 6, fds);
    if (end->act == FREE)
        end->channel = channel_free(end->channel);
    return end->act == REFUSE ? -EBADMSG : 0;
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

static void open_end(struct end *end, bool one_unread)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
    *end = (struct end){ .peer = pair[1], .taken = -1 };
    assert_int_equal(channel_new(base, pair[0], MAX, one_unread, &ops, end, &end->channel), 0);
}

static int setup_with(bool one_unread)
{
    fds_before = support_fds();
    unread_told = -1;
    both_count = 0;
    base = event_base_new();
    if (!base)
        return -1;
    open_end(&a, one_unread);
    b = (struct end){ .peer = -1, .taken = -1 };
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return setup_with(false);
}

static int setup_one_unread(void **state)
{
    (void)state;
    return setup_with(true);
}

static int teardown(void **state)
{
    (void)state;
    a.channel = channel_free(a.channel);
    b.channel = channel_free(b.channel);
    fd_close(&a.peer);
    fd_close(&b.peer);
    fd_close(&a.taken);
    event_base_free(base);
    return support_fds() == fds_before ? 0 : -1;
}

static void pump(void)
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

/* Queues a message of one letter. */
static void queue(char letter, bool with_fd)
{
    struct wire_fds fds = WIRE_FDS_NONE;

    if (with_fd)
        fds = one_fd();
    assert_int_equal(channel_send(a.channel, &letter, 1, &fds), 0);
    assert_int_equal(fds.count, 0);
}

/* What the peer reads next: the letter, or '-' for nothing there. @with_fd is checked. */
static char peer_reads(bool with_fd)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char bytes[MAX];
    ssize_t n = wire_recv(a.peer, bytes, sizeof(bytes), &fds);

    if (n == -EAGAIN)
        return '-';
    assert_true(n > 0);
    assert_int_equal(fds.count, with_fd);
    return bytes[0];
}

static void peer_sends(struct end *end, const char *letters, bool with_fd)
{
    for (size_t i = 0; letters[i]; i++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

        if (with_fd)
            fds = one_fd();
        assert_int_equal(wire_send(end->peer, &letters[i], 1, &fds), 0);
    }
}

static void receives_in_order(void **state)
{
    (void)state;
    a.at = 3;
    a.act = TAKE_FD_OUT;
    peer_sends(&a, "xy", false);
    peer_sends(&a, "zw", true);
    assert_int_equal(a.messages, 0);
    pump();
    assert_int_equal(a.messages, 4);
    assert_memory_equal(a.log, "xyzw", 4);
    assert_int_equal(a.fds, 2);
    /* The one that was taken lives, the other was closed: channel, peer, base and it. */
    assert_true(fcntl(a.taken, F_GETFD) >= 0);
    assert_int_equal(a.closed, 0);
    assert_int_equal(a.drained, 0);
}

static void longest_message(void **state)
{
    static const char bytes[MAX + 1] = "m";

    (void)state;
    assert_int_equal(wire_send(a.peer, bytes, MAX, NULL), 0);
    pump();
    assert_int_equal(a.messages, 1);
    assert_int_equal(a.sizes, MAX);
    assert_int_equal(wire_send(a.peer, bytes, MAX + 1, NULL), 0);
    pump();
    assert_int_equal(a.messages, 1);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, -EMSGSIZE);
}

static void sends_at_once(void **state)
{
    (void)state;
    queue('a', false);
    queue('b', true);
    queue('c', true);
    queue('d', false);
    assert_int_equal(channel_queued(a.channel), 0);
    assert_int_equal(peer_reads(false), 'a');
    assert_int_equal(peer_reads(true), 'b');
    assert_int_equal(peer_reads(true), 'c');
    assert_int_equal(peer_reads(false), 'd');
    assert_int_equal(peer_reads(false), '-');
    pump();
    /* Nothing had to wait, so nothing was drained. */
    assert_int_equal(a.drained, 0);
}

static void queues_in_order(void **state)
{
    size_t sent = 0, read = 0;
    char letter;

    (void)state;
    while (channel_queued(a.channel) < 50) {
        queue((char)('a' + sent % 26), sent % 3 == 0);
        sent++;
        assert_true(sent < 100000);
    }
    while ((letter = peer_reads(read % 3 == 0)) != '-') {
        assert_int_equal(letter, 'a' + read % 26);
        read++;
        pump();
    }
    assert_int_equal(read, sent);
    assert_int_equal(channel_queued(a.channel), 0);
    assert_true(a.drained > 0);
}

/* Held back until the peer has read everything, and then sent without anybody's doing. */
static void one_unread_holds_back(void **state)
{
    (void)state;
    queue('a', true);
    queue('b', true);
    queue('c', false);
    queue('d', true);
    pump();
    assert_int_equal(channel_queued(a.channel), 3);
    assert_int_equal(peer_reads(true), 'a');
    assert_int_equal(peer_reads(true), '-');
    assert_int_equal(a.drained, 0);
    pump();
    /* b may go, c follows as it carries nothing, d waits for both. */
    assert_int_equal(channel_queued(a.channel), 1);
    assert_int_equal(a.drained, 1);
    assert_int_equal(peer_reads(true), 'b');
    pump();
    assert_int_equal(channel_queued(a.channel), 1);
    assert_int_equal(peer_reads(false), 'c');
    assert_int_equal(peer_reads(true), '-');
    pump();
    assert_int_equal(channel_queued(a.channel), 0);
    assert_int_equal(peer_reads(true), 'd');
    assert_int_equal(a.closed, 0);
}

static void one_unread_lets_plain_ones_pass(void **state)
{
    (void)state;
    queue('a', false);
    queue('b', false);
    assert_int_equal(channel_queued(a.channel), 0);
    queue('c', true);
    queue('d', false);
    /* Order is kept: what follows one that waits, waits. */
    assert_int_equal(channel_queued(a.channel), 2);
    assert_int_equal(peer_reads(false), 'a');
    pump();
    assert_int_equal(channel_queued(a.channel), 2);
    assert_int_equal(peer_reads(false), 'b');
    pump();
    assert_int_equal(channel_queued(a.channel), 0);
    assert_int_equal(peer_reads(true), 'c');
    assert_int_equal(peer_reads(false), 'd');
}

static void one_unread_for_long(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        queue((char)('a' + i % 26), true);
    assert_int_equal(channel_queued(a.channel), 999);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(peer_reads(true), 'a' + i % 26);
        assert_int_equal(peer_reads(true), '-');
        pump();
    }
    assert_int_equal(channel_queued(a.channel), 0);
    assert_int_equal(a.drained, 999);
}

/*
 * The kernel tells of room before it has quite dropped what was read (sock_wfree()): at that moment
 * one byte still counts as unread. Who takes it for a message waits for ever.
 */
static void one_unread_looks_while_the_kernel_drops(void **state)
{
    (void)state;
    queue('a', true);
    queue('b', true);
    unread_told = 1;
    assert_int_equal(peer_reads(true), 'a');
    pump();
    unread_told = -1;
    assert_int_equal(channel_queued(a.channel), 0);
    assert_int_equal(peer_reads(true), 'b');
}

static void queued_descriptors_are_closed(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        queue('a', true);
    assert_int_equal(channel_queued(a.channel), 9);
    /* teardown() counts. */
    assert_null(channel_free(a.channel));
    a.channel = NULL;
    assert_null(channel_free(NULL));
}

static void pause_and_resume(void **state)
{
    (void)state;
    channel_pause(a.channel, true);
    channel_pause(a.channel, true);
    peer_sends(&a, "xyz", true);
    pump();
    assert_int_equal(a.messages, 0);
    /* Nothing new arrives, and yet it goes on. */
    channel_pause(a.channel, false);
    pump();
    assert_memory_equal(a.log, "xyz", 3);
    assert_int_equal(a.messages, 3);
    peer_sends(&a, "w", false);
    pump();
    assert_int_equal(a.messages, 4);
}

static void pause_in_the_middle(void **state)
{
    (void)state;
    a.at = 2;
    a.act = PAUSE;
    peer_sends(&a, "xyzw", false);
    pump();
    assert_int_equal(a.messages, 2);
    /* The end is not seen before what comes before it. */
    fd_close(&a.peer);
    pump();
    assert_int_equal(a.closed, 0);
    channel_pause(a.channel, false);
    pump();
    assert_int_equal(a.messages, 4);
    assert_memory_equal(a.log, "xyzw", 4);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, 0);
}

/* One who talks a lot does not keep another from being heard. */
static void bursts_take_turns(void **state)
{
    size_t longest = 0, run = 0, i = 0;

    (void)state;
    open_end(&b, false);
    for (int j = 0; j < 100; j++) {
        peer_sends(&a, "a", false);
        peer_sends(&b, "b", false);
    }
    pump();
    assert_int_equal(a.messages, 100);
    assert_int_equal(b.messages, 100);
    /* The longest run of one, while the other has something too. */
    for (size_t left[2] = { 100, 100 }; i < both_count && left[0] && left[1]; i++) {
        run = i > 0 && both[i] == both[i - 1] ? run + 1 : 1;
        longest = run > longest ? run : longest;
        left[both[i] == 'a']--;
    }
    assert_true(longest <= 16);
}

static void answer_from_within(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char bytes[MAX];

    (void)state;
    a.at = 1;
    a.act = ANSWER;
    peer_sends(&a, "x", true);
    pump();
    assert_int_equal(wire_recv(a.peer, bytes, sizeof(bytes), &fds), 6);
    assert_memory_equal(bytes, "answer", 6);
    assert_int_equal(fds.count, 1);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define ONE_UNREAD(name) cmocka_unit_test_setup_teardown(name, setup_one_unread, teardown)

static void end_of_file(void **state)
{
    (void)state;
    peer_sends(&a, "xy", true);
    fd_close(&a.peer);
    pump();
    assert_int_equal(a.messages, 2);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, 0);
}

static void empty_datagram_is_the_end(void **state)
{
    (void)state;
    assert_int_equal(send(a.peer, "", 0, MSG_NOSIGNAL), 0);
    peer_sends(&a, "x", false);
    pump();
    assert_int_equal(a.messages, 0);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, 0);
}

static void owner_refuses(void **state)
{
    (void)state;
    a.at = 2;
    a.act = REFUSE;
    peer_sends(&a, "xyz", true);
    pump();
    assert_int_equal(a.messages, 2);
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, -EBADMSG);
}

/* Sending never calls the owner; the loop does. */
static void peer_gone_at_sending(void **state)
{
    (void)state;
    fd_close(&a.peer);
    queue('a', true);
    assert_int_equal(a.closed, 0);
    queue('b', true);
    assert_int_equal(a.closed, 0);
    pump();
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, -EPIPE);
}

static void close_later_once(void **state)
{
    (void)state;
    channel_close_later(a.channel, -ENOMEM);
    channel_close_later(a.channel, -EIO);
    peer_sends(&a, "x", false);
    queue('a', true);
    channel_pause(a.channel, true);
    channel_pause(a.channel, false);
    assert_int_equal(a.closed, 0);
    pump();
    assert_int_equal(a.closed, 1);
    assert_int_equal(a.error, -ENOMEM);
    /* From the decision on nothing goes in or out. */
    assert_int_equal(a.messages, 0);
    assert_int_equal(peer_reads(false), '-');
    assert_int_equal(channel_queued(a.channel), 1);
    pump();
    assert_int_equal(a.closed, 1);
}

static void free_in_message(void **state)
{
    (void)state;
    a.at = 2;
    a.act = FREE;
    peer_sends(&a, "xyz", true);
    pump();
    assert_int_equal(a.messages, 2);
    assert_int_equal(a.closed, 0);
    /* Closed with the third unread. */
    assert_int_equal(wire_send(a.peer, "w", 1, NULL), -ECONNRESET);
}

static void free_in_drained(void **state)
{
    (void)state;
    a.free_in_drained = true;
    queue('a', true);
    queue('b', true);
    queue('c', true);
    assert_int_equal(peer_reads(true), 'a');
    pump();
    assert_null(a.channel);
    assert_int_equal(a.drained, 1);
    assert_int_equal(a.closed, 0);
    assert_int_equal(peer_reads(true), 'b');
}

static void free_in_closed(void **state)
{
    (void)state;
    a.free_in_closed = true;
    fd_close(&a.peer);
    queue('a', true);
    pump();
    assert_null(a.channel);
    assert_int_equal(a.closed, 1);
}

static void free_before_the_loop_runs(void **state)
{
    (void)state;
    peer_sends(&a, "xyz", true);
    channel_close_later(a.channel, -EIO);
    a.channel = channel_free(a.channel);
    pump();
    assert_int_equal(a.messages, 0);
    assert_int_equal(a.closed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(receives_in_order),
        TEST(longest_message),
        TEST(sends_at_once),
        TEST(queues_in_order),
        ONE_UNREAD(one_unread_holds_back),
        ONE_UNREAD(one_unread_lets_plain_ones_pass),
        ONE_UNREAD(one_unread_for_long),
        ONE_UNREAD(one_unread_looks_while_the_kernel_drops),
        ONE_UNREAD(queued_descriptors_are_closed),
        TEST(pause_and_resume),
        TEST(pause_in_the_middle),
        TEST(bursts_take_turns),
        TEST(answer_from_within),
        TEST(end_of_file),
        TEST(empty_datagram_is_the_end),
        TEST(owner_refuses),
        TEST(peer_gone_at_sending),
        TEST(close_later_once),
        TEST(free_in_message),
        ONE_UNREAD(free_in_drained),
        TEST(free_in_closed),
        TEST(free_before_the_loop_runs),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
