/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocation: the requests that make a buffer, and the moment in which it becomes its client's. How it
 * is made is build.c's.
 */
#ifndef KEEPER_ALLOCATION_H
#define KEEPER_ALLOCATION_H

#include "daemon/keeper/service.h"

/**
 * allocation_alloc(), allocation_register() - LINK_ALLOC, LINK_REGISTER
 * @fds: of the request; what is taken out of them is the job's
 *
 * Answered when the job is done.
 *
 * Return: 0; -EBADMSG: no honest broker sends that; another negative errno with @fault.
 */
int allocation_alloc(struct service *service, struct client *client,
                     const struct link_request *request, struct fault *fault);
int allocation_register(struct service *service, struct client *client,
                        const struct link_request *request, struct wire_fds *fds,
                        struct fault *fault);

/** allocation_done() - the job ended: its buffer goes to its client, or back if that left meanwhile. */
void allocation_done(struct service *service, struct job *job);

#endif
