/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests of the broker; see service.h. */
#include "daemon/keeper/service.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "common/clock.h"
#include "daemon/keeper/allocation.h"
#include "daemon/keeper/answer.h"
#include "daemon/keeper/pooling.h"
#include "daemon/keeper/release.h"
#include "daemon/keeper/sharing.h"
#include "daemon/link.h"
#include "daemon/log.h"

/* How many places of a client's table one page of its list looks at. */
#define LIST_PLACES (32 * PROTO_LIST_PAGE)

/*
 * @ours: we ended the connection, not the client. Then it keeps what it has in its buffers: it may
 * still work on that, and did nothing to lose it. Pins, addresses and charge go all the same.
 */
static void client_gone(struct service *service, struct client *client, bool ours)
{
    uint32_t cursor = 0;
    struct hold *hold;
    struct job *job;

    log_debug("client %llu (pid %u, uid %u) left with %u buffers", (unsigned long long)client->id,
              client->peer.pid, client->peer.uid, client->held);
    while ((job = LIST_FIRST(&client->jobs))) {
        LIST_REMOVE(job, client_link);
        store_unreserve(&service->store, client, 1);
        job->client = 0;
        job->answer = false;
        atomic_store(&job->cancelled, true);
    }
    while ((hold = slots_next(&client->holds, &cursor))) {
        struct buffer *last = store_drop(&service->store, hold, true);

        if (!last)
            continue;
        buffer_show(last, last->shown && !ours);
        release_buffer(service, last, client_party(client), NULL);
    }
    store_client_free(&service->store, client);
}

static int on_client_new(struct service *service, const struct link_request *request)
{
    int r = store_client_new(&service->store, request->client, &request->u.peer);

    return r == -EINVAL ? -EBADMSG : r;
}

static int on_client_gone(struct service *service, struct client *client)
{
    client_gone(service, client, service->ending);
    return 0;
}

static int on_free(struct service *service, struct client *client,
                   const struct link_request *request, struct fault *fault)
{
    struct hold *hold = store_held(&service->store, client, request->u.buffer);
    struct link_reply reply = { .op = LINK_FREE, .tag = request->tag };
    struct buffer *last;

    if (!hold)
        return fault_set(fault, DMABUFD_CODE_NOT_HELD, ENOENT,
                         "this client holds no buffer with number %llu",
                         (unsigned long long)request->u.buffer);
    last = store_drop(&service->store, hold, false);
    if (last)
        release_buffer(service, last, client_party(client), request);
    else
        answer_send(service->link, &reply, NULL);
    return 0;
}

/* In the order of their places in the client's table, so that a page begins where the one before it
 * ended, whatever is gone by then. A client can leave its table almost empty: to find that out, page
 * after page without a buffer, is the work of whoever asks. */
static void on_list(struct service *service, struct client *client,
                    const struct link_request *request)
{
    struct link_reply reply = { .op = LINK_LIST, .tag = request->tag };
    struct link_list *list = &reply.u.list;
    const struct slots *holds = &client->holds;
    uint32_t place =
        request->u.after < holds->capacity ? (uint32_t)request->u.after : holds->capacity;
    uint32_t end = holds->capacity - place > LIST_PLACES ? place + LIST_PLACES : holds->capacity;
    const struct hold *hold;

    while (list->count < PROTO_LIST_PAGE && (hold = slots_next_until(holds, &place, end))) {
        const struct buffer *buffer = hold->buffer;

        list->entries[list->count++] = (struct link_list_entry){
            .id = buffer->id,
            .size = buffer->size,
            .page_size = buffer->page_size,
            .span_count = buffer->span_count,
            .holds = hold->count,
            .holders = buffer->holders,
            .access = hold->access,
        };
    }
    if (place < holds->capacity)
        list->next = place;
    answer_send(service->link, &reply, NULL);
}

static void on_status(struct service *service, const struct link_request *request)
{
    struct link_reply reply = {
        .op = LINK_STATUS,
        .tag = request->tag,
        .u.status = { .clients = service->store.client_count,
                      .buffers = service->store.buffers.count,
                      .bytes = service->store.bytes,
                      .huge_bytes = service->store.huge_bytes,
                      .pinned = service->pinned,
                      .jobs = service->jobs,
                      .broker_starts = service->broker_starts,
                      .uptime_ns = now_ns() - service->started_ns,
                      .unreleasable_bytes = service->unreleasable },
    };

    answer_send(service->link, &reply, NULL);
}

static bool brings_fd(uint32_t op)
{
    return op == LINK_LOOKUP || op == LINK_REGISTER;
}

void service_submit(struct service *service, struct job *job)
{
    service->jobs++;
    workers_submit(service->workers, job);
}

