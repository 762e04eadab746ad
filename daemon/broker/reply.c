/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* From the keeper's structs to the protocol's messages; see reply.h. */
#include "daemon/broker/reply.h"

#include <errno.h>

#include "config.h"

void reply_hello(struct session *session, uint64_t request_id)
{
    struct link_welcome *welcome = &session->broker->welcome;
    Dmabufd__Proto__HelloReply hello = DMABUFD__PROTO__HELLO_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    hello.version = PROTO_VERSION;
    hello.features = session->events ? PROTO_FEATURE_EVENTS : 0;
    hello.mode = (Dmabufd__Proto__AddressMode)welcome->mode;
    hello.pin = (Dmabufd__Proto__PinStrength)welcome->pin;
    hello.backend = welcome->backend;
    hello.backend_reason = welcome->backend_reason;
    hello.page_sizes = welcome->page_sizes;
    while (hello.n_page_sizes < ARRAY_LEN(welcome->page_sizes) &&
           welcome->page_sizes[hello.n_page_sizes])
        hello.n_page_sizes++;
    hello.max_in_flight = PROTO_IN_FLIGHT_MAX;
    hello.max_buffers = welcome->max_buffers;
    hello.max_size = welcome->max_size;
    hello.client = session->id;
    reply.id = request_id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_HELLO;
    reply.hello = &hello;
    session_reply(session, &reply, NULL);
}

static void reply_buffer(struct session *session, proto_reply *reply,
                         const struct link_buffer *buffer, struct wire_fds *fds)
{
    Dmabufd__Proto__BufferReply body = DMABUFD__PROTO__BUFFER_REPLY__INIT;

    body.buffer = buffer->id;
    body.size = buffer->size;
    body.page_size = buffer->page_size;
    body.mode = (Dmabufd__Proto__AddressMode)buffer->mode;
    body.pin = (Dmabufd__Proto__PinStrength)buffer->pin;
    body.span_count = buffer->span_count;
    body.access = (Dmabufd__Proto__Access)buffer->access;
    body.nodes = buffer->nodes;
    body.chunk_count = buffer->chunk_count;
    if (buffer->span_count <= PROTO_SPANS_INLINE_MAX) {
        body.spans.data = (uint8_t *)buffer->spans;
        body.spans.len = buffer->span_count * sizeof(buffer->spans[0]);
    }
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_BUFFER;
    reply->buffer = &body;
    session_reply(session, reply, fds);
}

static void reply_free(struct session *session, proto_reply *reply)
{
    Dmabufd__Proto__FreeReply body = DMABUFD__PROTO__FREE_REPLY__INIT;

    reply->body_case = DMABUFD__PROTO__REPLY__BODY_FREE;
    reply->free = &body;
    session_reply(session, reply, NULL);
}

static void reply_list(struct session *session, proto_reply *reply, const struct link_list *list)
{
    Dmabufd__Proto__BufferInfo infos[PROTO_LIST_PAGE], *pointers[PROTO_LIST_PAGE];
    Dmabufd__Proto__ListReply body = DMABUFD__PROTO__LIST_REPLY__INIT;

    for (uint32_t i = 0; i < list->count && i < PROTO_LIST_PAGE; i++) {
        const struct link_list_entry *entry = &list->entries[i];

        dmabufd__proto__buffer_info__init(&infos[i]);
        infos[i].buffer = entry->id;
        infos[i].size = entry->size;
        infos[i].page_size = entry->page_size;
        infos[i].span_count = entry->span_count;
        infos[i].holds = entry->holds;
        infos[i].holders = entry->holders;
        infos[i].access = (Dmabufd__Proto__Access)entry->access;
        pointers[i] = &infos[i];
        body.n_buffers = i + 1;
    }
    body.buffers = pointers;
    body.next = list->next;
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_LIST;
    reply->list = &body;
    session_reply(session, reply, NULL);
}

static void reply_status(struct session *session, proto_reply *reply,
                         const struct link_status *status)
{
    Dmabufd__Proto__StatusReply body = DMABUFD__PROTO__STATUS_REPLY__INIT;

    body.daemon_version = (char *)PACKAGE_VERSION;
    body.clients = status->clients;
    body.buffers = status->buffers;
    body.bytes = status->bytes;
    body.huge_bytes = status->huge_bytes;
    body.pinned = status->pinned;
    body.jobs = status->jobs;
    body.broker_starts = status->broker_starts;
    body.uptime_ns = status->uptime_ns;
    body.unreleasable_bytes = status->unreleasable_bytes;
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_STATUS;
    reply->status = &body;
    session_reply(session, reply, NULL);
}

static void reply_share(struct session *session, proto_reply *reply, struct wire_fds *fds)
{
    Dmabufd__Proto__ShareReply body = DMABUFD__PROTO__SHARE_REPLY__INIT;

    reply->body_case = DMABUFD__PROTO__REPLY__BODY_SHARE;
    reply->share = &body;
    session_reply(session, reply, fds);
}

