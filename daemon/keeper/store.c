/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who holds what; see store.h. */
#include "daemon/keeper/store.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/presented.h"

int store_init(struct store *store, const struct store_limits *limits)
{
    *store = (struct store){ .limits = *limits };
    slots_init(&store->buffers, limits->buffers);
    quota_init(&store->quota, &limits->user);
    store->clients = calloc(limits->clients, sizeof(struct client *));
    return store->clients ? 0 : -ENOMEM;
}

void store_deinit(struct store *store)
{
    slots_deinit(&store->buffers);
    free(store->clients);
    *store = (struct store){ 0 };
}

int store_client_new(struct store *store, uint64_t id, const struct link_peer *peer)
{
    uint32_t index = slots_index(id);
    struct client *client;

    if (index >= store->limits.clients || store->clients[index])
        return -EINVAL;
    client = calloc(1, sizeof(*client));
    if (!client)
        return -ENOMEM;
    client->user = quota_enter(&store->quota, peer->uid);
    if (!client->user) {
        free(client);
        return -ENOMEM;
    }
    client->id = id;
    client->peer = *peer;
    client->identity = (struct identity){ .uid = peer->uid, .gid = peer->gid };
    slots_init(&client->holds, store->limits.buffers_of_client);
    LIST_INIT(&client->jobs);
    store->clients[index] = client;
    store->client_count++;
    return 0;
}

struct client *store_client(const struct store *store, uint64_t id)
{
    uint32_t index = slots_index(id);
    struct client *client = index < store->limits.clients ? store->clients[index] : NULL;

    return client && client->id == id ? client : NULL;
}

void store_client_free(struct store *store, struct client *client)
{
    store->clients[slots_index(client->id)] = NULL;
    store->client_count--;
    client->user = quota_leave(client->user);
    identity_deinit(&client->identity);
    slots_deinit(&client->holds);
    free(client);
}

int store_reserve(struct store *store, struct client *client, uint32_t weight, struct fault *fault)
{
    const struct store_limits *limits = &store->limits;
    int r;

    if (weight > limits->buffers_of_client || client->held > limits->buffers_of_client - weight)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "this client holds %u buffers, its limit: free some, use fewer and larger "
                         "ones, or raise --max-buffers",
                         client->held);
    if (weight > limits->buffers || store->reserved > limits->buffers - weight)
        return fault_set(
            fault, DMABUFD_CODE_LIMIT, EMFILE,
            "the daemon holds %u buffers, its limit: raise its LimitNOFILE=", store->reserved);
    r = quota_charge(client->user, QUOTA_BUFFERS, weight, fault);
    if (r < 0)
        return r;
    client->held += weight;
    store->reserved += weight;
    return 0;
}

void store_unreserve(struct store *store, struct client *client, uint32_t weight)
{
    client->held -= weight;
    quota_release(client->user, QUOTA_BUFFERS, weight);
    store->reserved -= weight;
}

/* Both ids count up in their low half. */
static struct hold_bucket *bucket_of_hold(struct store *store, const struct client *client,
                                          const struct buffer *buffer)
{
    uint32_t mixed = slots_index(buffer->id) + slots_index(client->id) * UINT32_C(2654435761);

    return &store->holds[mixed % STORE_HOLD_BUCKETS];
}

static struct stake_bucket *bucket_of_stake(struct store *store, const struct quota_user *user,
                                            const struct buffer *buffer)
{
    uint32_t mixed = slots_index(buffer->id) + user->uid * UINT32_C(2654435761);

    return &store->stakes[mixed % STORE_HOLD_BUCKETS];
}

static struct stake *stake_of(struct store *store, const struct quota_user *user,
                              const struct buffer *buffer)
{
    struct stake *stake;

    LIST_FOREACH (stake, bucket_of_stake(store, user, buffer), bucket_link) {
        if (stake->user == user && stake->buffer == buffer)
            return stake;
    }
    return NULL;
}

/* Nothing is charged here. Return: NULL without memory. */
static struct stake *stake_new(struct store *store, struct quota_user *user, struct buffer *buffer)
{
    struct stake *stake = calloc(1, sizeof(*stake));

    if (!stake)
        return NULL;
    *stake = (struct stake){ .user = user, .buffer = buffer };
    LIST_INSERT_HEAD(bucket_of_stake(store, user, buffer), stake, bucket_link);
    return stake;
}