void service_drained(struct service *service)
{
    if (service->link && channel_queued(service->link) <= LINK_QUEUE_MAX)
        channel_pause(service->link, false);
}

int service_request(struct service *service, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct link_request request;
    struct fault fault = { 0 };
    struct client *client;
    int r = 0;

    if (size != sizeof(request))
        return -EBADMSG;
    memcpy(&request, bytes, sizeof(request));
    if (fds->count != (brings_fd(request.op) && !fds->lost ? 1 : 0))
        return -EBADMSG;
    if (request.op == LINK_CLIENT_NEW)
        return on_client_new(service, &request);
    client = store_client(&service->store, request.client);
    if (!client)
        return -EBADMSG;
    if (fds->lost && brings_fd(request.op)) {
        fault_set(&fault, DMABUFD_CODE_LIMIT, EMFILE,
                  "the daemon is out of file descriptors: raise its LimitNOFILE=");
        answer_refuse(service->link, request.op, request.tag, &fault);
        return 0;
    }
    switch (request.op) {
    case LINK_CLIENT_GONE:
        return on_client_gone(service, client);
    case LINK_GROUPS:
        return sharing_groups(client, &request.u.groups);
    case LINK_ALLOC:
        r = allocation_alloc(service, client, &request, &fault);
        break;
    case LINK_FREE:
        r = on_free(service, client, &request, &fault);
        break;
    case LINK_LOOKUP:
        r = sharing_lookup(service, client, &request, fds, &fault);
        break;
    case LINK_REGISTER:
        r = allocation_register(service, client, &request, fds, &fault);
        break;
    case LINK_LIST:
        on_list(service, client, &request);
        break;
    case LINK_STATUS:
        on_status(service, &request);
        break;
    case LINK_POOL:
    case LINK_POOL_RESIZE:
    case LINK_POOL_MAP:
        r = pooling_request(service, client, &request, &fault);
        break;
    default:
        r = sharing_request(service, client, &request, &fault);
    }
    if (r == -EBADMSG)
        return r;
    if (r < 0)
        answer_refuse(service->link, request.op, request.tag, &fault);
    return 0;
}

static void on_done(evutil_socket_t fd, short what, void *data)
{
    struct service *service = data;
    struct job_queue done;
    struct job *job;

    (void)fd;
    (void)what;
    workers_collect(service->workers, &done);
    while ((job = STAILQ_FIRST(&done))) {
        STAILQ_REMOVE_HEAD(&done, link);
        service->jobs--;
        if (job->set)
            refill_done(service, job);
        else if (job->kind == JOB_BUILD)
            allocation_done(service, job);
        else
            release_done(service, job);
        free(job);
    }
    if (service->stopping && service->jobs == 0)
        service->idle(service->idle_data);
}

void service_broker_gone(struct service *service)
{
    for (uint32_t i = 0; i < service->store.limits.clients; i++) {
        if (service->store.clients[i])
            client_gone(service, service->store.clients[i], true);
    }
}

bool service_hangs(const struct service *service)
{
    return service->jobs > 0 && workers_patient(service->workers) == service->jobs;
}

void service_end(struct service *service)
{
    service->ending = true;
}

void service_stop(struct service *service)
{
    service_end(service);
    service->stopping = true;
    service_broker_gone(service);
    refill_stop(service);
    if (service->jobs == 0)
        service->idle(service->idle_data);
}

int service_init(struct service *service, struct event_base *base, struct backend *backend,
                 struct memory *memory, const struct store_limits *limits, struct fault *fault)
{
    int r;

    *service = (struct service){
        .base = base, .backend = backend, .memory = memory, .started_ns = now_ns()
    };
    LIST_INIT(&service->kept);
    names_init(&service->names, PROTO_NAMES_MAX);
    if (backend->nodes)
        nodes_pretend(&memory->nodes, backend->nodes);
    if (store_init(&service->store, limits) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    if (pool_init(&service->pool, &memory->nodes, limits->pool) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    r = refill_init(service, fault);
    if (r < 0)
        return r;
    r = workers_start(memory, backend, &service->workers, fault);
    if (r < 0)
        return r;
    service->done_event =
        event_new(base, workers_fd(service->workers), EV_READ | EV_PERSIST, on_done, service);
    if (!service->done_event || event_add(service->done_event, NULL) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    return 0;
}

void service_deinit(struct service *service)
{
    struct buffer *buffer;

    if (service->done_event)
        event_free(service->done_event);
    service->workers = workers_stop(service->workers);
    while ((buffer = LIST_FIRST(&service->kept))) {
        LIST_REMOVE(buffer, inode_link);
        buffer_free(buffer);
    }
    refill_deinit(service);
    pool_deinit(&service->pool);
    names_deinit(&service->names);
    store_deinit(&service->store);
}
