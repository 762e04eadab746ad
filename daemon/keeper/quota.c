/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting by user; see quota.h. */
#include "daemon/keeper/quota.h"

#include <errno.h>
#include <stdlib.h>

#include "daemon/keeper/memory.h"

void quota_init(struct quota *quota, const struct quota_limits *limits)
{
    *quota = (struct quota){ .limits = *limits };
}

struct quota_user *quota_enter(struct quota *quota, uint32_t uid)
{
    struct quota_bucket *bucket = &quota->users[uid % QUOTA_BUCKETS];
    struct quota_user *user;

    LIST_FOREACH (user, bucket, link) {
        if (user->uid == uid)
            return quota_again(user);
    }
    user = calloc(1, sizeof(*user));
    if (!user)
        return NULL;
    user->limits = &quota->limits;
    user->uid = uid;
    LIST_INSERT_HEAD(bucket, user, link);
    return quota_again(user);
}

struct quota_user *quota_again(struct quota_user *user)
{
    user->references++;
    return user;
}

struct quota_user *quota_leave(struct quota_user *user)
{
    if (user && --user->references == 0) {
        LIST_REMOVE(user, link);
        free(user);
    }
    return NULL;
}

enum quota_kind quota_kind_of(uint64_t page_size)
{
    if (page_size <= PAGE_4K)
        return QUOTA_SMALL;
    return page_size <= PAGE_2M ? QUOTA_2M : QUOTA_1G;
}

/* Of one's own only: what others have is not for everybody to know. */
static int refuse(enum quota_kind kind, uint64_t used, uint64_t most, uint64_t amount,
                  struct fault *fault)
{
    unsigned long long has = used >> 20, can = most >> 20, more = amount >> 20;

    switch (kind) {
    case QUOTA_BUFFERS:
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the clients of this user hold %llu buffers, its limit: free some, use "
                         "fewer and larger ones, or raise the daemon's LimitNOFILE=",
                         (unsigned long long)used);
    case QUOTA_SMALL:
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "this user has %llu MiB of memory outside huge pages, %llu MiB more were "
                         "asked for, and its limit is %llu MiB: free buffers, use huge pages, or "
                         "raise --memory-limit-per-user",
                         has, more, can);
    case QUOTA_SHARES:
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "%llu buffers are shared for reading only at the wish of this user, its "
                         "limit: free some, or raise the daemon's LimitNOFILE=",
                         (unsigned long long)used);
    case QUOTA_NAMES:
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "this user has published %llu names, its limit: unpublish some",
                         (unsigned long long)used);
    default:
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "this user has %llu MiB in huge pages of this size, %llu MiB more were "
                         "asked for, and its limit is %llu MiB: free buffers",
                         has, more, can);
    }
}

int quota_charge(struct quota_user *user, enum quota_kind kind, uint64_t amount,
                 struct fault *fault)
{
    uint64_t most = user->limits->most[kind];
    uint64_t used = atomic_load(&user->used[kind]);

    do {
        if (amount > most || used > most - amount)
            return refuse(kind, used, most, amount, fault);
    } while (!atomic_compare_exchange_weak(&user->used[kind], &used, used + amount));
    return 0;
}

bool quota_has_room(const struct quota_user *user, enum quota_kind kind, uint64_t amount)
{
    uint64_t most = user->limits->most[kind], used = atomic_load(&user->used[kind]);

    return amount <= most && used <= most - amount;
}

void quota_release(struct quota_user *user, enum quota_kind kind, uint64_t amount)
{
    atomic_fetch_sub(&user->used[kind], amount);
}
