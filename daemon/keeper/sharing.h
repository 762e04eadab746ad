/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sharing: the broker's requests about what clients share: look-up by descriptor, read-only
 * descriptors, names, and the groups that names are judged by. A part of the service (service.h), which handles the rest.
 */
#ifndef KEEPER_SHARING_H
#define KEEPER_SHARING_H

#include "daemon/keeper/service.h"

/** sharing_groups() - the client is in these groups, too. Return: 0; -EBADMSG or -ENOMEM: end it. */
int sharing_groups(struct client *client, const struct link_groups *groups);

/** sharing_lookup() - LINK_LOOKUP, with its one descriptor. Return: as sharing_request(). */
int sharing_lookup(struct service *service, struct client *client,
                   const struct link_request *request, const struct wire_fds *fds,
                   struct fault *fault);

/**
 * sharing_request() - handle one of these requests
 * Return: 0, answered; -EBADMSG: not one of them, or none that an honest broker sends; or another
 * negative errno with @fault, to be answered with.
 */
int sharing_request(struct service *service, struct client *client,
                    const struct link_request *request, struct fault *fault);

#endif
