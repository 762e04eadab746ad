/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffers for clients; see allocation.h. */
#include "daemon/keeper/allocation.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/segments.h"
#include "daemon/keeper/answer.h"
#include "daemon/keeper/grant.h"
#include "daemon/keeper/release.h"
#include "daemon/presented.h"

static int check(const struct service *service, const struct client *client,
                 const struct dmabufd_constraints *constraints, struct fault *fault)
{
    int r;

    if (service->ending)
        return fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ESHUTDOWN, "the daemon is ending");
    r = constraints_check(constraints, fault);
    return r == 0 && client->job_count >= PROTO_IN_FLIGHT_MAX ? -EBADMSG : r;
}

/* A job that will become a buffer of the client. @fd: of memory that the client made, or -1; the
 * job's on success. */
static int start_build(struct service *service, struct client *client, uint32_t op, uint64_t tag,
                       const struct build *build, const struct shortfall *shortfall, int *fd,
                       struct fault *fault)
{
    int r = store_reserve(&service->store, client, 1, fault);
    struct buffer *buffer;
    struct job *job;

    if (r < 0)
        return r;
    buffer = buffer_new();
    job = buffer ? job_new(JOB_BUILD, buffer, client_party(client)) : NULL;
    if (!job) {
        buffer_free(buffer);
        store_unreserve(&service->store, client, 1);
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
    grant_give_up(service, client, shortfall, &job->build);
    if (!SLIST_EMPTY(&job->build.given_up)) {
        job->gave_up = shortfall->set;
        job->gave_up->held_back++;
    }
    LIST_INSERT_HEAD(&client->jobs, job, client_link);
    client->job_count++;
    service_submit(service, job);
    return 0;
}

int allocation_alloc(struct service *service, struct client *client,
                     const struct link_request *request, struct fault *fault)
{
    const struct link_alloc *alloc = &request->u.alloc;
    struct build build = { .asked = alloc->size,
                           .wanted = alloc->page_size,
                           .constraints = alloc->constraints };
    struct shortfall shortfall;
    uint64_t rounded;
    int none = -1;
    int r = memory_round(service->memory, alloc->size, PAGE_4K, &rounded, fault);

    if (r == 0)
        r = check(service, client, &build.constraints, fault);
    if (r == 0)
        r = grant_try(service, client, request, &build, &shortfall, fault);
    if (r != 0)
        return r < 0 ? r : 0;
    return start_build(service, client, LINK_ALLOC, request->tag, &build, &shortfall, &none, fault);
}

int allocation_register(struct service *service, struct client *client,
                        const struct link_request *request, struct wire_fds *fds,
                        struct fault *fault)
{
    const struct link_registration *registration = &request->u.registration;
    struct build build = { .asked = registration->size,
                           .offset = registration->offset,
                           .constraints = registration->constraints };
    static const struct shortfall nothing;
    int r = presented_as_memory(fds->fd[0], fault);

    if (r == 0)
        r = check(service, client, &build.constraints, fault);
    /* What is not taken is the channel's to close, which may take long. */
    return r < 0 ? r
                 : start_build(service, client, LINK_REGISTER, request->tag, &build, &nothing,
                               &fds->fd[0], fault);
}

static void build_failed(struct service *service, struct job *job, struct client *client)
{
    if (job->buffer->fd >= 0)
        release_keep(service, job->buffer, "they cannot be unpinned after a request that failed");
    else
        buffer_free(job->buffer);
    if (!client)
        return;
    store_unreserve(&service->store, client, 1);
    answer_refuse(service->link, job->op, job->tag, &job->fault);
}

/* What the pool gave up for it is the kernel's, or stays with us. */
static void end_giving_up(struct service *service, struct job *job)
{
    struct buffer *buffer;

    while ((buffer = SLIST_FIRST(&job->build.stuck))) {
        SLIST_REMOVE_HEAD(&job->build.stuck, given_link);
        release_keep(service, buffer, "they cannot be unpinned after the pool gave them up");
    }
    if (!job->gave_up)
        return;
    job->gave_up->held_back--;
    refill_kick(service);
}

void allocation_done(struct service *service, struct job *job)
{
    struct client *client = job->answer ? store_client(&service->store, job->client) : NULL;
    struct buffer *buffer = job->buffer;
    int r;

    end_giving_up(service, job);
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
        release_buffer(service, buffer, job->turn.whose, NULL);
        return;
    }
    r = store_add(&service->store, client, buffer, &job->fault);
    if (r < 0) {
        store_unreserve(&service->store, client, 1);
    } else {
        buffer_show(buffer, true);
        r = answer_buffer(service->link, service->backend, job->op, job->tag, buffer,
                          DMABUFD_READ_WRITE, &job->fault);
        if (r < 0)
            store_drop(&service->store, store_held(&service->store, client, buffer->id), true);
    }
    if (r < 0) {
        release_buffer(service, buffer, job->turn.whose, NULL);
        answer_refuse(service->link, job->op, job->tag, &job->fault);
    }
}
