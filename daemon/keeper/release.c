/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Buffers on their way out; see release.h. */
#include "daemon/keeper/release.h"

#include "daemon/keeper/answer.h"
#include "daemon/log.h"

void release_keep(struct service *service, struct buffer *buffer, const char *why)
{
    uint64_t bytes = buffer_remaining(buffer);

    service->unreleasable += bytes;
    LIST_INSERT_HEAD(&service->kept, buffer, inode_link);
    log_err("%llu bytes stay with the daemon until it ends: %s", (unsigned long long)bytes, why);
}

/* @fault: why the kernel refused, or NULL. */
static void torn_down(struct service *service, struct buffer *buffer, const struct fault *fault)
{
    struct pool_set *leaving = buffer->leaving;
    uint64_t size = buffer->size;

    service->pinned--;
    if (fault)
        release_keep(service, buffer, fault->text);
    else
        buffer_free(buffer);
    if (leaving)
        refill_let_go(service, leaving, size);
}

void release_buffer(struct service *service, struct buffer *buffer, struct party whose,
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
        service_submit(service, job);
        return;
    }
    buffer_show(buffer, false);
    do {
        r = buffer_teardown_step(buffer, service->memory, service->backend, &fault);
    } while (r > 0);
    torn_down(service, buffer, r < 0 ? &fault : NULL);
    if (reply_to) {
        struct link_reply reply = { .op = LINK_FREE, .tag = reply_to->tag };

        answer_send(service->link, &reply, NULL);
    }
}

void release_done(struct service *service, struct job *job)
{
    struct link_reply reply = { .op = LINK_FREE, .tag = job->tag };
    bool leaving = job->buffer->leaving != NULL;
    uint64_t page_size = job->buffer->page_size;

    torn_down(service, job->buffer, job->failed ? &job->fault : NULL);
    if (page_size > PAGE_4K && !leaving)
        refill_pages_back(service, page_size);
    if (job->answer && job->epoch == service->broker_starts)
        answer_send(service->link, &reply, NULL);
}
