/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Refill: making the pool what its targets say, by jobs that build ready memory, and by letting go of what
 * is too much.
 *
 * At first the largest files are made, while memory is whole; later the smallest, which are asked for
 * most. Where huge pages are missing for a larger file, smaller ones are made, and exchanged for it when
 * there are pages again. It waits for those that come back from clients, and looks once a second for
 * others. Main thread only.
 */
#ifndef KEEPER_REFILL_H
#define KEEPER_REFILL_H

#include <event2/event.h>

#include "daemon/keeper/job.h"
#include "daemon/keeper/pool.h"

struct service;

/** Of the service. */
struct refill {
    struct event *retry;
    struct event *soon;
    LIST_HEAD(, job) jobs; /* by client_link */
};

/** refill_init() - Return: 0 or a negative errno with @fault. */
int refill_init(struct service *service, struct fault *fault);

/** refill_deinit() - allowed on a zeroed struct. */
void refill_deinit(struct service *service);

/**
 * refill_resize() - a new target
 * @bytes: a multiple of the set's page size
 * Return: 0; -E2BIG, -EMFILE, -ESHUTDOWN with @fault, and the target is what it was.
 */
int refill_resize(struct service *service, struct pool_set *set, uint64_t bytes,
                  struct fault *fault);

/** refill_kick() - the pool has changed: go on if there is something to do. */
void refill_kick(struct service *service);

/** refill_soon() - the same a moment later: whoever was granted something is to have the CPU first. */
void refill_soon(struct service *service);

/** refill_pages_back() - huge pages of this size went back to the kernel. */
void refill_pages_back(struct service *service, uint64_t page_size);

/** refill_let_go() - what the set let go of is back at the kernel. */
void refill_let_go(struct service *service, struct pool_set *set, uint64_t bytes);

/** refill_done() - a job of this ended. */
void refill_done(struct service *service, struct job *job);

/** refill_stop() - make no more, what is under way included, and let go of all that is ready. */
void refill_stop(struct service *service);

#endif
