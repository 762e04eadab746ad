/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Requests of the broker; see service.h. */
#include "daemon/keeper/service.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "common/segments.h"
#include "daemon/keeper/answer.h"
#include "daemon/keeper/sharing.h"
#include "daemon/link.h"
#include "daemon/log.h"
#include "daemon/presented.h"

/* How many places of a client's table one page of its list looks at. */
#define LIST_PLACES (32 * PROTO_LIST_PAGE)

static struct job *job_new(enum job_kind kind, struct buffer *buffer, struct party whose)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->kind = kind;
    job->buffer = buffer;
    job->turn.whose = whose;
    return job;
}

static void submit(struct service *service, struct job *job)
{
    service->jobs++;
    workers_submit(service->workers, job);
}

/* Memory that may not go back: stays, pinned, with its descriptor, for good; law 2. What could not
 * be emptied is not pinned any more. */
static void keep_unreleasable(struct service *service, struct buffer *buffer, const char *why)
{
    uint64_t bytes =
        buffer_to_empty(buffer) ? buffer->size - buffer->emptied : buffer->mapping.pinned;

    service->unreleasable += bytes;
    LIST_INSERT_HEAD(&service->kept, buffer, inode_link);
    log_err("%llu bytes stay with the daemon until it ends: %s", (unsigned long long)bytes, why);
}

/* @fault: why the kernel refused, or NULL. */
static void torn_down(struct service *service, struct buffer *buffer, const struct fault *fault)
{
    service->pinned--;
    if (fault)
        keep_unreleasable(service, buffer, fault->text);
    else
        buffer_free(buffer);
}

/*
 * Release a buffer that nobody holds any more, and with it its names. @whose: in whose turns; @reply_to: the request to
 * answer when done, or NULL.
 * Without memory for a job it is done right here, slow but sure, except what could hang: then a
 * client that kept a descriptor keeps the pages.
 */
static void tear_down(struct service *service, struct buffer *buffer, struct party whose,
                      const struct link_request *reply_to)
{
    struct job *job = job_new(JOB_TEARDOWN, buffer, whose);
    struct fault fault = { 0 };
    int r;

    names_forget(&service->names, buffer);
    if (job) {
        job->answer = reply_to != NULL;
        job->epoch = service->broker_starts;
        job->tag = reply_to ? reply_to->tag : 0;
        submit(service, job);
        return;
    }
    buffer->shown = false;
    do {
        r = buffer_teardown_step(buffer, service->memory, service->backend, &fault);
    } while (r > 0);
    torn_down(service, buffer, r < 0 ? &fault : NULL);
    if (reply_to) {
        struct link_reply reply = { .op = LINK_FREE, .tag = reply_to->tag };

        answer_send(service->link, &reply, NULL);
    }
}

static struct party party_of(const struct client *client)
{
    return (struct party){ .uid = client->peer.uid, .client = client->id };
}

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
        store_unreserve(&service->store, client);
        job->client = 0;
        job->answer = false;
        atomic_store(&job->cancelled, true);
    }
    while ((hold = slots_next(&client->holds, &cursor))) {
        struct buffer *last = store_drop(&service->store, hold, true);

        if (!last)
            continue;
        last->shown = last->shown && !ours;
        tear_down(service, last, party_of(client), NULL);
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

/* A job that will become a buffer of the client. @fd: of memory that the client made, or -1; the
 * job's on success. */
static int start_build(struct service *service, struct client *client, uint32_t op, uint64_t tag,
                       const struct build *build, int *fd, struct fault *fault)
{
    struct buffer *buffer;
    struct job *job;
    int r;

    if (service->ending)
        return fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ESHUTDOWN, "the daemon is ending");
    r = constraints_check(&build->constraints, fault);
    if (r == 0 && client->job_count >= PROTO_IN_FLIGHT_MAX)
        return -EBADMSG;
    if (r == 0)
        r = store_reserve(&service->store, client, fault);
    if (r < 0)
        return r;
    buffer = buffer_new();
    job = buffer ? job_new(JOB_BUILD, buffer, party_of(client)) : NULL;
    if (!job) {
        buffer_free(buffer);
        store_unreserve(&service->store, client);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    }
    buffer->payer = quota_again(client->user);
    buffer->registered = *fd >= 0;
    buffer->fd = TAKE_FD(*fd);
    job->build = *build;
    job->client = client->id;
    job->op = op;
    job->tag = tag;
    job->answer = true;
    LIST_INSERT_HEAD(&client->jobs, job, client_link);
    client->job_count++;
    submit(service, job);
    return 0;
}

