/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events are edge-triggered: the kernel reports room each time the peer reads a datagram, which is
 * exactly when a held-back datagram with descriptors may go (channel.h, one_unread). libevent wants
 * the same for both directions of a descriptor, so whoever stops reading early (burst, pause) has
 * to activate the event himself.
 */
#include "daemon/channel.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>
#include <sys/socket.h>

#include "daemon/closer.h"

/* Datagrams read in one go, so that a chatty peer does not starve the others. */
#define READ_BURST 16

/* Where datagrams are read to. One for all channels of the process: each is used up before the next
 * is read, and an idle client costs no buffer. */
static unsigned char inbox[CHANNEL_MESSAGE_MAX];

struct outgoing {
    STAILQ_ENTRY(outgoing) link;
    struct wire_fds fds;
    size_t size;
    unsigned char bytes[];
};

struct channel {
    int fd;
    uint32_t owner; /* the user at the other end, or WIRE_NOBODY */
    size_t max_message;
    bool one_unread;
    bool paused;
    bool closing;
    bool watching;    /* for room to send */
    bool hung_up;     /* the peer has ended; what it sent before may be unread */
    bool backing_off; /* sending nothing until retry fires */
    bool in_callback; /* freeing must wait until we are out of the owner's function */
    bool free_wanted;
    int close_error;
    const struct channel_ops *ops;
    void *data;
    struct event *readable;
    struct event *writable;
    struct event *hangup;
    struct event *retry; /* one-shot: close later, or too many descriptors in flight */
    size_t queued;
    size_t queued_pairs;
    STAILQ_HEAD(, outgoing) queue;
};

static size_t pairs(const struct outgoing *out)
{
    return (out->fds.count + 1) / 2;
}

static void drop_first(struct channel *channel)
{
    struct outgoing *out = STAILQ_FIRST(&channel->queue);

    STAILQ_REMOVE_HEAD(&channel->queue, link);
    channel->queued--;
    channel->queued_pairs -= pairs(out);
    wire_fds_close(&out->fds);
    free(out);
}

struct channel *channel_free(struct channel *channel)
{
    if (!channel)
        return NULL;
    if (channel->in_callback) {
        channel->free_wanted = true;
        return NULL;
    }
    if (channel->readable)
        event_free(channel->readable);
    if (channel->writable)
        event_free(channel->writable);
    if (channel->hangup)
        event_free(channel->hangup);
    if (channel->retry)
        event_free(channel->retry);
    while (!STAILQ_EMPTY(&channel->queue))
        drop_first(channel);
    /* The peer sees the end now, even if closing takes long: descriptors that were sent and never
     * read go with it. */
    shutdown(channel->fd, SHUT_RDWR);
    closer_close(channel->fd, channel->owner);
    free(channel);
    return NULL;
}

/* Both bracket each call of the owner's functions. Return false: the channel is gone. */
static void enter(struct channel *channel)
{
    channel->in_callback = true;
}

static bool leave(struct channel *channel)
{
    channel->in_callback = false;
    if (!channel->free_wanted)
        return true;
    channel_free(channel);
    return false;
}

static void wake_later(struct channel *channel, long usec)
{
    struct timeval delay = { .tv_sec = 0, .tv_usec = usec };

    event_add(channel->retry, &delay);
}

void channel_close_later(struct channel *channel, int error)
{
    if (channel->closing)
        return;
    channel->closing = true;
    channel->close_error = error;
    event_del(channel->readable);
    event_del(channel->writable);
    event_del(channel->hangup);
    wake_later(channel, 0);
}

/*
 * The peer has read everything, or the state of its queue cannot be told (then send and see). The
 * kernel reports room while one byte of what was read still counts (sock_wfree()); a message, with
 * its overhead, is always more.
 */
static bool may_pass_fds(const struct channel *channel)
{
    return !channel->one_unread || wire_unread(channel->fd) <= 1;
}

/* Return: whether it was sent; else it has to wait, or the connection ends. */
static bool send_now(struct channel *channel, const void *bytes, size_t size,
                     const struct wire_fds *fds)
{
    int r;

    if (channel->closing || channel->backing_off ||
        (fds && fds->count > 0 && !may_pass_fds(channel)))
        return false;
    r = wire_send(channel->fd, bytes, size, fds);
    if (r == -ETOOMANYREFS) {
        /* Our user's limit of descriptors in flight; no event tells when there is room, but the
         * failed attempt itself reports some. */
        channel->backing_off = true;
        wake_later(channel, 10000);
    } else if (r < 0 && r != -EAGAIN) {
        channel_close_later(channel, r);
    }
    return r == 0;
}

/* Sends what can be sent. Return: whether anything was. */
static bool flush(struct channel *channel)
{
    struct outgoing *out;
    bool sent = false;

    while ((out = STAILQ_FIRST(&channel->queue)) &&
           send_now(channel, out->bytes, out->size, &out->fds)) {
        drop_first(channel);
        sent = true;
    }
    return sent;
}

/* Room is of interest only while something waits for it; told otherwise, each message that the peer
 * reads would wake us. Adding the event reports room that came before. */
static void watch_room(struct channel *channel)
{
    bool wanted = !channel->closing && !STAILQ_EMPTY(&channel->queue);

    if (wanted == channel->watching)
        return;
    channel->watching = wanted;
    if (!wanted)
        event_del(channel->writable);
    else if (event_add(channel->writable, NULL) < 0)
        channel_close_later(channel, -ENOMEM);
}

