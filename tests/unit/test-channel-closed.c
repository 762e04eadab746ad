/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/channel.h: every way in which a connection ends, and freeing a channel at any moment. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "tests/unit/channel-end.h"

static void end_of_file(void **state)
{
    (void)state;
    end_peer_sends(&end_a, "xy", true);
    fd_close(&end_a.peer);
    end_pump();
    assert_int_equal(end_a.messages, 2);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, 0);
}

/* Who is gone needs no reply: what it sent before is dropped. */
static void end_is_noticed_while_paused(void **state)
{
    (void)state;
    channel_pause(end_a.channel, true);
    end_peer_sends(&end_a, "xy", true);
    end_pump();
    assert_int_equal(end_a.closed, 0);
    fd_close(&end_a.peer);
    end_pump();
    assert_int_equal(end_a.messages, 0);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, 0);
}

/* The same when it was gone before the pause began. */
static void end_is_noticed_by_the_pause(void **state)
{
    (void)state;
    end_a.at = 2;
    end_a.act = END_PAUSE;
    end_peer_sends(&end_a, "xyzw", true);
    fd_close(&end_a.peer);
    end_pump();
    assert_int_equal(end_a.messages, 2);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, 0);
}

static void empty_datagram_is_the_end(void **state)
{
    (void)state;
    assert_int_equal(send(end_a.peer, "", 0, MSG_NOSIGNAL), 0);
    end_peer_sends(&end_a, "x", false);
    end_pump();
    assert_int_equal(end_a.messages, 0);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, 0);
}

static void owner_refuses(void **state)
{
    (void)state;
    end_a.at = 2;
    end_a.act = END_REFUSE;
    end_peer_sends(&end_a, "xyz", true);
    end_pump();
    assert_int_equal(end_a.messages, 2);
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, -EBADMSG);
}

/* Sending never calls the owner; the loop does. */
static void peer_gone_at_sending(void **state)
{
    (void)state;
    fd_close(&end_a.peer);
    end_queue('a', true);
    assert_int_equal(end_a.closed, 0);
    end_queue('b', true);
    assert_int_equal(end_a.closed, 0);
    end_pump();
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, -EPIPE);
}

static void close_later_once(void **state)
{
    (void)state;
    channel_close_later(end_a.channel, -ENOMEM);
    channel_close_later(end_a.channel, -EIO);
    end_peer_sends(&end_a, "x", false);
    end_queue('a', true);
    channel_pause(end_a.channel, true);
    channel_pause(end_a.channel, false);
    assert_int_equal(end_a.closed, 0);
    end_pump();
    assert_int_equal(end_a.closed, 1);
    assert_int_equal(end_a.error, -ENOMEM);
    /* From the decision on nothing goes in or out. */
    assert_int_equal(end_a.messages, 0);
    assert_int_equal(end_peer_reads(false), '-');
    assert_int_equal(channel_queued(end_a.channel), 1);
    end_pump();
    assert_int_equal(end_a.closed, 1);
}

static void free_in_message(void **state)
{
    (void)state;
    end_a.at = 2;
    end_a.act = END_FREE;
    end_peer_sends(&end_a, "xyz", true);
    end_pump();
    assert_int_equal(end_a.messages, 2);
    assert_int_equal(end_a.closed, 0);
    /* Closed with the third unread. */
    assert_int_equal(wire_send(end_a.peer, "w", 1, NULL), -ECONNRESET);
}

static void free_in_drained(void **state)
{
    (void)state;
    end_a.free_in_drained = true;
    end_queue('a', true);
    end_queue('b', true);
    end_queue('c', true);
    assert_int_equal(end_peer_reads(true), 'a');
    end_pump();
    assert_null(end_a.channel);
    assert_int_equal(end_a.drained, 1);
    assert_int_equal(end_a.closed, 0);
    assert_int_equal(end_peer_reads(true), 'b');
}

static void free_in_closed(void **state)
{
    (void)state;
    end_a.free_in_closed = true;
    fd_close(&end_a.peer);
    end_queue('a', true);
    end_pump();
    assert_null(end_a.channel);
    assert_int_equal(end_a.closed, 1);
}

static void free_before_the_loop_runs(void **state)
{
    (void)state;
    end_peer_sends(&end_a, "xyz", true);
    channel_close_later(end_a.channel, -EIO);
    end_a.channel = channel_free(end_a.channel);
    end_pump();
    assert_int_equal(end_a.messages, 0);
    assert_int_equal(end_a.closed, 0);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, end_setup, end_teardown)
#define ONE_UNREAD(name) cmocka_unit_test_setup_teardown(name, end_setup_one_unread, end_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(end_of_file),
        TEST(end_is_noticed_while_paused),
        TEST(end_is_noticed_by_the_pause),
        TEST(empty_datagram_is_the_end),
        TEST(owner_refuses),
        TEST(peer_gone_at_sending),
        TEST(close_later_once),
        TEST(free_in_message),
        ONE_UNREAD(free_in_drained),
        TEST(free_in_closed),
        TEST(free_before_the_loop_runs),
    };

    return cmocka_run_group_tests_name("channel closed", tests, NULL, NULL);
}
