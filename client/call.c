/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Requests in flight; see call.h.
 *
 * A connection ends once, for one reason, which everybody who comes later is told. The socket is
 * shut down then, so that the daemon releases and no reader stays blocked, but it is closed only by
 * dmabufd_disconnect(): a number that is closed early could name another file by the time another
 * thread uses it.
 */
#include "client/call.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

#include "client/event.h"

/* A caller that waits; lives on its stack. */
struct call {
    uint64_t id;
    struct reply *reply;
    bool done;
    pthread_cond_t wake; /* done, or asked to lead, or the end */
    LIST_ENTRY(call) entry;
};

/* Called with the lock held. Return: -@error. */
static int end_connection(dmabufd *d, int error, const char *why)
{
    struct call *call;

    if (d->dead)
        return -error;
    d->dead = true;
    fault_set(&d->death, DMABUFD_CODE_OK, error, "%s%s",
              error == EPROTO ? "the daemon broke the protocol: " : "", why);
    shutdown(d->sock, SHUT_RDWR);
    event_lost(d);
    LIST_FOREACH (call, &d->calls, entry)
        pthread_cond_signal(&call->wake);
    pthread_cond_broadcast(&d->room);
    return -error;
}

int call_violation(dmabufd *d, const char *why, struct fault *fault)
{
    pthread_mutex_lock(&d->lock);
    end_connection(d, EPROTO, why);
    pthread_mutex_unlock(&d->lock);
    return fault_set(fault, DMABUFD_CODE_OK, EPROTO, "the daemon broke the protocol: %s", why);
}

int call_no_connection(const dmabufd *d, struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_OK, ENOTCONN, "the connection has ended: %s",
                     d->death.text);
}

/* Called with the lock held. */
static int deliver(dmabufd *d, const proto_reply *message, struct wire_fds *fds)
{
    struct call *call;
    const char *why;

    if (message->body_case == DMABUFD__PROTO__REPLY__BODY_EVENT) {
        if (fds->count > 0 || fds->lost)
            return end_connection(d, EPROTO, "a descriptor where none belongs");
        event_arrived(d, message->event);
        return 0;
    }
    LIST_FOREACH (call, &d->calls, entry) {
        if (call->id == message->id && !call->done)
            break;
    }
    if (!call)
        return end_connection(d, EPROTO, "a reply to no request");
    if (reply_parse(message, call->reply, &why) < 0)
        return end_connection(d, EPROTO, why);
    call->reply->fds = *fds;
    fds->count = 0;
    call->done = true;
    pthread_cond_signal(&call->wake);
    return 0;
}

/*
 * What came out of the socket: @n is what wire_recv_lossy() returned, @message what it decoded to.
 * Called with the lock held. Return: 0, there may be more; -ENOTCONN, -EPROTO: that was the end.
 */
static int digest(dmabufd *d, ssize_t n, const proto_reply *message, struct wire_fds *fds)
{
    if (message)
        return deliver(d, message, fds);
    if (n > 0)
        return end_connection(d, EPROTO, "a message that does not decode");
    if (n == -EMSGSIZE || n == -EBADMSG)
        return end_connection(d, EPROTO, "a message larger than any");
    /* The daemon closed with something of ours unread; what it sent before is still to be had. */
    if (n == -ECONNRESET && !d->reset) {
        d->reset = true;
        return 0;
    }
    if (n < 0)
        return end_connection(d, ENOTCONN, strerror((int)-n));
    return end_connection(d, ENOTCONN,
                          d->events.ending ? "the daemon was stopped" : "the daemon closed it");
}

static const proto_reply *decode(dmabufd *d, ssize_t n)
{
    return n > 0 ? message_decode_reply(&d->scratch, d->rx, (size_t)n) : NULL;
}

/* Waits for one message, for whomever it is. Called, and returns, with the lock held. */
static int read_one(dmabufd *d)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    const proto_reply *message;
    ssize_t n;

    d->reading = true;
    pthread_mutex_unlock(&d->lock);
    n = wire_recv_lossy(d->sock, d->rx, sizeof(d->rx), &fds);
    message = decode(d, n);
    pthread_mutex_lock(&d->lock);
    d->reading = false;
    /* Its caller may have left, which is no fault of the daemon's. */
    if (d->dead)
        return -ENOTCONN;
    return digest(d, n, message, &fds);
}

bool call_read_now(dmabufd *d)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    ssize_t n = wire_try_recv_lossy(d->sock, d->rx, sizeof(d->rx), &fds);

    return n != -EAGAIN && digest(d, n, decode(d, n), &fds) == 0;
}

/* Called with the lock held. Return: 0, then @call is in flight; -ENOTCONN. */
static int enter(dmabufd *d, struct call *call, struct reply *ret, struct fault *fault)
{
    while (!d->dead && d->in_flight >= d->hello.max_in_flight)
        pthread_cond_wait(&d->room, &d->lock);
    if (d->dead)
        return call_no_connection(d, fault);
    *call = (struct call){ .id = ++d->last_id, .reply = ret };
    pthread_cond_init(&call->wake, NULL);
    LIST_INSERT_HEAD(&d->calls, call, entry);
    d->in_flight++;
    return 0;
}

