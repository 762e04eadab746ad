/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/channel.h: order, holding back, pausing, taking turns. How a connection ends is
 * test-channel-closed.c's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>

#include "common/cleanup.h"
#include "tests/unit/channel-end.h"
#include "tests/unit/support.h"

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

static void receives_in_order(void **state)
{
    (void)state;
    end_a.at = 3;
    end_a.act = END_TAKE_FD_OUT;
    end_peer_sends(&end_a, "xy", false);
    end_peer_sends(&end_a, "zw", true);
    assert_int_equal(end_a.messages, 0);
    end_pump();
    assert_int_equal(end_a.messages, 4);
    assert_memory_equal(end_a.log, "xyzw", 4);
    assert_int_equal(end_a.fds, 2);
    /* The one that was taken lives; the other was closed, end_teardown() counts. */
    assert_true(fcntl(end_a.taken, F_GETFD) >= 0);
    assert_int_equal(end_a.closed, 0);
    assert_int_equal(end_a.drained, 0);
}

static void longest_message(void **state)
{
    static const char bytes[END_MAX + 1] = "m";

    (void)state;
    assert_int_equal(wire_send(end_a.peer, bytes, END_MAX, NULL), 0);
    end_pump();
    assert_int_equal(end_a.messages, 1);
    assert_int_equal(end_a.sizes, END_MAX);
    assert_int_equal(wire_send(end_a.peer, bytes, END_MAX + 1, NULL), 0);
    end_pump();
    assert_int_equal(end_a.messages, 1);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, -EMSGSIZE);
}

static void sends_at_once(void **state)
{
    (void)state;
    end_queue('a', false);
    end_queue('b', true);
    end_queue('c', true);
    end_queue('d', false);
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_int_equal(end_peer_reads(false), 'a');
    assert_int_equal(end_peer_reads(true), 'b');
    assert_int_equal(end_peer_reads(true), 'c');
    assert_int_equal(end_peer_reads(false), 'd');
    assert_int_equal(end_peer_reads(false), '-');
    end_pump();
    /* Nothing had to wait, so nothing was drained. */
    assert_int_equal(end_a.drained, 0);
}

static void queues_in_order(void **state)
{
    size_t sent = 0, read = 0;
    char letter;

    (void)state;
    while (channel_queued(end_a.channel) < 50) {
        end_queue((char)('a' + sent % 26), sent % 3 == 0);
        sent++;
        assert_true(sent < 100000);
    }
    while ((letter = end_peer_reads(read % 3 == 0)) != '-') {
        assert_int_equal(letter, 'a' + read % 26);
        read++;
        end_pump();
    }
    assert_int_equal(read, sent);
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_true(end_a.drained > 0);
}

/* Held back until the peer has read everything, and then sent without anybody's doing. */
static void one_unread_holds_back(void **state)
{
    (void)state;
    end_queue('a', true);
    end_queue('b', true);
    end_queue('c', false);
    end_queue('d', true);
    end_pump();
    assert_int_equal(channel_queued(end_a.channel), 3);
    assert_int_equal(channel_queued_pairs(end_a.channel), 2);
    assert_int_equal(end_peer_reads(true), 'a');
    assert_int_equal(end_peer_reads(true), '-');
    assert_int_equal(end_a.drained, 0);
    end_pump();
    /* b may go, c follows as it carries nothing, d waits for both. */
    assert_int_equal(channel_queued(end_a.channel), 1);
    assert_int_equal(channel_queued_pairs(end_a.channel), 1);
    assert_int_equal(end_a.drained, 1);
    assert_int_equal(end_peer_reads(true), 'b');
    end_pump();
    assert_int_equal(channel_queued(end_a.channel), 1);
    assert_int_equal(end_peer_reads(false), 'c');
    assert_int_equal(end_peer_reads(true), '-');
    end_pump();
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_int_equal(end_peer_reads(true), 'd');
    assert_int_equal(end_a.closed, 0);
}

static void one_unread_lets_plain_ones_pass(void **state)
{
    (void)state;
    end_queue('a', false);
    end_queue('b', false);
    assert_int_equal(channel_queued(end_a.channel), 0);
    end_queue('c', true);
    end_queue('d', false);
    /* Order is kept: what follows one that waits, waits. */
    assert_int_equal(channel_queued(end_a.channel), 2);
    assert_int_equal(end_peer_reads(false), 'a');
    end_pump();
    assert_int_equal(channel_queued(end_a.channel), 2);
    assert_int_equal(end_peer_reads(false), 'b');
    end_pump();
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_int_equal(end_peer_reads(true), 'c');
    assert_int_equal(end_peer_reads(false), 'd');
}

static void last_word_does_not_wait(void **state)
{
    (void)state;
    end_queue('1', true);
    end_queue('2', true);
    end_queue('3', false);
    assert_int_equal(channel_queued(end_a.channel), 2);
    channel_send_ahead(end_a.channel, "!", 1);
    assert_int_equal(channel_queued(end_a.channel), 2);
    assert_int_equal(end_peer_reads(true), '1');
    assert_int_equal(end_peer_reads(false), '!');
    end_pump();
    assert_int_equal(end_peer_reads(true), '2');
    assert_int_equal(end_peer_reads(false), '3');
}

