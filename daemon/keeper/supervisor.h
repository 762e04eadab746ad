/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Supervisor: starts the broker, notices when it ends, hangs or misbehaves, and starts another.
 *
 * Between two brokers, connecting clients wait in the queue of the listening socket, which is the
 * keeper's.
 */
#ifndef KEEPER_SUPERVISOR_H
#define KEEPER_SUPERVISOR_H

#include <event2/event.h>
#include <sys/types.h>

#include "daemon/keeper/backoff.h"
#include "daemon/keeper/service.h"
#include "daemon/keeper/watch.h"
#include "daemon/link.h"

struct supervisor {
    struct service *service;
    int listen_fd; /* not owned */
    struct link_welcome welcome;
    pid_t pid; /* of the broker, 0: none */
    uint64_t started_ns;
    struct backoff backoff;
    struct event *child_event;
    struct event *restart_event;
    struct event *watch_event;
    struct watch watch;           /* its period is the owner's to set */
    struct event *overdue_event;  /* it was told to end and did not */
    void (*ready)(void *data);    /* each time a broker is ready */
    void (*hopeless)(void *data); /* the very first brokers do not come up */
    void (*ended)(void *data);    /* after supervisor_end(); may be called from within it */
    void *data;
    unsigned int failures; /* brokers in a row that were never ready */
    bool is_ready;         /* the one of now */
    bool was_ready;
    bool stopping;
};

/** supervisor_start() - start the first broker. Return: 0 or a negative errno with @fault. */
int supervisor_start(struct supervisor *supervisor, struct fault *fault);

/**
 * supervisor_end() - have the broker tell its clients and exit, start no other, then call ended()
 *
 * One that takes longer than a second is killed.
 */
void supervisor_end(struct supervisor *supervisor);

/** supervisor_stop() - kill the broker, if there is one, and free everything. */
void supervisor_stop(struct supervisor *supervisor);

#endif
