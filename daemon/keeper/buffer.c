/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Building and tearing down; see buffer.h. A step is one piece (backend.h), so that on one worker
 * thread large requests take turns.
 */
#include "daemon/keeper/buffer.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "proto/limits.h"
#include "proto/spantable.h"

struct buffer *buffer_new(void)
{
    struct buffer *buffer = calloc(1, sizeof(*buffer));

    if (!buffer)
        return NULL;
    buffer->fd = -1;
    buffer->table_fd = -1;
    LIST_INIT(&buffer->holds);
    return buffer;
}

struct buffer *buffer_free(struct buffer *buffer)
{
    if (!buffer)
        return NULL;
    spans_deinit(&buffer->spans);
    fd_close(&buffer->table_fd);
    fd_close(&buffer->fd);
    free(buffer);
    return NULL;
}

int buffer_teardown_step(struct buffer *buffer, struct memory *memory, struct backend *backend,
                         struct fault *fault)
{
    struct mapping *mapping = &buffer->mapping;

    if (mapping->pinned > 0) {
        uint64_t full = backend_piece(mapping, 0);
        uint64_t offset = (mapping->pinned - 1) / full * full;
        int r = backend->ops->unpin(backend, mapping, offset, mapping->pinned - offset, fault);

        if (r < 0)
            return r;
        mapping->pinned = offset;
        return 1;
    }
    if (mapping->begun)
        backend->ops->end(backend, mapping);
    mapping->begun = false;
    spans_deinit(&buffer->spans);
    fd_close(&buffer->table_fd);
    if (buffer->fd >= 0) {
        fd_close(&buffer->fd);
        memory_release(memory, buffer->size, buffer->page_size);
    }
    return 0;
}

/* Undo all at once. A kernel that refuses leaves the memory pinned and the buffer with its fd. */
static void undo(struct buffer *buffer, struct memory *memory, struct backend *backend)
{
    int r;

    do {
        r = buffer_teardown_step(buffer, memory, backend, NULL);
    } while (r > 0);
}

/* Make the memfd with the current choice of page size and a place for it. */
static int begin(struct buffer *buffer, struct build *build, struct memory *memory,
                 struct backend *backend, struct fault *fault)
{
    uint64_t page_size = build->choices[build->choice];
    uint64_t size;
    struct stat st;
    int r = memory_round(memory, build->asked, page_size, &size, fault);

    if (r < 0)
        return r;
    r = memory_create(memory, size, page_size, &buffer->fd, fault);
    if (r < 0)
        return r;
    buffer->size = size;
    buffer->page_size = page_size;
    buffer->mapping = (struct mapping){ .fd = buffer->fd, .size = size, .page_size = page_size };
    if (fstat(buffer->fd, &st) < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, errno, "cannot stat a memfd");
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    r = backend->ops->begin(backend, &buffer->mapping, fault);
    buffer->mapping.begun = r == 0;
    return r;
}

static int next_piece(struct buffer *buffer, struct memory *memory, struct backend *backend,
                      struct fault *fault)
{
    struct mapping *mapping = &buffer->mapping;
    uint64_t offset = mapping->pinned;
    uint64_t length = backend_piece(mapping, offset);
    int r = memory_prepare(memory, buffer->fd, buffer->page_size, offset, length, fault);

    if (r == 0)
        r = backend->ops->pin(backend, mapping, offset, length, fault);
    if (r < 0)
        return r;
    mapping->pinned = offset + length;
    /* Only now: pinning may have moved the pages. */
    return backend->ops->resolve(backend, mapping, offset, length, &buffer->spans, fault);
}

static int finish(struct buffer *buffer, struct backend *backend, struct fault *fault)
{
    struct spans *spans = &buffer->spans;
    int r = spans_check(spans->list, spans->count, buffer->size);

    if (r < 0 || spans->count > SPANTABLE_MAX)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EIO,
                         "defect: the scatter list does not cover the buffer exactly");
    if (backend->ops->settle)
        backend->ops->settle(backend, &buffer->mapping);
    buffer->span_count = (uint32_t)spans->count;
    if (spans->count <= PROTO_SPANS_INLINE_MAX)
        return 0;
    r = spantable_seal(spans->list, spans->count, &buffer->table_fd);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r,
                         "the daemon has no memory or descriptor for the scatter list");
    spans_deinit(spans);
    return 0;
}

static int step(struct buffer *buffer, struct build *build, struct memory *memory,
                struct backend *backend, struct fault *fault)
{
    int r;

    if (!build->started) {
        r = memory_choose(build->asked, build->wanted, build->choices, fault);
        if (r < 0)
            return r;
        build->choice_count = r;
        build->started = true;
    }
    if (buffer->fd < 0) {
        r = begin(buffer, build, memory, backend, fault);
        if (r < 0)
            return r;
    }
    r = next_piece(buffer, memory, backend, fault);
    if (r < 0)
        return r;
    if (buffer->mapping.pinned < buffer->size)
        return 1;
    return finish(buffer, backend, fault);
}

enum build_result buffer_build_step(struct buffer *buffer, struct build *build,
                                    struct memory *memory, struct backend *backend, bool cancelled,
                                    struct fault *fault)
{
    int r = cancelled ? fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ECANCELED, "the client left")
                      : step(buffer, build, memory, backend, fault);

    if (r > 0)
        return BUILD_MORE;
    if (r == 0)
        return BUILD_DONE;
    undo(buffer, memory, backend);
    /* Whatever stood in the way of larger pages, smaller ones may still do. */
    if (!cancelled && buffer->fd < 0 && build->choice + 1 < build->choice_count) {
        build->choice++;
        return BUILD_MORE;
    }
    return BUILD_FAILED;
}