static void one_unread_for_long(void **state)
{
    (void)state;
    for (int i = 0; i < 1000; i++)
        end_queue((char)('a' + i % 26), true);
    assert_int_equal(channel_queued(end_a.channel), 999);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(end_peer_reads(true), 'a' + i % 26);
        assert_int_equal(end_peer_reads(true), '-');
        end_pump();
    }
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_int_equal(end_a.drained, 999);
}

/*
 * The kernel tells of room before it has quite dropped what was read (sock_wfree()): at that moment
 * one byte still counts as unread. Who takes it for a message waits for ever.
 */
static void one_unread_looks_while_the_kernel_drops(void **state)
{
    (void)state;
    end_queue('a', true);
    end_queue('b', true);
    unread_told = 1;
    assert_int_equal(end_peer_reads(true), 'a');
    end_pump();
    unread_told = -1;
    assert_int_equal(channel_queued(end_a.channel), 0);
    assert_int_equal(end_peer_reads(true), 'b');
}

static void queued_descriptors_are_closed(void **state)
{
    (void)state;
    for (int i = 0; i < 10; i++)
        end_queue('a', true);
    assert_int_equal(channel_queued(end_a.channel), 9);
    /* end_teardown() counts. */
    assert_null(channel_free(end_a.channel));
    end_a.channel = NULL;
    assert_null(channel_free(NULL));
}

static void pause_and_resume(void **state)
{
    (void)state;
    channel_pause(end_a.channel, true);
    channel_pause(end_a.channel, true);
    end_peer_sends(&end_a, "xyz", true);
    end_pump();
    assert_int_equal(end_a.messages, 0);
    /* Nothing new arrives, and yet it goes on. */
    channel_pause(end_a.channel, false);
    end_pump();
    assert_memory_equal(end_a.log, "xyz", 3);
    assert_int_equal(end_a.messages, 3);
    end_peer_sends(&end_a, "w", false);
    end_pump();
    assert_int_equal(end_a.messages, 4);
}

static void pause_in_the_middle(void **state)
{
    (void)state;
    end_a.at = 2;
    end_a.act = END_PAUSE;
    end_peer_sends(&end_a, "xyzw", false);
    end_pump();
    assert_int_equal(end_a.messages, 2);
    channel_pause(end_a.channel, false);
    end_pump();
    assert_int_equal(end_a.messages, 4);
    assert_memory_equal(end_a.log, "xyzw", 4);
    assert_int_equal(end_a.closed, 0);
}

/* A shortage of descriptors is ours, not the peer's: the message comes without. */
static void out_of_descriptors(void **state)
{
    uint64_t saved;

    (void)state;
    end_peer_sends(&end_a, "xy", true);
    saved = support_leave_room(0);
    end_pump();
    support_restore_room(saved);
    assert_int_equal(end_a.messages, 2);
    assert_int_equal(end_a.fds, 0);
    end_peer_sends(&end_a, "z", true);
    end_pump();
    assert_int_equal(end_a.messages, 3);
    assert_int_equal(end_a.fds, 1);
    assert_int_equal(end_a.closed, 0);
}

/* One who talks a lot does not keep another from being heard. */
static void bursts_take_turns(void **state)
{
    size_t longest = 0, run = 0, i = 0;

    (void)state;
    end_open(&end_b, false);
    for (int j = 0; j < 100; j++) {
        end_peer_sends(&end_a, "a", false);
        end_peer_sends(&end_b, "b", false);
    }
    end_pump();
    assert_int_equal(end_a.messages, 100);
    assert_int_equal(end_b.messages, 100);
    /* The longest run of one, while the other has something too. */
    for (size_t left[2] = { 100, 100 }; i < end_both_count && left[0] && left[1]; i++) {
        run = i > 0 && end_both[i] == end_both[i - 1] ? run + 1 : 1;
        longest = run > longest ? run : longest;
        left[end_both[i] == 'a']--;
    }
    assert_true(longest <= 16);
}

static void answer_from_within(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    char bytes[END_MAX];

    (void)state;
    end_a.at = 1;
    end_a.act = END_ANSWER;
    end_peer_sends(&end_a, "x", true);
    end_pump();
    assert_int_equal(wire_recv(end_a.peer, bytes, sizeof(bytes), &fds), 6);
    assert_memory_equal(bytes, "answer", 6);
    assert_int_equal(fds.count, 1);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, end_setup, end_teardown)
#define ONE_UNREAD(name) cmocka_unit_test_setup_teardown(name, end_setup_one_unread, end_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(receives_in_order),
        TEST(longest_message),
        TEST(sends_at_once),
        TEST(queues_in_order),
        ONE_UNREAD(one_unread_holds_back),
        ONE_UNREAD(one_unread_lets_plain_ones_pass),
        ONE_UNREAD(last_word_does_not_wait),
        ONE_UNREAD(one_unread_for_long),
        ONE_UNREAD(one_unread_looks_while_the_kernel_drops),
        ONE_UNREAD(queued_descriptors_are_closed),
        TEST(pause_and_resume),
        TEST(pause_in_the_middle),
        TEST(out_of_descriptors),
        TEST(bursts_take_turns),
        TEST(answer_from_within),
    };

    return cmocka_run_group_tests_name("channel", tests, NULL, NULL);
}