static int on_alloc(struct service *service, struct client *client,
                    const struct link_request *request, struct fault *fault)
{
    const struct link_alloc *alloc = &request->u.alloc;
    struct build build = { .asked = alloc->size,
                           .wanted = alloc->page_size,
                           .constraints = alloc->constraints };
    uint64_t rounded;
    int none = -1;
    int r = memory_round(service->memory, alloc->size, PAGE_4K, &rounded, fault);

    return r < 0 ? r : start_build(service, client, LINK_ALLOC, request->tag, &build, &none, fault);
}

static int on_register(struct service *service, struct client *client,
                       const struct link_request *request, struct wire_fds *fds,
                       struct fault *fault)
{
    const struct link_registration *registration = &request->u.registration;
    struct build build = { .asked = registration->size,
                           .offset = registration->offset,
                           .constraints = registration->constraints };
    int r = presented_as_memory(fds->fd[0], fault);

    /* What is not taken is the channel's to close, which may take long. */
    return r < 0 ? r
                 : start_build(service, client, LINK_REGISTER, request->tag, &build, &fds->fd[0],
                               fault);
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
        tear_down(service, last, party_of(client), request);
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
        r = on_alloc(service, client, &request, &fault);
        break;
    case LINK_FREE:
        r = on_free(service, client, &request, &fault);
        break;
    case LINK_LOOKUP:
        r = sharing_lookup(service, client, &request, fds, &fault);
        break;
    case LINK_REGISTER:
        r = on_register(service, client, &request, fds, &fault);
        break;
    case LINK_LIST:
        on_list(service, client, &request);
        break;
    case LINK_STATUS:
        on_status(service, &request);
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

static void build_failed(struct service *service, struct job *job, struct client *client)
{
    if (job->buffer->fd >= 0)
        keep_unreleasable(service, job->buffer,
                          "they cannot be unpinned after a request that failed");
    else
        buffer_free(job->buffer);
    if (!client)
        return;
    store_unreserve(&service->store, client);
    answer_refuse(service->link, job->op, job->tag, &job->fault);
}

/* A finished buffer goes to its client, or back if the client left meanwhile. */
static void build_done(struct service *service, struct job *job)
{
    struct client *client = job->answer ? store_client(&service->store, job->client) : NULL;
    struct buffer *buffer = job->buffer;
    int r;

    if (client) {
        LIST_REMOVE(job, client_link);
        client->job_count--;
    }
    if (job->failed) {
        build_failed(service, job, client);
        return;
    }
    service->pinned++;
    if (!client) {
        tear_down(service, buffer, job->turn.whose, NULL);
        return;
    }
    r = store_add(&service->store, client, buffer, &job->fault);
    if (r < 0) {
        store_unreserve(&service->store, client);
    } else {
        buffer->shown = true;
        r = answer_buffer(service->link, service->backend, job->op, job->tag, buffer,
                          DMABUFD_READ_WRITE, &job->fault);
        if (r < 0)
            store_drop(&service->store, store_held(&service->store, client, buffer->id), true);
    }
    if (r < 0) {
        tear_down(service, buffer, job->turn.whose, NULL);
        answer_refuse(service->link, job->op, job->tag, &job->fault);
    }
}

static void teardown_done(struct service *service, struct job *job)
{
    struct link_reply reply = { .op = LINK_FREE, .tag = job->tag };

    torn_down(service, job->buffer, job->failed ? &job->fault : NULL);
    if (job->answer && job->epoch == service->broker_starts)
        answer_send(service->link, &reply, NULL);
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
        if (job->kind == JOB_BUILD)
            build_done(service, job);
        else
            teardown_done(service, job);
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
    names_deinit(&service->names);
    store_deinit(&service->store);
}
