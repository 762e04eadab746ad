/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Upstream: the broker's end of the link to the keeper. Remembers whose each question was, and gives
 * the answers to reply.c.
 */
#ifndef BROKER_UPSTREAM_H
#define BROKER_UPSTREAM_H

#include <stdint.h>
#include <sys/queue.h>

#include "daemon/broker/session.h"

/** A question the keeper has not answered yet. */
struct asked {
    LIST_ENTRY(asked) link; /* session::asked */
    struct session *session;
    uint64_t request_id; /* the client's */
    uint64_t tag;        /* ours */
    unsigned int pairs;  /* of descriptors, that its answer can bring */
};

/**
 * A question whose answer can bring more descriptors than the session has room for. There is one at
 * most, because the session is not read until it could be asked.
 */
struct postponed {
    uint64_t request_id;
    struct link_request question;
};

/** upstream_open() - @fd is the link, the broker's from now on. Return: 0 or -ENOMEM. */
int upstream_open(struct broker *broker, int fd);

void upstream_close(struct broker *broker);

/** upstream_ready() - tell the keeper that clients are accepted. */
int upstream_ready(struct broker *broker);

/** upstream_greet() - tell the keeper of a client. */
int upstream_greet(struct session *session);

/** upstream_forget() - the session ends: drop its questions, tell the keeper. */
void upstream_forget(struct session *session);

/**
 * upstream_ask() - send a client's question, or postpone it; fills in tag and client
 * @fds: descriptors move, may be NULL; a question with some brings no more than one pair, for which
 *       there is always room
 * Return: 0; -ENOMEM with @fault.
 */
int upstream_ask(struct session *session, uint64_t request_id, struct link_request *question,
                 struct wire_fds *fds, struct fault *fault);

/** upstream_ask_postponed() - send what was postponed, if there is any and room for it. */
void upstream_ask_postponed(struct session *session);

/** upstream_is_asked() - whether a request with this id of the client is under way. */
bool upstream_is_asked(const struct session *session, uint64_t request_id);

#endif
