/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers: granted by the daemon, checked, mapped, published; and the way back.
 *
 * From the daemon's reply on there is a hold that has to be given up if any later step fails: the
 * steps are in adopt(), and its caller sends the FREE. What the daemon says of a buffer is compared
 * with what the descriptor and the scatter list show; a contradiction ends the connection.
 */
#include "client/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/chunks.h"
#include "client/inspect.h"
#include "client/last-error.h"
#include "common/segments.h"
#include "proto/spantable.h"

static int give_up(dmabufd *d, uint64_t id, struct fault *fault)
{
    Dmabufd__Proto__FreeRequest body = DMABUFD__PROTO__FREE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct reply reply;

    body.buffer = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_FREE;
    request.free = &body;
    return call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_FREE, &reply, fault);
}

/* Frees what is there of a buffer in this process. */
static void buffer_destroy(dmabufd_buffer *buffer)
{
    if (buffer->data)
        arena_release(&buffer->connection->arena, &buffer->range);
    fd_close(&buffer->fd);
    free(buffer->spans);
    free(buffer);
}

static int read_spans(dmabufd *d, const struct reply_buffer *granted, struct wire_fds *fds,
                      size_t fds_before, dmabufd_buffer *buffer, struct fault *fault)
{
    CLEANUP_FD int table = -1;
    int r;

    if (fds->count != fds_before + (granted->inline_bytes == 0))
        return call_violation(d, "a buffer with a wrong number of descriptors", fault);
    if (granted->inline_bytes > 0) {
        r = spantable_decode(granted->inline_spans, granted->inline_bytes, granted->span_count,
                             granted->size, &buffer->spans);
    } else {
        table = wire_fds_take(fds, fds_before);
        r = spantable_open(table, granted->span_count, granted->size, &buffer->spans);
    }
    if (r == -EBADMSG)
        return call_violation(d, "a scatter list that is none", fault);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_OK, -r, "cannot read a scatter list of %u spans: %s",
                         granted->span_count, strerror(-r));
    buffer->span_count = granted->span_count;
    return 0;
}

/* Gives a buffer whose facts are checked its place and its entries. */
static int place(dmabufd *d, dmabufd_buffer *buffer, bool is_new, struct fault *fault)
{
    struct arena_range range;
    int r;

    r = arena_place(&d->arena, buffer->size, buffer->page_size, buffer->spans, buffer->span_count,
                    &range, fault);
    if (r == -EPROTO)
        return call_violation(d, "a buffer at an address that no page can have", fault);
    if (r < 0)
        return r;
    if (buffer->chunk_count > 0) {
        r = chunks_map(d, buffer, &range, is_new, fault);
    } else {
        r = arena_map(&d->arena, &range, buffer->fd, buffer->start, buffer->access, fault);
        if (r < 0)
            arena_abandon(&d->arena, &range, 0, r == -ENOMEM);
    }
    if (r < 0)
        return r;
    buffer->range = range;
    buffer->table = d->arena.table[range.zone];
    buffer->data = arena_pointer(&d->arena, &range);
    arena_publish(&d->arena, &range, buffer->spans, buffer->span_count);
    return 0;
}