/* Called with the lock held. */
static void leave(dmabufd *d, struct call *call)
{
    struct call *other;

    LIST_REMOVE(call, entry);
    pthread_cond_destroy(&call->wake);
    d->in_flight--;
    pthread_cond_signal(&d->room);
    if (d->reading)
        return;
    LIST_FOREACH (other, &d->calls, entry) {
        if (!other->done) {
            pthread_cond_signal(&other->wake);
            return;
        }
    }
    event_nobody_reads(d);
}

/*
 * The daemon takes nothing more from us. It may have said why before, and answered others: whoever
 * reads comes to all that and then to the end. Called with the lock held.
 */
static void read_to_the_end(dmabufd *d, struct call *call)
{
    bool more = true;

    while (more && !d->dead && !call->done) {
        if (d->reading)
            pthread_cond_wait(&call->wake, &d->lock);
        else
            more = call_read_now(d);
    }
}

static int send_request(dmabufd *d, const proto_request *request, const struct wire_fds *fds,
                        struct call *call, struct fault *fault)
{
    unsigned char tx[PROTO_REQUEST_MAX];
    ssize_t size = message_encode_request(request, tx);
    int r;

    if (size < 0)
        return fault_set(fault, DMABUFD_CODE_OK, EMSGSIZE, "the request is too long");
    r = wire_send(d->sock, tx, (size_t)size, fds);
    if (r == 0)
        return 0;
    if (r == -ENOMEM || r == -ENOBUFS)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "the kernel has no memory for a message");
    if (r == -ETOOMANYREFS)
        return fault_set(fault, DMABUFD_CODE_OK, EMFILE,
                         "this user has too many descriptors on the way between processes: try "
                         "again later");
    pthread_mutex_lock(&d->lock);
    if (r == -EPIPE || r == -ECONNRESET || !d->reading)
        read_to_the_end(d, call);
    end_connection(d, ENOTCONN,
                   r == -EPIPE || r == -ECONNRESET ? "the daemon closed it" : strerror(-r));
    call_no_connection(d, fault);
    pthread_mutex_unlock(&d->lock);
    return -ENOTCONN;
}

/* Called with the lock held. */
static int wait_for_reply(dmabufd *d, struct call *call, struct fault *fault)
{
    int r = 0;

    while (!call->done && !d->dead) {
        if (d->reading)
            pthread_cond_wait(&call->wake, &d->lock);
        else
            r = read_one(d);
    }
    if (call->done)
        return 0;
    if (r == -EPROTO) {
        *fault = d->death;
        return r;
    }
    return call_no_connection(d, fault);
}

static int run(dmabufd *d, proto_request *request, const struct wire_fds *fds, struct reply *ret,
               struct fault *fault)
{
    struct call call;
    int r;

    pthread_mutex_lock(&d->lock);
    r = enter(d, &call, ret, fault);
    pthread_mutex_unlock(&d->lock);
    if (r < 0)
        return r;
    request->id = call.id;
    r = send_request(d, request, fds, &call, fault);
    pthread_mutex_lock(&d->lock);
    if (r == 0)
        r = wait_for_reply(d, &call, fault);
    leave(d, &call);
    pthread_mutex_unlock(&d->lock);
    return r;
}

static bool may_bring_fds(Dmabufd__Proto__Reply__BodyCase kind)
{
    return kind == DMABUFD__PROTO__REPLY__BODY_BUFFER ||
           kind == DMABUFD__PROTO__REPLY__BODY_SHARE || kind == DMABUFD__PROTO__REPLY__BODY_CHUNKS;
}

int call_run(dmabufd *d, proto_request *request, const struct wire_fds *fds,
             Dmabufd__Proto__Reply__BodyCase expected, struct reply *ret, struct fault *fault)
{
    struct fault unwanted;
    int r;

    if (!fault)
        fault = &unwanted;
    ret->fds = (struct wire_fds)WIRE_FDS_NONE;
    r = run(d, request, fds, ret, fault);
    if (r < 0) {
        /* There can be some if a daemon answers what has not been sent. */
        wire_fds_close(&ret->fds);
        return r;
    }
    if (!may_bring_fds(ret->kind) && (ret->fds.count > 0 || ret->fds.lost)) {
        wire_fds_close(&ret->fds);
        return call_violation(d, "a descriptor where none belongs", fault);
    }
    if (ret->kind == DMABUFD__PROTO__REPLY__BODY_ERROR) {
        *fault = ret->refusal;
        return -fault->error;
    }
    if (ret->kind != expected) {
        wire_fds_close(&ret->fds);
        return call_violation(d, "a reply to another request", fault);
    }
    return 0;
}
