/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Store: the truth about what exists. Clients, finished buffers, and who holds which.
 *
 * Bookkeeping only: it pins and frees nothing. A buffer whose last hold goes is handed back to the
 * caller, who tears it down. Main thread only.
 */
#ifndef KEEPER_STORE_H
#define KEEPER_STORE_H

#include <stdint.h>
#include <sys/queue.h>

#include "common/fault.h"
#include "common/slots.h"
#include "daemon/keeper/buffer.h"
#include "daemon/keeper/identity.h"
#include "daemon/keeper/job.h"
#include "daemon/keeper/quota.h"
#include "daemon/link.h"

/** How much there may be. */
struct store_limits {
    uint32_t clients;
    uint32_t buffers; /* of all together */
    uint32_t buffers_of_client;
    uint32_t shares; /* buffers with a read-only file, of all together */
    uint32_t pool;   /* ready files */
    struct quota_limits user;
};

/** A connection, as the broker told of it. */
struct client {
    uint64_t id; /* the broker's */
    struct link_peer peer;
    struct identity identity;
    struct quota_user *user;
    uint32_t job_count;
    uint32_t held; /* distinct buffers, by weight, and jobs that will become one */
    struct slots holds;
    LIST_HEAD(, job) jobs; /* allocations at work */
};

/** client_party() - on whose account its jobs are done. */
static inline struct party client_party(const struct client *client)
{
    return (struct party){ .uid = client->peer.uid, .client = client->id };
}

/**
 * A user holds a buffer, by @clients of its clients. Each such user is charged for all of the buffer:
 * it may be the one that keeps it.
 */
struct stake {
    struct quota_user *user;
    struct buffer *buffer;
    uint32_t clients;
    LIST_ENTRY(stake) bucket_link;
};

/** A client holds a buffer @count times. The right is the best of those it came by. */
struct hold {
    struct client *client;
    struct buffer *buffer;
    struct stake *stake;
    uint32_t count;
    enum dmabufd_access access;
    uint64_t id; /* in client->holds; the cursor of a list is a place there */
    LIST_ENTRY(hold) bucket_link;
};

#define STORE_INODE_BUCKETS 4096U
#define STORE_HOLD_BUCKETS  16384U

struct store {
    struct store_limits limits;
    uint32_t reserved; /* buffers held, and jobs that will become one, of all */
    uint32_t shares;   /* buffers with a read-only file */
    struct quota quota;
    struct client **clients; /* by slots_index() of the id */
    uint32_t client_count;
    struct slots buffers;
    uint64_t bytes;
    uint64_t huge_bytes;
    LIST_HEAD(, buffer) inodes[STORE_INODE_BUCKETS];
    LIST_HEAD(hold_bucket, hold) holds[STORE_HOLD_BUCKETS];
    LIST_HEAD(stake_bucket, stake) stakes[STORE_HOLD_BUCKETS];
};

/** store_init() - Return: 0 or -ENOMEM. */
int store_init(struct store *store, const struct store_limits *limits);

/** store_deinit() - frees an empty store; allowed on a zeroed struct. */
void store_deinit(struct store *store);

/** store_client_new() - Return: 0; -EINVAL for an id that is out of bounds or taken; -ENOMEM. */
int store_client_new(struct store *store, uint64_t id, const struct link_peer *peer);

/** store_client() - by the broker's id, or NULL. */
struct client *store_client(const struct store *store, uint64_t id);

/** store_client_free() - forget a client that holds nothing any more and has no jobs. */
void store_client_free(struct store *store, struct client *client);

/**
 * store_reserve() - one more buffer for @client
 * @weight: buffer_weight(); a buffer of several chunks counts as that many
 * Return: 0, -EMFILE at a limit, with @fault.
 */
int store_reserve(struct store *store, struct client *client, uint32_t weight, struct fault *fault);

/** store_unreserve() - it came to nothing. */
void store_unreserve(struct store *store, struct client *client, uint32_t weight);

/**
 * store_add() - a finished buffer, for which @client has a reservation, gets its first hold
 *
 * What its payer, the client's user, was charged is charged to the user as a holder from now on.
 *
 * Return: 0; -ENOMEM with @fault (the reservation stays).
 */
int store_add(struct store *store, struct client *client, struct buffer *buffer,
              struct fault *fault);

/**
 * store_find() - the buffer that @fd is, proven by the kernel
 * @ret_access: what can be done through it
 * Return: 0; -ENXIO none; -EOPNOTSUPP the kernel cannot compare; with @fault.
 */
int store_find(const struct store *store, int fd, struct buffer **ret,
               enum dmabufd_access *ret_access, struct fault *fault);

/**
 * store_hold() - one more hold of @client, charged to its user if that has none; @client has this right
 * now if it did not have a better one
 * Return: 0; -EMFILE, -ENOMEM, with @fault.
 */
int store_hold(struct store *store, struct client *client, struct buffer *buffer,
               enum dmabufd_access access, struct fault *fault);

/**
 * store_share() - see that the buffer has its read-only file, charged to @client's user
 *
 * Nobody but root and the user that runs the keeper can open that file anew for writing, because the
 * memory is theirs with mode 0600. That cannot be said of memory that a client made.
 *
 * Return: 0; -EOPNOTSUPP a client made the memory; -EMFILE; -EIO; with @fault.
 */
int store_share(struct store *store, struct client *client, struct buffer *buffer,
                struct fault *fault);

/** store_held() - the hold of @client on the buffer with this id, or NULL. */
struct hold *store_held(struct store *store, const struct client *client, uint64_t buffer);

/**
 * store_drop() - give up one hold
 * @all: all of them
 * Return: the buffer if that was the last hold of anybody: out of the store, the caller's to tear
 * down, and the user who held it last pays until that is done; else NULL.
 */
struct buffer *store_drop(struct store *store, struct hold *hold, bool all);

#endif