static void stake_free(struct stake *stake)
{
    if (!stake)
        return;
    LIST_REMOVE(stake, bucket_link);
    free(stake);
}

/* One client less. The last of a user passes the charge on to the buffer if nobody else is charged. */
static void stake_leave(struct stake *stake, bool last)
{
    struct buffer *buffer = stake->buffer;

    if (--stake->clients > 0)
        return;
    if (last)
        buffer->payer = quota_again(stake->user);
    else
        quota_release(stake->user, quota_kind_of(buffer->page_size), buffer->charged);
    stake_free(stake);
}

/* @stake: of the client's user. Return: NULL without memory. */
static struct hold *attach(struct store *store, struct client *client, struct buffer *buffer,
                           struct stake *stake, enum dmabufd_access access)
{
    struct hold *hold = calloc(1, sizeof(*hold));

    if (!hold)
        return NULL;
    *hold = (struct hold){
        .client = client, .buffer = buffer, .stake = stake, .count = 1, .access = access
    };
    if (slots_add(&client->holds, hold, &hold->id) < 0) {
        free(hold);
        return NULL;
    }
    LIST_INSERT_HEAD(bucket_of_hold(store, client, buffer), hold, bucket_link);
    stake->clients++;
    buffer->holders++;
    return hold;
}

static uint32_t bucket_of(ino_t ino)
{
    return (uint32_t)((uint64_t)ino % STORE_INODE_BUCKETS);
}

static int no_memory(struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
}

int store_add(struct store *store, struct client *client, struct buffer *buffer,
              struct fault *fault)
{
    struct stake *stake;

    if (slots_add(&store->buffers, buffer, &buffer->id) < 0)
        return no_memory(fault);
    stake = stake_new(store, client->user, buffer);
    if (!stake || !attach(store, client, buffer, stake, DMABUFD_READ_WRITE)) {
        stake_free(stake);
        slots_remove(&store->buffers, buffer->id);
        return no_memory(fault);
    }
    buffer->payer = quota_leave(buffer->payer);
    if (!buffer->registered)
        LIST_INSERT_HEAD(&store->inodes[bucket_of(buffer->ino)], buffer, inode_link);
    store->bytes += buffer->size;
    if (buffer->page_size > PAGE_4K)
        store->huge_bytes += buffer->size;
    return 0;
}

/* Which of the buffer's two open files @fd is. Return: 1; 0 none; -EOPNOTSUPP. */
static int compare(const struct buffer *buffer, int fd, enum dmabufd_access *ret_access)
{
    int same = memfd_same(buffer->fd, fd);

    *ret_access = DMABUFD_READ_WRITE;
    if (same != 0 || buffer->readonly_fd < 0)
        return same;
    *ret_access = DMABUFD_READ_ONLY;
    return memfd_same(buffer->readonly_fd, fd);
}

int store_find(const struct store *store, int fd, struct buffer **ret,
               enum dmabufd_access *ret_access, struct fault *fault)
{
    enum dmabufd_access access;
    struct buffer *buffer;
    struct stat st;

    if (presented_as_buffer(fd, NULL) < 0 || fstat(fd, &st) < 0)
        return presented_no_buffer(fault);
    LIST_FOREACH (buffer, &store->inodes[bucket_of(st.st_ino)], inode_link) {
        int same;

        if (buffer->ino != st.st_ino || buffer->dev != st.st_dev)
            continue;
        same = compare(buffer, fd, &access);
        if (same < 0)
            return fault_set(
                fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                "the kernel does not compare open files: it needs F_DUPFD_QUERY (Linux "
                "6.10) or kcmp(2) (CONFIG_KCMP), not hidden by a seccomp filter");
        if (same == 0)
            continue;
        *ret = buffer;
        *ret_access = access;
        return 0;
    }
    return presented_no_buffer(fault);
}

struct hold *store_held(struct store *store, const struct client *client, uint64_t buffer)
{
    struct buffer *found = slots_get(&store->buffers, buffer);
    struct hold *hold;

    if (!found)
        return NULL;
    LIST_FOREACH (hold, bucket_of_hold(store, client, found), bucket_link) {
        if (hold->client == client && hold->buffer == found)
            return hold;
    }
    return NULL;
}

/* The user pays with the first of its clients. */
static int join_holders(struct store *store, struct client *client, struct buffer *buffer,
                        enum dmabufd_access access, struct fault *fault)
{
    struct stake *stake = stake_of(store, client->user, buffer);
    enum quota_kind kind = quota_kind_of(buffer->page_size);
    int r;

