/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Broker: the process that talks to clients and has no privilege. It owns connections and nothing
 * else: what exists is the keeper's.
 *
 * The way of a request, each step one function deep: channel.c reads a datagram, session.c decodes
 * it, dispatch.c checks it against a table and calls its handler in request.c, which asks the keeper
 * through upstream.c; the keeper's reply comes back to upstream.c, becomes a Reply in reply.c, and
 * leaves through session.c and channel.c.
 */
#ifndef BROKER_BROKER_H
#define BROKER_BROKER_H

#include <event2/event.h>

#include "common/slots.h"
#include "daemon/broker/offenders.h"
#include "daemon/channel.h"
#include "daemon/link.h"
#include "proto/message.h"

struct broker {
    struct event_base *base;
    struct channel *link;
    struct link_welcome welcome; /* what the keeper told at the start */
    struct slots sessions;
    struct slots asked; /* requests the keeper has not answered, see upstream.h */
    struct offenders offenders;
    struct message_arena arena;
    struct event *accept_event;
    struct event *resume_event; /* accepting goes on after a pause */
    struct event *sweep_event;
    int listen_fd;
    int status;
};

/** broker_run() - serve until the keeper's link ends. Return: exit status. */
int broker_run(void);

#endif
