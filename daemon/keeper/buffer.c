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
#include "common/segments.h"
#include "daemon/keeper/search.h"
#include "daemon/log.h"
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

/* Return: 1 to be called again, 0 nothing is pinned any more. */
static int unpin_piece(struct buffer *buffer, struct backend *backend, struct fault *fault)
{
    struct mapping *mapping = &buffer->mapping;
    uint64_t full = backend_piece(mapping, 0);
    uint64_t offset;
    int r;

    if (mapping->pinned > 0) {
        offset = (mapping->pinned - 1) / full * full;
        r = backend->ops->unpin(backend, mapping, offset, mapping->pinned - offset, fault);
        if (r < 0)
            return r;
        mapping->pinned = offset;
        return 1;
    }
    if (mapping->begun)
        backend->ops->end(backend, mapping);
    mapping->begun = false;
    spans_deinit(&buffer->spans);
    return 0;
}

int buffer_unpin(struct buffer *buffer, struct backend *backend, struct fault *fault)
{
    int r;

    do {
        r = unpin_piece(buffer, backend, fault);
    } while (r > 0);
    return r;
}

int buffer_teardown_step(struct buffer *buffer, struct memory *memory, struct backend *backend,
                         struct fault *fault)
{
    int r = unpin_piece(buffer, backend, fault);

    if (r != 0)
        return r;
    fd_close(&buffer->table_fd);
    if (buffer->fd >= 0) {
        fd_close(&buffer->fd);
        if (!buffer->registered)
            memory_release(memory, buffer->size, buffer->page_size);
    }
    return 0;
}

/* Undo all at once. A kernel that refuses leaves the memory pinned and the buffer with its fd. */
static void undo(struct buffer *buffer, struct memory *memory, struct backend *backend)
{
    struct fault fault = { 0 };
    int r;

    do {
        r = buffer_teardown_step(buffer, memory, backend, &fault);
    } while (r > 0);
    if (r < 0)
        log_err("what was pinned so far cannot be unpinned: %s", fault.text);
}

int buffer_begin_again(struct buffer *buffer, struct backend *backend, struct fault *fault)
{
    int r;

    buffer->mapping = (struct mapping){ .fd = buffer->fd,
                                        .start = buffer->mapping.start,
                                        .foreign = buffer->registered,
                                        .piece = backend->piece,
                                        .size = buffer->size,
                                        .page_size = buffer->page_size };
    r = backend->ops->begin(backend, &buffer->mapping, fault);
    buffer->mapping.begun = r == 0;
    return r;
}

int buffer_begin(struct buffer *buffer, uint64_t size, uint64_t page_size, struct memory *memory,
                 struct backend *backend, struct fault *fault)
{
    struct stat st;
    int r = memory_create(memory, size, page_size, &buffer->fd, fault);

    if (r < 0)
        return r;
    buffer->size = size;
    buffer->page_size = page_size;
    if (fstat(buffer->fd, &st) < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, errno, "cannot stat a memfd");
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    return buffer_begin_again(buffer, backend, fault);
}

int buffer_begin_foreign(struct buffer *buffer, uint64_t offset, uint64_t size,
                         struct backend *backend, struct fault *fault)
{
    int r = memory_check_foreign(buffer->fd, offset, size, &buffer->page_size, fault);

    if (r < 0)
        return r;
    buffer->size = size;
    buffer->mapping.start = offset;
    return buffer_begin_again(buffer, backend, fault);
}

int buffer_next_piece(struct buffer *buffer, struct memory *memory, struct backend *backend,
                      struct fault *fault)
{
    struct mapping *mapping = &buffer->mapping;
    uint64_t offset = mapping->pinned;
    uint64_t length = backend_piece(mapping, offset);
    int r = 0;

    if (!buffer->registered)
        r = memory_prepare(memory, buffer->fd, buffer->page_size, offset, length, fault);
    if (r == 0)
        r = backend->ops->pin(backend, mapping, offset, length, fault);
    if (r < 0)
        return r;
    mapping->pinned = offset + length;
    /* Only now: pinning may have moved the pages. */
    return backend->ops->resolve(backend, mapping, offset, length, &buffer->spans, fault);
}

