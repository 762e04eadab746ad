/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fetching and mapping; see chunks.h. An entry of the translation table is written only when the last
 * chunk is in its place: there is no buffer until there is all of it.
 */
#include "client/chunks.h"

#include <errno.h>

#include "client/call.h"
#include "client/inspect.h"

/* How far it has come. */
struct assembly {
    uint32_t count;  /* chunks that are mapped */
    uint64_t mapped; /* their bytes, from the beginning of the place on */
    bool lost;       /* what is behind them is not ours any more, see arena_map() */
};

static int map_next(dmabufd *d, const dmabufd_buffer *buffer, const struct arena_range *range,
                    int fd, bool is_new, struct assembly *assembly, struct fault *fault)
{
    struct arena_range part = { .zone = range->zone, .offset = range->offset + assembly->mapped };
    int r = inspect_chunk(d, buffer, fd, range->size - assembly->mapped, is_new, &part.size, fault);

    if (r < 0)
        return r;
    r = arena_map(&d->arena, &part, fd, 0, buffer->access, fault);
    assembly->lost = r == -ENOMEM;
    if (r < 0)
        return r;
    assembly->mapped += part.size;
    assembly->count++;
    return 0;
}

/* The next few. Their descriptors are gone when this returns: a mapping needs none. */
static int map_some(dmabufd *d, const dmabufd_buffer *buffer, const struct arena_range *range,
                    bool is_new, struct assembly *assembly, struct fault *fault)
{
    Dmabufd__Proto__ChunksRequest body = DMABUFD__PROTO__CHUNKS_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct reply reply;
    int r;

    body.buffer = buffer->id;
    body.first = assembly->count;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_CHUNKS;
    request.chunks = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_CHUNKS, &reply, fault);
    if (r < 0)
        return r;
    if (reply.fds.lost)
        r = fault_set(fault, DMABUFD_CODE_OK, EMFILE,
                      "this process has no %u descriptors free for a moment, to map the buffer: "
                      "raise RLIMIT_NOFILE",
                      PROTO_FDS_MAX);
    else if (reply.fds.count == 0 || reply.fds.count > buffer->chunk_count - assembly->count)
        r = call_violation(d, "a buffer with a wrong number of chunks", fault);
    for (size_t i = 0; r == 0 && i < reply.fds.count; i++)
        r = map_next(d, buffer, range, reply.fds.fd[i], is_new, assembly, fault);
    wire_fds_close(&reply.fds);
    return r;
}

int chunks_map(dmabufd *d, const dmabufd_buffer *buffer, const struct arena_range *range,
               bool is_new, struct fault *fault)
{
    struct assembly assembly = { 0 };
    int r = 0;

    while (r == 0 && assembly.count < buffer->chunk_count)
        r = map_some(d, buffer, range, is_new, &assembly, fault);
    if (r == 0 && assembly.mapped != range->size)
        r = call_violation(d, "chunks that are less than their buffer", fault);
    /* Not by the error: -ENOMEM can come from the daemon, too. */
    if (r < 0)
        arena_abandon(&d->arena, range, assembly.mapped, assembly.lost);
    return r;
}
