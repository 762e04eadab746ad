/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Grant: answering an allocation out of the pool, on the spot. No page is touched, nothing pinned and
 * nothing resolved for it: that was done when the pool was filled.
 */
#ifndef KEEPER_GRANT_H
#define KEEPER_GRANT_H

#include "daemon/keeper/service.h"

/**
 * grant_try() - answer LINK_ALLOC with a ready buffer
 * @build: the same request, its constraints checked; if the pool has pages but not as they were asked
 *         for, and the kernel has too few, it gets what the pool gives up for it
 *
 * Return: 1, answered; 0: it is to be built; negative errno with @fault: refused.
 */
int grant_try(struct service *service, struct client *client, const struct link_request *request,
              struct build *build, struct fault *fault);

#endif