void buffer_swap(struct buffer *a, struct buffer *b)
{
    struct buffer t = *a;

    a->size = b->size, b->size = t.size;
    a->page_size = b->page_size, b->page_size = t.page_size;
    a->fd = b->fd, b->fd = t.fd;
    a->mapping = b->mapping, b->mapping = t.mapping;
    a->spans = b->spans, b->spans = t.spans;
    a->dev = b->dev, b->dev = t.dev;
    a->ino = b->ino, b->ino = t.ino;
}

static int start(struct buffer *buffer, struct build *build, struct backend *backend,
                 struct fault *fault)
{
    int r;

    if (buffer->registered)
        return buffer_begin_foreign(buffer, build->offset, build->asked, backend, fault);
    r = memory_choose(build->asked, build->wanted, &build->constraints, build->choices, fault);
    if (r > 0)
        build->choice_count = r;
    return r < 0 ? r : 0;
}

/* Make the memfd with the current choice of page size and a place for it. */
static int begin(struct buffer *buffer, const struct build *build, struct memory *memory,
                 struct backend *backend, struct fault *fault)
{
    uint64_t page_size = build->choices[build->choice];
    uint64_t size;
    int r = memory_round(memory, build->asked, page_size, &size, fault);

    return r < 0 ? r : buffer_begin(buffer, size, page_size, memory, backend, fault);
}

/* Return: 0 yes; 1 no, but a search may help; negative errno: no. */
static int check_constraints(const struct buffer *buffer, struct build *build,
                             const struct backend *backend, struct fault *fault)
{
    struct fit fit;
    int r;

    constraints_fit(&build->constraints, buffer->spans.list, buffer->spans.count, &fit);
    r = constraints_met(&build->constraints, &fit, fault);
    if (r == 0 || buffer->registered || buffer->page_size == PAGE_4K ||
        backend->mode == DMABUFD_MODE_FAKE)
        return r;
    build->searching = true;
    return 1;
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
                struct backend *backend, const atomic_bool *cancelled, struct fault *fault)
{
    int r;

    if (!build->started) {
        r = start(buffer, build, backend, fault);
        if (r < 0)
            return r;
        build->started = true;
    }
    if (build->searching) {
        r = search_round(buffer, build, memory, backend, cancelled, fault);
        return r == 0 ? finish(buffer, backend, fault) : r;
    }
    if (buffer->fd < 0) {
        r = begin(buffer, build, memory, backend, fault);
        if (r < 0)
            return r;
    }
    r = buffer_next_piece(buffer, memory, backend, fault);
    if (r < 0)
        return r;
    if (buffer->mapping.pinned < buffer->size)
        return 1;
    r = check_constraints(buffer, build, backend, fault);
    return r == 0 ? finish(buffer, backend, fault) : r;
}

enum build_result buffer_build_step(struct buffer *buffer, struct build *build,
                                    struct memory *memory, struct backend *backend,
                                    const atomic_bool *cancelled, struct fault *fault)
{
    struct fault unwanted = { 0 };
    int r;

    fault = fault ? fault : &unwanted;
    r = atomic_load(cancelled)
            ? fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ECANCELED, "the client left")
            : step(buffer, build, memory, backend, cancelled, fault);

    if (r > 0)
        return BUILD_MORE;
    if (r == 0)
        return BUILD_DONE;
    undo(buffer, memory, backend);
    if (fault->code == DMABUFD_CODE_CONSTRAINTS && !build->closest.error)
        build->closest = *fault;
    /* Whatever stood in the way of these pages, others may still do. */
    if (!atomic_load(cancelled) && buffer->fd < 0 && build->choice + 1 < build->choice_count) {
        build->choice++;
        build->searching = false;
        build->round = 0;
        return BUILD_MORE;
    }
    if (build->closest.error)
        *fault = build->closest;
    return BUILD_FAILED;
}
