/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Stock: a store (daemon/keeper/store.h) with clients, and buffers that have a memfd but no pages. */
#ifndef UNIT_STOCK_H
#define UNIT_STOCK_H

#include <stdbool.h>

#include "daemon/keeper/store.h"

/* Its limits. */
#define CLIENTS 8
#define BUFFERS 4 /* of a client */
#define SHARES  2 /* of a user */

#define PEER                                 \
    {                                        \
        .pid = 100, .uid = 1000, .gid = 1000 \
    }

extern struct store store;

/** setup(), teardown() - fixture; nothing may be left in it. */
int setup(void **state);
int teardown(void **state);

/** add_client() - a client of the user 1000. */
struct client *add_client(uint64_t id);

/** make_buffer() - one that is not in the store yet. */
struct buffer *make_buffer(uint64_t size, uint64_t page_size);

/** add_buffer() - one that @client holds, as at the end of an allocation. */
struct buffer *add_buffer(struct client *client);

/** drop() - drops one hold, or all, and expects it to be, or not, the last of anybody. */
void drop(struct client *client, struct buffer *buffer, bool all, bool last);

#endif
