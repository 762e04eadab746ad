/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Channel: a non-blocking SOCK_SEQPACKET connection in a libevent loop, with a queue of outgoing
 * datagrams. Clients and the link between keeper and broker are channels.
 *
 * It moves datagrams and their descriptors; it knows nothing of what they mean. Plain events, not
 * bufferevents: those read without a control buffer and would lose descriptors.
 */
#ifndef DAEMON_CHANNEL_H
#define DAEMON_CHANNEL_H

#include <event2/event.h>
#include <stdbool.h>
#include <stddef.h>

#include "proto/wire.h"

/** Longest datagram a channel can be made to accept, bytes. */
#define CHANNEL_MESSAGE_MAX 8192U

struct channel;

struct channel_ops {
    /**
     * message() - a datagram arrived
     * @fds: take what is wanted; the channel closes the rest. Fewer than were sent, if this process
     *       has none free: that does not end the connection
     * Return: 0 to go on; negative errno to end the connection for that reason.
     */
    int (*message)(void *data, const void *bytes, size_t size, struct wire_fds *fds);
    /** drained() - something of the output queue was sent; may be NULL. */
    void (*drained)(void *data);
    /**
     * closed() - the connection ended, called once from the event loop, never from within
     * channel_send(); the owner calls channel_free() now or later
     * @error: 0 at end of file; -EDQUOT: the user sent so many files that do not close that no more
     *         is read from it (closer_is_full()); else a negative errno
     */
    void (*closed)(void *data, int error);
};

/**
 * channel_new() - take over a connected socket
 * @fd: non-blocking; the channel's from now on, also on failure
 * @owner: the user at the other end, to whom what it sends belongs (closer.h), or WIRE_NOBODY
 * @max_message: longest datagram to accept, bytes, at most CHANNEL_MESSAGE_MAX
 * @one_unread: hold a datagram with descriptors back while the peer has anything unread. The kernel
 *              counts descriptors in flight per user, so one client that does not read would else
 *              stop the passing of descriptors to everybody (unix(7), ETOOMANYREFS).
 * Return: 0 or -ENOMEM.
 */
int channel_new(struct event_base *base, int fd, uint32_t owner, size_t max_message,
                bool one_unread, const struct channel_ops *ops, void *data, struct channel **ret);

/** channel_free() - close the socket, drop what is queued; NULL is allowed. Returns NULL. */
struct channel *channel_free(struct channel *channel);

/**
 * channel_send() - queue a datagram and try to send
 * @bytes: copied
 * @fds: descriptors move into the queue, @fds is empty afterwards; may be NULL
 *
 * Errors of the connection surface through ops->closed.
 *
 * Return: 0; -ENOMEM (@fds closed).
 */
int channel_send(struct channel *channel, const void *bytes, size_t size, struct wire_fds *fds);

/**
 * channel_send_ahead() - send a datagram now or never, ahead of what is queued
 *
 * For a last word, after which nothing of the queue will be sent.
 */
void channel_send_ahead(const struct channel *channel, const void *bytes, size_t size);

/** channel_queued() - datagrams not sent yet. */
size_t channel_queued(const struct channel *channel);

/** channel_queued_pairs() - how much of these is descriptors: two of one datagram are a pair, and so is
 *  one alone. */
size_t channel_queued_pairs(const struct channel *channel);

/** channel_pause() - stop (true) or resume (false) reading; the peer's end is still noticed. */
void channel_pause(struct channel *channel, bool pause);

/** channel_close_later() - end the connection from the event loop with this reason. */
void channel_close_later(struct channel *channel, int error);

#endif
