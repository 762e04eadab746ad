/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connections of clients; see session.h. */
#include "daemon/broker/session.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/clock.h"
#include "daemon/broker/dispatch.h"
#include "daemon/broker/upstream.h"
#include "daemon/closer.h"
#include "daemon/log.h"

unsigned int session_room(const struct session *session)
{
    size_t taken = session->in_flight_pairs + channel_queued_pairs(session->channel);

    return taken < SESSION_FDS_MAX ? SESSION_FDS_MAX - (unsigned int)taken : 0;
}

/* Requests under way and replies not read yet, together. What is postponed is the last that was read. */
static bool is_full(const struct session *session)
{
    return session->in_flight + channel_queued(session->channel) >= PROTO_IN_FLIGHT_MAX ||
           session->postponed || session_room(session) == 0;
}

void session_resume(struct session *session)
{
    upstream_ask_postponed(session);
    if (!is_full(session))
        channel_pause(session->channel, false);
}

int session_malformed(struct session *session, const char *what)
{
    bool first = offenders_note(&session->broker->offenders, session->uid, now_ns());

    session->blamed = true;
    log_line(first ? LOG_NOTICE : LOG_DEBUG,
             "client %llu (pid %d, uid %u) sent %s: connection ended",
             (unsigned long long)session->id, (int)session->pid, session->uid, what);
    return -EBADMSG;
}

void session_reply(struct session *session, const proto_reply *reply, struct wire_fds *fds)
{
    static unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t size = message_encode_reply(reply, bytes);

    if (size < 0 || channel_send(session->channel, bytes, (size_t)size, fds) < 0)
        channel_close_later(session->channel, -ENOMEM);
    if (fds)
        wire_fds_close(fds);
}

void session_refuse(struct session *session, uint64_t request_id, const struct fault *fault)
{
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    error.code = (Dmabufd__Proto__ErrorCode)fault->code;
    error.errno_value = (uint32_t)fault->error;
    error.text = (char *)fault->text;
    reply.id = request_id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
    reply.error = &error;
    session_reply(session, &reply, NULL);
}

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct session *session = data;
    struct broker *broker = session->broker;
    proto_request *request = message_decode_request(&broker->arena, bytes, size);
    int r;

    if (!request)
        return session_malformed(session, "a message that cannot be decoded");
    r = dispatch(session, request, fds);
    if (r == 0 && session->ending)
        channel_close_later(session->channel, 0);
    else if (r == 0 && is_full(session))
        channel_pause(session->channel, true);
    return r;
}

static void on_drained(void *data)
{
    session_resume(data);
}

static void on_closed(void *data, int error)
{
    struct session *session = data;

    if (error == -EMSGSIZE)
        session_malformed(session, "a message that is too long or has too many descriptors");
    else if (error == -EDQUOT)
        session_malformed(session, "files, as its user did before, that do not close");
    else if (error == -EBADMSG && !session->blamed)
        session_malformed(session, "descriptors without a message");
    session_free(session);
}

static const struct channel_ops client_ops = { .message = on_message,
                                               .drained = on_drained,
                                               .closed = on_closed };

struct crowd {
    uint32_t admitted;
    uint32_t admitted_of_user;
    uint32_t refused_of_user;
};

static struct crowd count(const struct broker *broker, uid_t uid)
{
    struct crowd crowd = { 0 };
    struct session *session;
    uint32_t cursor = 0;

    while ((session = slots_next(&broker->sessions, &cursor))) {
        crowd.admitted += !session->refused;
        crowd.admitted_of_user += !session->refused && session->uid == uid;
        crowd.refused_of_user += session->refused && session->uid == uid;
    }
    return crowd;
}

/*
 * The supplementary groups of the peer when it connected. Where the kernel does not tell (before Linux
 * 4.13), nobody knows.
 */
static int read_groups(struct session *session, int fd)
{
    static gid_t groups[NGROUPS_MAX];
    socklen_t length = sizeof(groups);
    uint32_t count = 0;

    session->groups_cut = getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &length) < 0;
    if (!session->groups_cut)
        count = (uint32_t)(length / sizeof(gid_t));
    if (count > LINK_GROUPS_MAX) {
        session->groups_cut = true;
        count = LINK_GROUPS_MAX;
    }
    if (count == 0)
        return 0;
    session->groups = calloc(count, sizeof(gid_t));
    if (!session->groups)
        return -ENOMEM;
    memcpy(session->groups, groups, count * sizeof(gid_t));
    session->group_count = count;
    return 0;
}

static void destroy(struct session *session)
{
    if (session) {
        free(session->groups);
        free(session->postponed);
    }
    free(session);
}

static int admit(struct broker *broker, struct session *session, int fd)
{
    struct ucred peer;
    struct crowd crowd;
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return -errno;
    session->pid = peer.pid;
    session->uid = peer.uid;
    session->gid = peer.gid;
    crowd = count(broker, peer.uid);
    /* What hangs of a user's holds threads and descriptors as connections do. */
    session->stuck = closer_stuck(peer.uid);
    session->refused =
        crowd.admitted >= broker->welcome.max_clients ||
        crowd.admitted_of_user + session->stuck >= broker->welcome.max_clients_per_user;
    if (session->refused && crowd.refused_of_user >= SESSION_REFUSED_MAX)
        return -EUSERS;
    if (read_groups(session, fd) < 0)
        return -ENOMEM;
    return slots_add(&broker->sessions, session, &session->id);
}

void session_new(struct broker *broker, int fd)
{
    struct session *session = calloc(1, sizeof(*session));
    int r = session ? admit(broker, session, fd) : -ENOMEM;

    if (r < 0) {
        /* It may have sent something already. */
        closer_close(fd, session ? session->uid : WIRE_NOBODY);
        destroy(session);
        return;
    }
    session->broker = broker;
    LIST_INIT(&session->asked);
    r = channel_new(broker->base, fd, session->uid, PROTO_REQUEST_MAX, true, &client_ops, session,
                    &session->channel);
    if (r < 0) {
        slots_remove(&broker->sessions, session->id);
        destroy(session);
        return;
    }
    log_debug("client %llu (pid %d, uid %u) connected", (unsigned long long)session->id,
              (int)session->pid, session->uid);
}

void session_free(struct session *session)
{
    upstream_forget(session);
    slots_remove(&session->broker->sessions, session->id);
    channel_free(session->channel);
    destroy(session);
}

void sessions_free(struct broker *broker)
{
    struct session *session;
    uint32_t cursor = 0;

    while ((session = slots_next(&broker->sessions, &cursor)))
        session_free(session);
}

void sessions_tell_ending(struct broker *broker)
{
    Dmabufd__Proto__Event event = DMABUFD__PROTO__EVENT__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    static unsigned char bytes[PROTO_REPLY_MAX];
    struct session *session;
    uint32_t cursor = 0;
    ssize_t size;

    event.kind = DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_EVENT;
    reply.event = &event;
    size = message_encode_reply(&reply, bytes);
    while (size > 0 && (session = slots_next(&broker->sessions, &cursor))) {
        /* Replies that wait for the client to read do not reach it any more. */
        if (session->events)
            channel_send_ahead(session->channel, bytes, (size_t)size);
    }
}

void sessions_sweep(struct broker *broker)
{
    struct session *session;
    uint32_t cursor = 0;

    while ((session = slots_next(&broker->sessions, &cursor))) {
        if (!session->greeted && session->swept)
            session_free(session);
        else
            session->swept = true;
    }
}
