/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Grant: answering an allocation out of the pool, on the spot. No page is touched, nothing pinned and
 * nothing resolved for it: that was done when the pool was filled.
 */
#ifndef KEEPER_GRANT_H
#define KEEPER_GRANT_H

#include "daemon/keeper/service.h"

/** What the pool may have, but not in the form in which it was asked for. */
struct shortfall {
    struct pool_set *set; /* NULL: nothing */
    uint64_t size;        /* of the buffer in its pages, bytes */
};

/**
 * grant_try() - answer LINK_ALLOC with a ready buffer
 * @build: the same request, its constraints checked
 * @ret: for grant_give_up(), if it is to be built
 *
 * Return: 1, answered; 0: it is to be built; negative errno with @fault: refused.
 */
int grant_try(struct service *service, struct client *client, const struct link_request *request,
              const struct build *build, struct shortfall *ret, struct fault *fault);

/** grant_give_up() - where the kernel has too few pages for @build, it gets what the pool has of them. */
void grant_give_up(struct service *service, const struct client *client,
                   const struct shortfall *shortfall, struct build *build);

#endif
