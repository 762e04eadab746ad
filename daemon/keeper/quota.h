/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Quota: what each user has of what there is not enough of, counted in one place, and how much one
 * user can have.
 *
 * A user is a uid, however many connections it makes. What is there for all together is limited
 * elsewhere: buffers in store.h, memory in memory.h.
 *
 * Threads: users come and go on the main thread; any thread may charge one that stays.
 */
#ifndef KEEPER_QUOTA_H
#define KEEPER_QUOTA_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "common/fault.h"

/** What is counted. */
enum quota_kind {
    QUOTA_BUFFERS, /* held by its clients, each client's counted, and requests for such */
    QUOTA_SMALL, /* bytes of pinned memory outside huge pages, its own registered memory included */
    QUOTA_2M,    /* bytes in huge pages of 2 MiB */
    QUOTA_1G,    /* bytes in larger ones */
    QUOTA_SHARES, /* read-only files of buffers that it asked for */
    QUOTA_NAMES,  /* of buffers, that it published */
    QUOTA_KINDS
};

/** The most that one user can have of each. */
struct quota_limits {
    uint64_t most[QUOTA_KINDS];
};

#define QUOTA_UNLIMITED UINT64_MAX

struct quota_user {
    LIST_ENTRY(quota_user) link;
    const struct quota_limits *limits;
    uint32_t uid;
    uint32_t references;
    atomic_uint_least64_t used[QUOTA_KINDS];
};

#define QUOTA_BUCKETS 1024U

struct quota {
    struct quota_limits limits;
    LIST_HEAD(quota_bucket, quota_user) users[QUOTA_BUCKETS];
};

/** quota_init() - no users yet. */
void quota_init(struct quota *quota, const struct quota_limits *limits);

/** quota_enter() - the user with this id, with one more reference. Return: NULL without memory. */
struct quota_user *quota_enter(struct quota *quota, uint32_t uid);

/** quota_again() - one more reference to a user there is. Returns @user. */
struct quota_user *quota_again(struct quota_user *user);

/** quota_leave() - one reference less; the last one forgets the user. NULL is allowed. Returns NULL. */
struct quota_user *quota_leave(struct quota_user *user);

/** quota_kind_of() - of memory in pages of this size, bytes. */
enum quota_kind quota_kind_of(uint64_t page_size);

/**
 * quota_charge() - @user has so much more of it
 * Return: 0; at the limit -ENOMEM for memory, else -EMFILE, with @fault, nothing charged.
 */
int quota_charge(struct quota_user *user, enum quota_kind kind, uint64_t amount,
                 struct fault *fault);

/** quota_has_room() - whether quota_charge() would succeed now. */
bool quota_has_room(const struct quota_user *user, enum quota_kind kind, uint64_t amount);

/** quota_release() - and so much less. */
void quota_release(struct quota_user *user, enum quota_kind kind, uint64_t amount);

#endif
