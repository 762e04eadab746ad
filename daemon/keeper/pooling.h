/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pooling: the broker's requests about the pool: how much is ready, how much should be, where it is. A
 * part of the service (service.h), which handles the rest.
 */
#ifndef KEEPER_POOLING_H
#define KEEPER_POOLING_H

#include "daemon/keeper/service.h"

/**
 * pooling_request() - handle one of these requests
 * Return: 0, answered; -EBADMSG: not one of them; or another negative errno with @fault, to be answered
 * with.
 */
int pooling_request(struct service *service, const struct client *client,
                    const struct link_request *request, struct fault *fault);

#endif
