/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * End: a channel (daemon/channel.h) with an owner that does what a test wants, and the other end of
 * its socket pair in the test's hands.
 */
#ifndef UNIT_CHANNEL_END_H
#define UNIT_CHANNEL_END_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/channel.h"

#define END_MAX 64 /* longest datagram accepted */
#define END_LOG 256

/** A channel, its other end, and what its owner was told. */
struct end {
    struct channel *channel;
    int peer;
    /* What the owner does in message(), when the message with this number (from 1) comes. */
    size_t at;
    enum { END_GO_ON, END_TAKE_FD_OUT, END_PAUSE, END_FREE, END_REFUSE, END_ANSWER } act;
    bool free_in_drained;
    bool free_in_closed;
    /* What it was told. */
    char log[END_LOG]; /* first byte of each message */
    size_t messages;
    size_t sizes;
    size_t fds;
    int taken;
    unsigned int drained;
    unsigned int closed;
    int error;
};

/** The one of every test, and a second one where end_open() is called for it. */
extern struct end end_a, end_b;

/** Which of the two got a message, 'a' or 'b', in order. */
extern char end_both[2 * END_LOG];
extern size_t end_both_count;

/** end_setup(), end_setup_one_unread(), end_teardown() - fixture; nothing may be left open. */
int end_setup(void **state);
int end_setup_one_unread(void **state);
int end_teardown(void **state);

/** end_open() - make a channel. */
void end_open(struct end *end, bool one_unread);

/** end_pump() - let the loop do what can be done without waiting. */
void end_pump(void);

/** end_queue() - @end_a's channel sends a message of one letter. */
void end_queue(char letter, bool with_fd);

/** end_peer_reads() - what @end_a's peer reads next: the letter, or '-' for nothing there. */
char end_peer_reads(bool with_fd);

/** end_peer_sends() - each letter a message, from the other end. */
void end_peer_sends(struct end *end, const char *letters, bool with_fd);

#endif