/* As buffer_adopt(), but leaves the grant to the caller if it fails. */
static int adopt(dmabufd *d, const struct reply_buffer *granted, struct wire_fds *fds, int *fd,
                 const uint64_t *start, bool is_new, dmabufd_buffer **ret, struct fault *fault)
{
    dmabufd_buffer *buffer = calloc(1, sizeof(*buffer));
    size_t fds_before = *fd < 0;
    int r;

    if (!buffer)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a buffer's record");
    *buffer = (dmabufd_buffer){ .connection = d,
                                .size = granted->size,
                                .page_size = granted->page_size,
                                .id = granted->id,
                                .mode = granted->mode,
                                .pin = granted->pin,
                                .access = granted->access,
                                .nodes = granted->nodes,
                                .chunk_count = granted->chunk_count,
                                .registered = start != NULL,
                                .start = start ? *start : 0,
                                .fd = -1 };
    r = read_spans(d, granted, fds, fds_before, buffer, fault);
    if (r == 0) {
        buffer->fd = fds_before ? wire_fds_take(fds, 0) : TAKE_FD(*fd);
        r = buffer->chunk_count > 0 ? inspect_token(d, buffer, fault)
                                    : inspect_memory(d, buffer, is_new, fault);
    }
    if (r == 0)
        r = place(d, buffer, is_new, fault);
    if (r < 0) {
        buffer_destroy(buffer);
        return r;
    }
    /* One that came with the last reply would miss its revocation. */
    pthread_mutex_lock(&d->lock);
    r = d->dead ? call_no_connection(d, fault) : 0;
    if (r == 0)
        LIST_INSERT_HEAD(&d->buffers, buffer, entry);
    pthread_mutex_unlock(&d->lock);
    if (r < 0) {
        arena_withdraw(&d->arena, &buffer->range);
        buffer_destroy(buffer);
        return r;
    }
    *ret = buffer;
    return 0;
}

int buffer_adopt(dmabufd *d, struct reply *reply, int *fd, const uint64_t *start, bool is_new,
                 dmabufd_buffer **ret, struct fault *fault)
{
    int r;

    if (reply->fds.lost)
        r = fault_set(fault, DMABUFD_CODE_OK, EMFILE,
                      "this process has no descriptor free for the buffer: raise RLIMIT_NOFILE");
    else
        r = adopt(d, &reply->buffer, &reply->fds, fd, start, is_new, ret, fault);
    wire_fds_close(&reply->fds);
    if (r < 0 && r != -EPROTO)
        give_up(d, reply->buffer.id, NULL);
    return r;
}

/* The page size and size of a reply follow from the request. */
static bool as_asked(const struct reply_buffer *granted, uint64_t size, uint64_t page_size)
{
    return granted->size >= size && granted->size - size < granted->page_size &&
           (page_size == 0 || granted->page_size == page_size);
}

static void put_constraints(const struct dmabufd_constraints *from,
                            Dmabufd__Proto__Constraints *message)
{
    dmabufd__proto__constraints__init(message);
    message->dma_mask = from->dma_mask;
    message->max_segment_size = from->max_segment_size;
    message->boundary = from->boundary;
    message->alignment = from->alignment;
    message->min_span = from->min_span;
    message->max_segments = from->max_segments;
    message->contiguous = (from->flags & DMABUFD_CONTIGUOUS) != 0;
    message->node = from->node;
    message->node_preferred = (from->flags & DMABUFD_NODE_PREFERRED) != 0;
    message->node_strict = (from->flags & DMABUFD_NODE_STRICT) != 0;
}

static bool on_its_node(const dmabufd_buffer *buffer, const struct dmabufd_constraints *constraints)
{
    return !(constraints->flags & DMABUFD_NODE_STRICT) || buffer->nodes == 0 ||
           (constraints->node < 64 && buffer->nodes == UINT64_C(1) << constraints->node);
}

/* A buffer that does not meet them would make a device write where it must not. */
static int check_promise(dmabufd *d, dmabufd_buffer *buffer,
                         const struct dmabufd_constraints *constraints, struct fault *fault)
{
    struct fit fit;

    constraints_fit(constraints, buffer->spans, buffer->span_count, &fit);
    if (constraints_met(constraints, &fit, NULL) == 0 && on_its_node(buffer, constraints))
        return 0;
    dmabufd_free(buffer);
    return call_violation(d, "a buffer that does not meet the constraints", fault);
}

int dmabufd_alloc(dmabufd *d, uint64_t size, uint64_t page_size, dmabufd_buffer **ret)
{
    const struct dmabufd_constraints none = { 0 };

    return dmabufd_alloc_constrained(d, size, page_size, &none, ret);
}