static void reply_publish(struct session *session, proto_reply *reply)
{
    Dmabufd__Proto__PublishReply body = DMABUFD__PROTO__PUBLISH_REPLY__INIT;

    reply->body_case = DMABUFD__PROTO__REPLY__BODY_PUBLISH;
    reply->publish = &body;
    session_reply(session, reply, NULL);
}

static void reply_names(struct session *session, proto_reply *reply, struct link_names *names)
{
    Dmabufd__Proto__NameInfo infos[PROTO_NAMES_PAGE], *pointers[PROTO_NAMES_PAGE];
    Dmabufd__Proto__NamesReply body = DMABUFD__PROTO__NAMES_REPLY__INIT;

    for (uint32_t i = 0; i < names->count && i < PROTO_NAMES_PAGE; i++) {
        struct link_names_entry *entry = &names->entries[i];

        dmabufd__proto__name_info__init(&infos[i]);
        infos[i].name = entry->name.text;
        infos[i].buffer = entry->buffer;
        infos[i].size = entry->size;
        infos[i].owner = entry->owner;
        infos[i].group = entry->group;
        infos[i].mode = entry->mode;
        infos[i].holders = entry->holders;
        pointers[i] = &infos[i];
        body.n_names = i + 1;
    }
    body.names = pointers;
    body.more = names->more != 0;
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_NAMES;
    reply->names = &body;
    session_reply(session, reply, NULL);
}

static void reply_unpublish(struct session *session, proto_reply *reply)
{
    Dmabufd__Proto__UnpublishReply body = DMABUFD__PROTO__UNPUBLISH_REPLY__INIT;

    reply->body_case = DMABUFD__PROTO__REPLY__BODY_UNPUBLISH;
    reply->unpublish = &body;
    session_reply(session, reply, NULL);
}

static void reply_chunks(struct session *session, proto_reply *reply, struct wire_fds *fds)
{
    Dmabufd__Proto__ChunksReply body = DMABUFD__PROTO__CHUNKS_REPLY__INIT;

    reply->body_case = DMABUFD__PROTO__REPLY__BODY_CHUNKS;
    reply->chunks = &body;
    session_reply(session, reply, fds);
}

static void reply_pool(struct session *session, proto_reply *reply, struct link_pool *pool)
{
    Dmabufd__Proto__PoolReply body = DMABUFD__PROTO__POOL_REPLY__INIT;

    /* On a host without huge pages there is nothing else to say. */
    if (pool->set_count > 0) {
        body.set_count = pool->set_count;
        body.set = pool->set;
        body.node = pool->node;
        body.page_size = pool->page_size;
        body.target = pool->target;
        body.ready = pool->ready;
        body.refilling = pool->refilling != 0;
        body.largest_run = pool->largest_run;
        body.runs = pool->runs;
        body.n_runs = PROTO_POOL_RUNS;
        body.files = pool->files;
        body.n_files = PROTO_POOL_CLASSES;
        body.grants = pool->grants;
        body.misses = pool->misses;
        body.refilled = pool->refilled;
    }
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_POOL;
    reply->pool = &body;
    session_reply(session, reply, NULL);
}

static void reply_pool_map(struct session *session, proto_reply *reply, struct link_pool_map *map)
{
    Dmabufd__Proto__PoolMapReply body = DMABUFD__PROTO__POOL_MAP_REPLY__INIT;
    size_t count = map->count <= PROTO_POOL_CELLS ? map->count : PROTO_POOL_CELLS;

    body.cell = map->cell;
    body.ready.data = map->ready;
    body.ready.len = count;
    body.held.data = map->held;
    body.held.len = count;
    reply->body_case = DMABUFD__PROTO__REPLY__BODY_POOL_MAP;
    reply->pool_map = &body;
    session_reply(session, reply, NULL);
}

void reply_from_keeper(struct session *session, uint64_t request_id, struct link_reply *answer,
                       struct wire_fds *fds)
{
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    reply.id = request_id;
    if (answer->error) {
        session_refuse(session, request_id, &answer->u.fault);
        return;
    }
    switch (answer->op) {
    case LINK_ALLOC:
    case LINK_LOOKUP:
    case LINK_REGISTER:
    case LINK_OPEN:
        reply_buffer(session, &reply, &answer->u.buffer, fds);
        break;
    case LINK_FREE:
        reply_free(session, &reply);
        break;
    case LINK_LIST:
        reply_list(session, &reply, &answer->u.list);
        break;
    case LINK_STATUS:
        reply_status(session, &reply, &answer->u.status);
        break;
    case LINK_SHARE:
        reply_share(session, &reply, fds);
        break;
    case LINK_PUBLISH:
        reply_publish(session, &reply);
        break;
    case LINK_NAMES:
        reply_names(session, &reply, &answer->u.names);
        break;
    case LINK_UNPUBLISH:
        reply_unpublish(session, &reply);
        break;
    case LINK_CHUNKS:
        reply_chunks(session, &reply, fds);
        break;
    case LINK_POOL:
    case LINK_POOL_RESIZE:
        reply_pool(session, &reply, &answer->u.pool);
        break;
    case LINK_POOL_MAP:
        reply_pool_map(session, &reply, &answer->u.pool_map);
        break;
    default:
        break;
    }
}
