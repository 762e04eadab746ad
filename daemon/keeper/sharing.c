/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What clients share; see sharing.h. */
#include "daemon/keeper/sharing.h"

#include <errno.h>
#include <string.h>

#include "daemon/keeper/answer.h"

int sharing_groups(struct client *client, const struct link_groups *groups)
{
    int r;

    if (groups->count > LINK_GROUPS_CHUNK)
        return -EBADMSG;
    r = identity_add_groups(&client->identity, groups->gid, groups->count, groups->cut != 0);
    return r == -EINVAL ? -EBADMSG : r;
}

static bool is_text(const struct link_name *name)
{
    return memchr(name->text, '\0', sizeof(name->text)) != NULL;
}

static int find_hold(struct service *service, struct client *client, uint64_t buffer,
                     struct hold **ret, struct fault *fault)
{
    *ret = store_held(&service->store, client, buffer);
    if (!*ret)
        return fault_set(fault, DMABUFD_CODE_NOT_HELD, ENOENT,
                         "this client holds no buffer with number %llu",
                         (unsigned long long)buffer);
    return 0;
}

/* The client becomes a holder of a buffer that was found, and is told of it. */
static int join(struct service *service, struct client *client, const struct link_request *request,
                struct buffer *buffer, enum dmabufd_access access, struct fault *fault)
{
    int r = store_hold(&service->store, client, buffer, access, fault);

    if (r < 0)
        return r;
    r = answer_buffer(service->link, service->backend, request->op, request->tag, buffer, access,
                      fault);
    /* Somebody held it before, or it could not have been found. */
    if (r < 0)
        store_drop(&service->store, store_held(&service->store, client, buffer->id), false);
    return r;
}

int sharing_lookup(struct service *service, struct client *client,
                   const struct link_request *request, const struct wire_fds *fds,
                   struct fault *fault)
{
    enum dmabufd_access access;
    struct buffer *buffer;
    int r = store_find(&service->store, fds->fd[0], &buffer, &access, fault);

    return r < 0 ? r : join(service, client, request, buffer, access, fault);
}

static int on_share(struct service *service, struct client *client,
                    const struct link_request *request, struct fault *fault)
{
    struct hold *hold;
    int r = find_hold(service, client, request->u.buffer, &hold, fault);

    if (r == 0)
        r = store_share(&service->store, client, hold->buffer, fault);
    return r < 0 ? r : answer_share(service->link, request->tag, hold->buffer, fault);
}

/* A hold for reading only was made with the read-only files, chunks included. */
static int on_chunks(struct service *service, struct client *client,
                     const struct link_request *request, struct fault *fault)
{
    const struct link_chunks *asked = &request->u.chunks;
    struct hold *hold;
    int r = find_hold(service, client, asked->buffer, &hold, fault);

    if (r < 0)
        return r;
    if (asked->first >= hold->buffer->chunk_count)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL, "buffer %llu has %u chunks, not %u",
                         (unsigned long long)asked->buffer, hold->buffer->chunk_count,
                         asked->first);
    return answer_chunks(service->link, request->tag, hold->buffer, asked->first, hold->access,
                         fault);
}

static int on_publish(struct service *service, struct client *client,
                      const struct link_request *request, struct fault *fault)
{
    const struct link_publication *asked = &request->u.publication;
    const struct names_publication publication = { .text = asked->name.text,
                                                   .group = asked->group,
                                                   .mode = asked->mode };
    struct link_reply reply = { .op = LINK_PUBLISH, .tag = request->tag };
    struct hold *hold;
    int r;

    if (!is_text(&asked->name))
        return -EBADMSG;
    r = find_hold(service, client, asked->buffer, &hold, fault);
    if (r == 0)
        r = names_publish(&service->names, &client->identity, client->user, hold->buffer,
                          hold->access, &publication, fault);
    if (r == 0)
        answer_send(service->link, &reply, NULL);
    return r;
}

static int on_open(struct service *service, struct client *client,
                   const struct link_request *request, struct fault *fault)
{
    const struct link_opening *asked = &request->u.opening;
    enum dmabufd_access access = asked->access;
    struct buffer *buffer;
    struct name *name;
    int r;

    if (!is_text(&asked->name))
        return -EBADMSG;
    if (asked->access != DMABUFD_READ_ONLY && asked->access != DMABUFD_READ_WRITE)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "access %u is none: 1 for reading only, 2 for reading and writing",
                         asked->access);
    r = names_open(&service->names, &client->identity, asked->name.text, access, asked->owner,
                   &name, fault);
    if (r < 0)
        return r;
    buffer = name->buffer;
    if (access == DMABUFD_READ_ONLY)
        r = store_share(&service->store, client, buffer, fault);
    return r < 0 ? r : join(service, client, request, buffer, access, fault);
}

static int on_names(struct service *service, struct client *client,
                    const struct link_request *request)
{
    struct link_reply reply = { .op = LINK_NAMES, .tag = request->tag };
    struct link_names *names = &reply.u.names;
    const char *after = request->u.name.text;
    const struct name *name;

    if (!is_text(&request->u.name))
        return -EBADMSG;
    while ((name = names_next(&service->names, &client->identity, after))) {
        struct link_names_entry *entry;

        if (names->count == PROTO_NAMES_PAGE) {
            names->more = 1;
            break;
        }
        entry = &names->entries[names->count++];
        *entry = (struct link_names_entry){ .buffer = name->buffer->id,
                                            .size = name->buffer->size,
                                            .owner = name->owner,
                                            .group = name->group,
                                            .mode = name->mode,
                                            .holders = name->buffer->holders };
        memcpy(entry->name.text, name->text, strlen(name->text) + 1);
        after = name->text;
    }
    answer_send(service->link, &reply, NULL);
    return 0;
}

static int on_unpublish(struct service *service, struct client *client,
                        const struct link_request *request, struct fault *fault)
{
    struct link_reply reply = { .op = LINK_UNPUBLISH, .tag = request->tag };
    int r;

    if (!is_text(&request->u.name))
        return -EBADMSG;
    r = names_withdraw(&service->names, &client->identity, request->u.name.text, fault);
    if (r == 0)
        answer_send(service->link, &reply, NULL);
    return r;
}

int sharing_request(struct service *service, struct client *client,
                    const struct link_request *request, struct fault *fault)
{
    switch (request->op) {
    case LINK_SHARE:
        return on_share(service, client, request, fault);
    case LINK_CHUNKS:
        return on_chunks(service, client, request, fault);
    case LINK_PUBLISH:
        return on_publish(service, client, request, fault);
    case LINK_OPEN:
        return on_open(service, client, request, fault);
    case LINK_NAMES:
        return on_names(service, client, request);
    case LINK_UNPUBLISH:
        return on_unpublish(service, client, request, fault);
    default:
        return -EBADMSG;
    }
}
