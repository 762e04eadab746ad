/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Answers to the broker; see answer.h. */
#include "daemon/keeper/answer.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

void answer_send(struct channel *link, const struct link_reply *reply, struct wire_fds *fds)
{
    if (link && channel_send(link, reply, sizeof(*reply), fds) == 0) {
        /* A broker that asks and does not read waits until it has read. */
        if (channel_queued(link) > LINK_QUEUE_MAX)
            channel_pause(link, true);
        return;
    }
    if (fds)
        wire_fds_close(fds);
    /* A reply that cannot even be queued would leave a client waiting: begin anew. */
    if (link)
        channel_close_later(link, -ENOMEM);
}

/* What the kernel refused us is not what the client did wrong: one errno for each kind of it. */
static int errno_for_client(const struct fault *fault)
{
    switch (fault->code) {
    case DMABUFD_CODE_BACKEND:
    case DMABUFD_CODE_INTERNAL:
        return EIO;
    case DMABUFD_CODE_LIMIT:
        return EMFILE;
    default:
        return fault->error;
    }
}

void answer_refuse(struct channel *link, uint32_t op, uint64_t tag, const struct fault *fault)
{
    struct link_reply reply = { .op = op, .tag = tag, .u.fault = *fault };

    reply.error = reply.u.fault.error = errno_for_client(fault);
    answer_send(link, &reply, NULL);
}

/* Descriptors go out as duplicates: sending must not cost us ours. */
static int put_dup(struct wire_fds *fds, int fd, struct fault *fault)
{
    int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);

    if (copy < 0 || wire_fds_put(fds, copy) < 0)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the daemon is out of file descriptors: raise LimitNOFILE");
    return 0;
}

int answer_share(struct channel *link, uint64_t tag, const struct buffer *buffer,
                 struct fault *fault)
{
    CLEANUP_FDS struct wire_fds fds = { .owner = WIRE_NOBODY, .ours = true };
    struct link_reply reply = { .op = LINK_SHARE, .tag = tag };
    int r = put_dup(&fds, buffer->readonly_fd, fault);

    if (r == 0)
        answer_send(link, &reply, &fds);
    return r;
}

int answer_chunks(struct channel *link, uint64_t tag, const struct buffer *buffer, uint32_t first,
                  enum dmabufd_access access, struct fault *fault)
{
    CLEANUP_FDS struct wire_fds fds = { .owner = WIRE_NOBODY, .ours = true };
    struct link_reply reply = { .op = LINK_CHUNKS, .tag = tag };
    int r = 0;

    for (uint32_t i = first; r == 0 && i < buffer->chunk_count && fds.count < PROTO_FDS_MAX; i++) {
        const struct buffer *chunk = buffer->chunk[i];

        r = put_dup(&fds, access == DMABUFD_READ_ONLY ? chunk->readonly_fd : chunk->fd, fault);
    }
    if (r == 0)
        answer_send(link, &reply, &fds);
    return r;
}

int answer_buffer(struct channel *link, const struct backend *backend, uint32_t op, uint64_t tag,
                  const struct buffer *buffer, enum dmabufd_access access, struct fault *fault)
{
    CLEANUP_FDS struct wire_fds fds = { .owner = WIRE_NOBODY, .ours = true };
    struct link_reply reply = {
        .op = op,
        .tag = tag,
        .u.buffer = { .id = buffer->id,
                      .size = buffer->size,
                      .page_size = buffer->page_size,
                      .nodes = buffer->nodes,
                      .mode = backend->mode,
                      .pin = backend->pin,
                      .span_count = buffer->span_count,
                      .access = access,
                      .chunk_count = buffer->chunk_count },
    };
    int r = 0;

    if (op == LINK_ALLOC || op == LINK_OPEN)
        r = put_dup(&fds, access == DMABUFD_READ_ONLY ? buffer->readonly_fd : buffer->fd, fault);
    if (r == 0 && buffer->table_fd >= 0)
        r = put_dup(&fds, buffer->table_fd, fault);
    if (r < 0)
        return r;
    if (buffer->table_fd < 0)
        memcpy(reply.u.buffer.spans, buffer->spans.list,
               buffer->spans.count * sizeof(buffer->spans.list[0]));
    answer_send(link, &reply, &fds);
    return 0;
}
