/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Session: one connection of a client. Decodes what comes in, encodes what goes out, bounds what is
 * under way. What the requests mean is dispatch.c's.
 */
#ifndef BROKER_SESSION_H
#define BROKER_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "daemon/broker/broker.h"

/**
 * Pairs of descriptors that a session may come to have: of questions under way as many as their
 * answers can bring, and those of replies that the client has not read. Each of these, times two, is a
 * descriptor of the broker. Others wait.
 */
#define SESSION_FDS_MAX 4

/** Connections of a user over a limit that are kept for as long as it takes to tell them. */
#define SESSION_REFUSED_MAX 4

/** A connection must have said HELLO within one to two times this. */
#define SESSION_HELLO_SECONDS 5

struct asked;
struct postponed;

struct session {
    struct broker *broker;
    struct channel *channel;
    uint64_t id; /* the client's number, also for the keeper */
    pid_t pid;   /* SO_PEERCRED, of the process that connected */
    uid_t uid;
    gid_t gid;
    unsigned int stuck; /* descriptors of its user that did not close, when it connected */
    bool refused;       /* over a limit: HELLO is answered with the reason */
    bool blamed;        /* its end is in the log already */
    bool ending;        /* after the reply that is being made */
    bool greeted;       /* HELLO succeeded, the keeper knows of us */
    bool swept;         /* was there at the last sweep */
    bool events;        /* HELLO asked for them */
    unsigned int in_flight;
    unsigned int in_flight_pairs; /* of descriptors, that the answers can bring */
    LIST_HEAD(, asked) asked;     /* what the keeper owes us */
    struct postponed *postponed;  /* what is too large for the room there is; see upstream.h */

    uint32_t *groups; /* SO_PEERGROUPS, the first LINK_GROUPS_MAX */
    uint32_t group_count;
    bool groups_cut; /* these are not all */
};

/** session_new() - a connection was accepted; @fd is the session's, also on failure. */
void session_new(struct broker *broker, int fd);

/** session_free() - end a connection; what it held, the keeper releases. */
void session_free(struct session *session);

/** sessions_free() - end all. */
void sessions_free(struct broker *broker);

/** sessions_sweep() - end the connections that never said HELLO. */
void sessions_sweep(struct broker *broker);

/** sessions_tell_ending() - the event, to whoever wants events; waits for nobody. */
void sessions_tell_ending(struct broker *broker);

/** session_reply() - send; descriptors move. */
void session_reply(struct session *session, const proto_reply *reply, struct wire_fds *fds);

/** session_refuse() - answer a request with an error. */
void session_refuse(struct session *session, uint64_t request_id, const struct fault *fault);

/**
 * session_malformed() - log once whose message could not be understood
 *
 * Not the first of its user lately is only counted (offenders.h), but for debugging.
 *
 * Return: -EBADMSG.
 */
int session_malformed(struct session *session, const char *what);

/** session_room() - pairs of descriptors that may still come, of SESSION_FDS_MAX. */
unsigned int session_room(const struct session *session);

/** session_resume() - less is under way than before: go on with what waited for that. */
void session_resume(struct session *session);

#endif
