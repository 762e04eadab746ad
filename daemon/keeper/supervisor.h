/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Supervisor: starts the broker, notices when it ends, hangs or misbehaves, and starts another.
 *
 * Between two brokers, connecting clients wait in the queue of the listening socket, which is the
 * keeper's.
 *
 * A process can be killed and not end: a thread of it waits in the kernel for what no signal ends, as
 * the closer's does for a file of a FUSE server that does not answer. Such a broker is left behind
 * after 2 s. None of its code runs again, so it accepts nobody, sends nothing and reads nothing; but
 * what it has open stays open. Our end of the link is closed, and its clients' memory is released as
 * after any other end, but only the broker has their connections: they see no end of them before the
 * kernel lets go of the process. It is waited for whenever that is, and never signalled again, since
 * its number may be somebody else's after that.
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
    struct event *killed_event;   /* pending: it was killed and should have ended */
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

/** supervisor_is_well() - does a broker serve that is not silent (watch.h). */
bool supervisor_is_well(const struct supervisor *supervisor);

/**
 * supervisor_end() - have the broker tell its clients and exit, start no other, then call ended()
 *
 * One that takes longer than a second is killed.
 */
void supervisor_end(struct supervisor *supervisor);

/** supervisor_stop() - kill the broker, if there is one, and free everything; 2 s at most. */
void supervisor_stop(struct supervisor *supervisor);

#endif
