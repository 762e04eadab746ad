/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who holds what; see store.h. */
#include "daemon/keeper/store.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/memfd.h"
#include "daemon/presented.h"

int store_init(struct store *store, const struct store_limits *limits)
{
    *store = (struct store){ .limits = *limits };
    slots_init(&store->buffers, limits->buffers);
    store->clients = calloc(limits->clients, sizeof(struct client *));
    return store->clients ? 0 : -ENOMEM;
}

void store_deinit(struct store *store)
{
    slots_deinit(&store->buffers);
    free(store->clients);
    *store = (struct store){ 0 };
}

static struct user *enter_user(struct store *store, uint32_t uid)
{
    struct user *user;

    LIST_FOREACH (user, &store->users, link) {
        if (user->uid == uid)
            break;
    }
    if (!user) {
        user = calloc(1, sizeof(*user));
        if (!user)
            return NULL;
        user->uid = uid;
        LIST_INSERT_HEAD(&store->users, user, link);
    }
    user->clients++;
    return user;
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
    client->user = enter_user(store, peer->uid);
    if (!client->user) {
        free(client);
        return -ENOMEM;
    }
    client->id = id;
    client->peer = *peer;
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
    if (--client->user->clients == 0) {
        LIST_REMOVE(client->user, link);
        free(client->user);
    }
    slots_deinit(&client->holds);
    free(client);
}

int store_reserve(struct store *store, struct client *client, struct fault *fault)
{
    const struct store_limits *limits = &store->limits;

    if (client->held >= limits->buffers_of_client)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "this client holds %u buffers, its limit: free some, use fewer and larger "
                         "ones, or raise --max-buffers",
                         client->held);
    if (client->user->held >= limits->buffers_of_user)
        return fault_set(
            fault, DMABUFD_CODE_LIMIT, EMFILE,
            "the clients of this user hold %u buffers, its limit: free some, use fewer "
            "and larger ones, or raise the daemon's LimitNOFILE=",
            client->user->held);
    if (store->reserved >= limits->buffers)
        return fault_set(
            fault, DMABUFD_CODE_LIMIT, EMFILE,
            "the daemon holds %u buffers, its limit: raise its LimitNOFILE=", store->reserved);
    client->held++;
    client->user->held++;
    store->reserved++;
    return 0;
}

void store_unreserve(struct store *store, struct client *client)
{
    client->held--;
    client->user->held--;
    store->reserved--;
}

/* Both ids count up in their low half. */
static struct hold_bucket *bucket_of_hold(struct store *store, const struct client *client,
                                          const struct buffer *buffer)
{
    uint32_t mixed = slots_index(buffer->id) + slots_index(client->id) * UINT32_C(2654435761);

    return &store->holds[mixed % STORE_HOLD_BUCKETS];
}

static struct hold *attach(struct store *store, struct client *client, struct buffer *buffer)
{
    struct hold *hold = calloc(1, sizeof(*hold));

    if (!hold)
        return NULL;
    *hold = (struct hold){ .client = client, .buffer = buffer, .count = 1 };
    if (slots_add(&client->holds, hold, &hold->id) < 0) {
        free(hold);
        return NULL;
    }
    LIST_INSERT_HEAD(bucket_of_hold(store, client, buffer), hold, bucket_link);
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
    if (slots_add(&store->buffers, buffer, &buffer->id) < 0)
        return no_memory(fault);
    if (!attach(store, client, buffer)) {
        slots_remove(&store->buffers, buffer->id);
        return no_memory(fault);
    }
    if (!buffer->registered)
        LIST_INSERT_HEAD(&store->inodes[bucket_of(buffer->ino)], buffer, inode_link);
    store->bytes += buffer->size;
    if (buffer->page_size > PAGE_4K)
        store->huge_bytes += buffer->size;
    return 0;
}

int store_find(const struct store *store, int fd, struct buffer **ret, struct fault *fault)
{
    struct buffer *buffer;
    struct stat st;

    if (presented_as_buffer(fd, NULL) < 0 || fstat(fd, &st) < 0)
        return presented_no_buffer(fault);
    LIST_FOREACH (buffer, &store->inodes[bucket_of(st.st_ino)], inode_link) {
        int same;

        if (buffer->ino != st.st_ino || buffer->dev != st.st_dev)
            continue;
        same = memfd_same(buffer->fd, fd);
        if (same < 0)
            return fault_set(
                fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                "the kernel does not compare open files: it needs F_DUPFD_QUERY (Linux "
                "6.10) or kcmp(2) (CONFIG_KCMP), not hidden by a seccomp filter");
        if (same == 0)
            continue;
        *ret = buffer;
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

int store_hold(struct store *store, struct client *client, struct buffer *buffer,
               struct fault *fault)
{
    struct hold *hold = store_held(store, client, buffer->id);
    int r;

    if (hold) {
        if (hold->count == UINT32_MAX)
            return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE, "too many holds of one buffer");
        hold->count++;
        return 0;
    }
    r = store_reserve(store, client, fault);
    if (r < 0)
        return r;
    if (!attach(store, client, buffer)) {
        store_unreserve(store, client);
        return no_memory(fault);
    }
    return 0;
}

struct buffer *store_drop(struct store *store, struct hold *hold, bool all)
{
    struct buffer *buffer = hold->buffer;

    if (!all && --hold->count > 0)
        return NULL;
    slots_remove(&hold->client->holds, hold->id);
    LIST_REMOVE(hold, bucket_link);
    store_unreserve(store, hold->client);
    free(hold);
    if (--buffer->holders > 0)
        return NULL;
    if (!buffer->registered)
        LIST_REMOVE(buffer, inode_link);
    slots_remove(&store->buffers, buffer->id);
    store->bytes -= buffer->size;
    if (buffer->page_size > PAGE_4K)
        store->huge_bytes -= buffer->size;
    return buffer;
}