    if (stake)
        return attach(store, client, buffer, stake, access) ? 0 : no_memory(fault);
    r = quota_charge(client->user, kind, buffer->charged, fault);
    if (r < 0)
        return r;
    stake = stake_new(store, client->user, buffer);
    if (stake && attach(store, client, buffer, stake, access))
        return 0;
    stake_free(stake);
    quota_release(client->user, kind, buffer->charged);
    return no_memory(fault);
}

int store_hold(struct store *store, struct client *client, struct buffer *buffer,
               enum dmabufd_access access, struct fault *fault)
{
    struct hold *hold = store_held(store, client, buffer->id);
    int r;

    if (hold) {
        if (hold->count == UINT32_MAX)
            return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE, "too many holds of one buffer");
        hold->count++;
        if (access > hold->access)
            hold->access = access;
        return 0;
    }
    r = store_reserve(store, client, buffer_weight(buffer), fault);
    if (r < 0)
        return r;
    r = join_holders(store, client, buffer, access, fault);
    if (r < 0)
        store_unreserve(store, client, buffer_weight(buffer));
    return r;
}

static int charge_share(struct store *store, struct client *client, uint32_t weight,
                        struct fault *fault)
{
    if (weight > store->limits.shares || store->shares > store->limits.shares - weight)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "%u buffers are shared for reading only, the daemon's limit: raise its "
                         "LimitNOFILE=",
                         store->shares);
    return quota_charge(client->user, QUOTA_SHARES, weight, fault);
}

static int reopen(struct buffer *buffer, struct fault *fault)
{
    int r = 0;

    for (uint32_t i = 0; r == 0 && i < buffer->chunk_count; i++) {
        if (buffer->chunk[i]->readonly_fd < 0)
            r = memfd_reopen_readonly(buffer->chunk[i]->fd, &buffer->chunk[i]->readonly_fd);
    }
    if (r == 0)
        r = memfd_reopen_readonly(buffer->fd, &buffer->readonly_fd);
    if (r == -EMFILE || r == -ENFILE)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the daemon is out of file descriptors: raise its LimitNOFILE=");
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EIO,
                         "the daemon cannot open the buffer for reading only, through /proc: %s",
                         strerror(-r));
    return 0;
}

static void close_chunks(struct buffer *buffer)
{
    for (uint32_t i = 0; i < buffer->chunk_count; i++)
        fd_close(&buffer->chunk[i]->readonly_fd);
}

int store_share(struct store *store, struct client *client, struct buffer *buffer,
                struct fault *fault)
{
    uint32_t weight = buffer_weight(buffer);
    int r;

    if (buffer->readonly_fd >= 0)
        return 0;
    if (buffer->registered)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "memory that a client registered cannot be shared by the daemon, because "
                         "whoever made it can change what others may do with it: pass its memfd "
                         "on, or share a buffer that the daemon allocated");
    r = charge_share(store, client, weight, fault);
    if (r < 0)
        return r;
    r = reopen(buffer, fault);
    if (r < 0) {
        close_chunks(buffer);
        quota_release(client->user, QUOTA_SHARES, weight);
        return r;
    }
    buffer->sharer = quota_again(client->user);
    store->shares += weight;
    return 0;
}

static void end_share(struct store *store, struct buffer *buffer)
{
    if (!buffer->sharer)
        return;
    store->shares -= buffer_weight(buffer);
    quota_release(buffer->sharer, QUOTA_SHARES, buffer_weight(buffer));
    buffer->sharer = quota_leave(buffer->sharer);
}

struct buffer *store_drop(struct store *store, struct hold *hold, bool all)
{
    struct buffer *buffer = hold->buffer;

    if (!all && --hold->count > 0)
        return NULL;
    slots_remove(&hold->client->holds, hold->id);
    LIST_REMOVE(hold, bucket_link);
    store_unreserve(store, hold->client, buffer_weight(buffer));
    buffer->holders--;
    stake_leave(hold->stake, buffer->holders == 0);
    free(hold);
    if (buffer->holders > 0)
        return NULL;
    end_share(store, buffer);
    if (!buffer->registered)
        LIST_REMOVE(buffer, inode_link);
    slots_remove(&store->buffers, buffer->id);
    store->bytes -= buffer->size;
    if (buffer->page_size > PAGE_4K)
        store->huge_bytes -= buffer->size;
    return buffer;
}