int dmabufd_alloc_constrained(dmabufd *d, uint64_t size, uint64_t page_size,
                              const struct dmabufd_constraints *constraints, dmabufd_buffer **ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__AllocateRequest body = DMABUFD__PROTO__ALLOCATE_REQUEST__INIT;
    Dmabufd__Proto__Constraints message;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    dmabufd_buffer *buffer;
    struct reply reply;
    int none = -1;
    int r;

    r = constraints_check(constraints, fault);
    if (r < 0)
        return r;
    put_constraints(constraints, &message);
    body.size = size;
    body.page_size = page_size;
    body.constraints = &message;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_ALLOCATE;
    request.allocate = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_BUFFER, &reply, fault);
    if (r < 0)
        return r;
    if (!as_asked(&reply.buffer, size, page_size)) {
        wire_fds_close(&reply.fds);
        return call_violation(d, "a buffer that was not asked for", fault);
    }
    r = buffer_adopt(d, &reply, &none, NULL, true, &buffer, fault);
    if (r == 0)
        r = check_promise(d, buffer, constraints, fault);
    if (r == 0)
        *ret = buffer;
    return r;
}

int dmabufd_segments_begin(struct dmabufd_segments *segments, const dmabufd_buffer *buffer,
                           uint64_t offset, uint64_t length,
                           const struct dmabufd_constraints *constraints)
{
    static const struct dmabufd_constraints none;
    struct fault *fault = last_error();
    int r = constraints ? constraints_check(constraints, fault) : 0;

    if (r == 0)
        r = segments_begin(segments, buffer->spans, buffer->span_count,
                           constraints ? constraints : &none, offset, length);
    if (r == -ERANGE)
        fault_set(fault, DMABUFD_CODE_OK, ERANGE, "that range is empty or not inside the buffer");
    return r;
}

int dmabufd_segments_next(struct dmabufd_segments *segments, struct dmabufd_span *ret)
{
    return segments_next(segments, ret);
}

/* A descriptor of our own: the caller may close theirs at any time. @writable: it has to be. */
static int copy_descriptor(int fd, bool writable, int *ret, struct fault *fault)
{
    int flags = fcntl(fd, F_GETFL);
    int copy;

    if (flags < 0)
        return fault_set(fault, DMABUFD_CODE_OK, EBADF, "descriptor %d is not open", fd);
    if ((flags & O_PATH) || (flags & O_ACCMODE) == O_WRONLY ||
        (writable && (flags & O_ACCMODE) != O_RDWR))
        return fault_set(fault, DMABUFD_CODE_OK, EACCES, "descriptor %d is not open for reading%s",
                         fd, writable ? " and writing" : "");
    copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (copy < 0)
        return fault_set(fault, DMABUFD_CODE_OK, errno, "cannot copy descriptor %d: %s", fd,
                         strerror(errno));
    *ret = copy;
    return 0;
}

int dmabufd_lookup(dmabufd *d, int fd, dmabufd_buffer **ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__LookupRequest body = DMABUFD__PROTO__LOOKUP_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct wire_fds sent = WIRE_FDS_NONE;
    CLEANUP_FD int copy = -1;
    struct reply reply;
    int r;

    r = copy_descriptor(fd, false, &copy, fault);
    if (r < 0)
        return r;
    sent.fd[0] = copy;
    sent.count = 1;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_LOOKUP;
    request.lookup = &body;
    r = call_run(d, &request, &sent, DMABUFD__PROTO__REPLY__BODY_BUFFER, &reply, fault);
    if (r < 0)
        return r;
    return buffer_adopt(d, &reply, &copy, NULL, false, ret, fault);
}

