/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Service: what the keeper does for its broker. One request comes in, is checked as if the broker
 * were compromised, and is answered at once or when its job is done.
 *
 * It does not know how brokers start and end (supervisor.h) nor how memory is made (buffer.h).
 */
#ifndef KEEPER_SERVICE_H
#define KEEPER_SERVICE_H

#include <event2/event.h>
#include <stdbool.h>
#include <stdint.h>

#include "daemon/channel.h"
#include "daemon/keeper/backend.h"
#include "daemon/keeper/job.h"
#include "daemon/keeper/memory.h"
#include "daemon/keeper/names.h"
#include "daemon/keeper/pool.h"
#include "daemon/keeper/refill.h"
#include "daemon/keeper/store.h"

struct service {
    struct event_base *base;
    struct backend *backend;
    struct memory *memory;
    struct workers *workers;
    struct store store;
    struct names names;
    struct pool pool;
    struct refill refill;
    struct event *done_event;
    uint32_t jobs;            /* submitted and not collected */
    uint32_t pinned;          /* buffers, those on their way out included */
    uint64_t unreleasable;    /* bytes that the kernel refuses to unpin */
    LIST_HEAD(, buffer) kept; /* these */
    uint64_t started_ns;
    uint32_t broker_starts;
    bool ending;              /* the clients are told to go */
    bool stopping;            /* they have gone */
    struct channel *link;     /* to the broker of now, or NULL; the supervisor's */
    void (*idle)(void *data); /* the last job ended while stopping */
    void *idle_data;
};

/** service_init() - Return: 0 or a negative errno with @fault. */
int service_init(struct service *service, struct event_base *base, struct backend *backend,
                 struct memory *memory, const struct store_limits *limits, struct fault *fault);

/** service_deinit() - stop the workers; what is still held stays pinned until the process ends. */
void service_deinit(struct service *service);

/**
 * service_request() - one message of the broker
 * Return: 0; -EBADMSG: no honest broker sends that, end it; -ENOMEM: end it, too.
 */
int service_request(struct service *service, const void *bytes, size_t size, struct wire_fds *fds);

/** service_submit() - hand a job to the workers; counted until it is collected. */
void service_submit(struct service *service, struct job *job);

/** service_drained() - the link has sent something: read on if that was paused. */
void service_drained(struct service *service);

/** service_broker_gone() - the broker ended and its clients with it: release what they held. */
void service_broker_gone(struct service *service);

/** service_hangs() - all that is left to do waits for files that clients may have locked (job.h). */
bool service_hangs(const struct service *service);

/** service_end() - whose connection ends from now on lost it, and did not leave; no new buffers. */
void service_end(struct service *service);

/** service_stop() - take no more work, release everything, then call service->idle. */
void service_stop(struct service *service);

#endif