static void on_writable(evutil_socket_t fd, short what, void *data)
{
    struct channel *channel = data;
    bool sent;

    (void)fd;
    (void)what;
    sent = flush(channel);
    watch_room(channel);
    if (!sent || !channel->ops->drained)
        return;
    enter(channel);
    channel->ops->drained(channel->data);
    leave(channel);
}

static void on_retry(evutil_socket_t fd, short what, void *data)
{
    struct channel *channel = data;

    channel->backing_off = false;
    if (!channel->closing) {
        on_writable(fd, what, data);
        return;
    }
    enter(channel);
    channel->ops->closed(channel->data, channel->close_error);
    leave(channel);
}

/* Who does not read sees no end of file. */
static void on_hangup(evutil_socket_t fd, short what, void *data)
{
    struct channel *channel = data;

    (void)fd;
    (void)what;
    channel->hung_up = true;
    if (channel->paused)
        channel_close_later(channel, 0);
}

/* What the peer sends could be more files than its user may have waiting to be closed. That is over
 * in a moment, unless they never close. */
static bool must_wait(struct channel *channel)
{
    const struct timeval moment = { .tv_usec = 10000 };

    if (!closer_is_full(channel->owner))
        return false;
    if (closer_stuck(channel->owner) > 0 || event_add(channel->readable, &moment) < 0)
        channel_close_later(channel, -EDQUOT);
    return true;
}

static void on_readable(evutil_socket_t fd, short what, void *data)
{
    struct channel *channel = data;

    (void)fd;
    if (what & EV_TIMEOUT)
        event_remove_timer(channel->readable);
    for (int i = 0; !channel->closing && !channel->paused; i++) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_OF(channel->owner);
        ssize_t n;
        int r;

        if (i == READ_BURST) {
            event_active(channel->readable, EV_READ, 0);
            return;
        }
        if (must_wait(channel))
            return;
        n = wire_recv_lossy(channel->fd, inbox, channel->max_message, &fds);
        if (n == -EAGAIN)
            return;
        if (n <= 0) {
            channel_close_later(channel, (int)n);
            return;
        }
        enter(channel);
        r = channel->ops->message(channel->data, inbox, (size_t)n, &fds);
        if (!leave(channel))
            return;
        if (r < 0)
            channel_close_later(channel, r);
    }
}

int channel_new(struct event_base *base, int fd, uint32_t owner, size_t max_message,
                bool one_unread, const struct channel_ops *ops, void *data, struct channel **ret)
{
    struct channel *channel = calloc(1, sizeof(*channel));

    if (!channel) {
        closer_close(fd, owner);
        return -ENOMEM;
    }
    channel->fd = fd;
    channel->owner = owner;
    channel->max_message = max_message;
    channel->one_unread = one_unread;
    channel->ops = ops;
    channel->data = data;
    STAILQ_INIT(&channel->queue);
    channel->readable = event_new(base, fd, EV_READ | EV_PERSIST | EV_ET, on_readable, channel);
    channel->writable = event_new(base, fd, EV_WRITE | EV_PERSIST | EV_ET, on_writable, channel);
    channel->hangup = event_new(base, fd, EV_CLOSED | EV_PERSIST | EV_ET, on_hangup, channel);
    channel->retry = event_new(base, -1, 0, on_retry, channel);
    if (!channel->readable || !channel->writable || !channel->hangup || !channel->retry ||
        event_add(channel->hangup, NULL) < 0 || event_add(channel->readable, NULL) < 0) {
        channel_free(channel);
        return -ENOMEM;
    }
    *ret = channel;
    return 0;
}

int channel_send(struct channel *channel, const void *bytes, size_t size, struct wire_fds *fds)
{
    bool is_first = STAILQ_EMPTY(&channel->queue);
    struct outgoing *out;

    if (is_first && send_now(channel, bytes, size, fds)) {
        if (fds)
            wire_fds_close(fds);
        return 0;
    }
    out = malloc(sizeof(*out) + size);
    if (!out) {
        if (fds)
            wire_fds_close(fds);
        return -ENOMEM;
    }
    out->fds = fds ? *fds : (struct wire_fds)WIRE_FDS_NONE;
    if (fds)
        fds->count = 0;
    out->size = size;
    memcpy(out->bytes, bytes, size);
    STAILQ_INSERT_TAIL(&channel->queue, out, link);
    channel->queued++;
    channel->queued_pairs += pairs(out);
    if (!is_first)
        flush(channel);
    watch_room(channel);
    return 0;
}

void channel_send_ahead(const struct channel *channel, const void *bytes, size_t size)
{
    if (!channel->closing)
        wire_send(channel->fd, bytes, size, NULL);
}

size_t channel_queued(const struct channel *channel)
{
    return channel->queued;
}

size_t channel_queued_pairs(const struct channel *channel)
{
    return channel->queued_pairs;
}

void channel_pause(struct channel *channel, bool pause)
{
    if (channel->paused == pause || channel->closing)
        return;
    channel->paused = pause;
    if (pause && channel->hung_up)
        channel_close_later(channel, 0);
    if (!pause)
        event_active(channel->readable, EV_READ, 0);
}