int dmabufd_register(dmabufd *d, int fd, uint64_t offset, uint64_t size,
                     const struct dmabufd_constraints *constraints, dmabufd_buffer **ret)
{
    NO_CANCELLATION;
    static const struct dmabufd_constraints none;
    Dmabufd__Proto__RegisterRequest body = DMABUFD__PROTO__REGISTER_REQUEST__INIT;
    Dmabufd__Proto__Constraints message;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct wire_fds sent = WIRE_FDS_NONE;
    CLEANUP_FD int copy = -1;
    dmabufd_buffer *buffer;
    struct reply reply;
    int r;

    constraints = constraints ? constraints : &none;
    r = constraints_check(constraints, fault);
    if (r == 0)
        r = copy_descriptor(fd, true, &copy, fault);
    if (r < 0)
        return r;
    put_constraints(constraints, &message);
    body.offset = offset;
    body.size = size;
    body.constraints = &message;
    sent.fd[0] = copy;
    sent.count = 1;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_REGISTER_MEMORY;
    request.register_memory = &body;
    r = call_run(d, &request, &sent, DMABUFD__PROTO__REPLY__BODY_BUFFER, &reply, fault);
    if (r < 0)
        return r;
    if (reply.buffer.size != size || reply.buffer.chunk_count > 0) {
        wire_fds_close(&reply.fds);
        return call_violation(d, "a buffer that was not asked for", fault);
    }
    r = buffer_adopt(d, &reply, &copy, &offset, false, &buffer, fault);
    if (r == 0)
        r = check_promise(d, buffer, constraints, fault);
    if (r == 0)
        *ret = buffer;
    return r;
}

int dmabufd_free(dmabufd_buffer *buffer)
{
    NO_CANCELLATION;
    dmabufd *d;
    uint64_t id;

    if (!buffer)
        return 0;
    d = buffer->connection;
    id = buffer->id;
    pthread_mutex_lock(&d->lock);
    LIST_REMOVE(buffer, entry);
    pthread_mutex_unlock(&d->lock);
    arena_withdraw(&d->arena, &buffer->range);
    buffer_destroy(buffer);
    return give_up(d, id, last_error());
}

void buffer_drop_all(dmabufd *d)
{
    dmabufd_buffer *buffer;

    while ((buffer = LIST_FIRST(&d->buffers)) || (buffer = LIST_FIRST(&d->told))) {
        LIST_REMOVE(buffer, entry);
        buffer_destroy(buffer);
    }
}

void buffer_revoke_all(dmabufd *d)
{
    dmabufd_buffer *buffer;

    LIST_FOREACH (buffer, &d->buffers, entry)
        arena_withdraw(&d->arena, &buffer->range);
}

void *dmabufd_buffer_data(const dmabufd_buffer *buffer)
{
    return buffer->data;
}

uint64_t dmabufd_buffer_size(const dmabufd_buffer *buffer)
{
    return buffer->size;
}

uint64_t dmabufd_buffer_page_size(const dmabufd_buffer *buffer)
{
    return buffer->page_size;
}

uint64_t dmabufd_buffer_id(const dmabufd_buffer *buffer)
{
    return buffer->id;
}

enum dmabufd_address_mode dmabufd_buffer_mode(const dmabufd_buffer *buffer)
{
    return buffer->mode;
}

enum dmabufd_pin dmabufd_buffer_pin(const dmabufd_buffer *buffer)
{
    return buffer->pin;
}

enum dmabufd_access dmabufd_buffer_access(const dmabufd_buffer *buffer)
{
    return buffer->access;
}

uint64_t dmabufd_buffer_nodes(const dmabufd_buffer *buffer)
{
    return buffer->nodes;
}

int dmabufd_buffer_fd(const dmabufd_buffer *buffer)
{
    return buffer->fd;
}

uint32_t dmabufd_buffer_chunk_count(const dmabufd_buffer *buffer)
{
    return buffer->chunk_count ? buffer->chunk_count : 1;
}

const struct dmabufd_span *dmabufd_buffer_spans(const dmabufd_buffer *buffer, size_t *ret_count)
{
    *ret_count = buffer->span_count;
    return buffer->spans;
}
