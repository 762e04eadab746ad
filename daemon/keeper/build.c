/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Building buffers; see build.h. */
#include "daemon/keeper/build.h"

#include <errno.h>

#include "daemon/log.h"
#include "proto/spantable.h"

/* A search holds free pages that others may want: not for long. */
#define TIDY_ROUNDS 2U

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

static int start(struct buffer *buffer, struct build *build, struct memory *memory,
                 struct backend *backend, struct fault *fault)
{
    int r;

    buffer->placement = placement_of(&build->constraints);
    r = placement_check(&memory->nodes, &buffer->placement, fault);
    if (r < 0)
        return r;
    if (buffer->registered)
        return buffer_begin_foreign(buffer, build->offset, build->asked, memory, backend, fault);
    r = memory_choose(memory, build->asked, build->wanted, &build->constraints, build->choices,
                      fault);
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
    int r = effort_measure(&build->effort, &build->constraints, &buffer->spans);

    if (r == 0)
        return 0;
    if (buffer->registered || backend->mode == DMABUFD_MODE_FAKE)
        return effort_refuse(&build->effort, &build->constraints, fault);
    build->searching = true;
    return 1;
}

/* The policy allocates where it should, but pinning may have moved pages, and registered memory was
 * there before. */
static int check_nodes(struct buffer *buffer, struct build *build, struct memory *memory,
                       struct backend *backend, struct fault *fault)
{
    const struct spans *spans = &buffer->spans;
    uint32_t node = buffer->placement.node;
    char text[128];
    int r;

    buffer->nodes = backend->ops->nodes_of
                        ? backend->ops->nodes_of(backend, spans->list, spans->count)
                        : nodes_of(&memory->nodes, spans->list, spans->count);
    if (!placement_is_strict(&buffer->placement) || buffer->nodes == UINT64_C(1) << node)
        return 0;
    if (buffer->nodes == 0)
        return buffer->registered
                   ? fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                               "this host does not tell on which node memory is (/proc/zoneinfo)")
                   : 0;
    nodes_text(buffer->nodes, text, sizeof(text));
    r = fault_set(fault, DMABUFD_CODE_CONSTRAINTS, ENOSPC,
                  "the memory is on node %s, asked: on node %u only; %s", text, node,
                  buffer->registered ? "make it there (mbind(2)) or make the node preferred"
                                     : "pinning moved it: make the node preferred");
    /* It met all the rest. */
    build->closest = *fault;
    build->misplaced = true;
    return r;
}

static int finish(struct buffer *buffer, struct build *build, struct memory *memory,
                  struct backend *backend, struct fault *fault)
{
    const struct spans *spans = &buffer->spans;
    int r = spans_check(spans->list, spans->count, buffer->size);

    if (r < 0 || spans->count > SPANTABLE_MAX)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, EIO,
                         "defect: the scatter list does not cover the buffer exactly");
    r = check_nodes(buffer, build, memory, backend, fault);
    if (r < 0)
        return r;
    if (backend->ops->settle)
        backend->ops->settle(backend, &buffer->mapping);
    r = buffer_seal_list(buffer, fault);
    if (r == 0 && !build->pooled)
        buffer_drop_list(buffer);
    return r;
}

/* Of what the pool gave up for this: a piece. */
static void discard_piece(struct build *build, struct memory *memory, struct backend *backend)
{
    struct buffer *buffer = SLIST_FIRST(&build->given_up);
    struct fault fault = { 0 };
    int r = buffer_teardown_step(buffer, memory, backend, &fault);

    if (r > 0)
        return;
    SLIST_REMOVE_HEAD(&build->given_up, given_link);
    if (r == 0) {
        buffer_free(buffer);
        return;
    }
    log_err("what the pool gave up cannot be unpinned: %s", fault.text);
    SLIST_INSERT_HEAD(&build->stuck, buffer, given_link);
}

/* One run if that is soon found, else as few as its pages allow. Return: 1 to be called again. */
static int tidy(struct buffer *buffer, struct build *build, struct memory *memory,
                struct backend *backend, struct fault *fault)
{
    static const struct dmabufd_constraints one_run = { .flags = DMABUFD_CONTIGUOUS };
    int r = -ENOSPC;

    if (build->choosy && build->search.round < TIDY_ROUNDS)
        r = search_round(&build->search, buffer, &one_run, memory, backend, &build->effort, fault);
    return r == -ENOSPC ? search_tidy(buffer, memory, backend, &build->effort, fault) : r;
}

static int search(struct buffer *buffer, struct build *build, struct memory *memory,
                  struct backend *backend, struct fault *fault)
{
    return buffer->page_size == PAGE_4K ? sift_round(&build->sift, buffer, &build->constraints,
                                                     memory, backend, &build->effort, fault)
                                        : search_round(&build->search, buffer, &build->constraints,
                                                       memory, backend, &build->effort, fault);
}

static int step(struct buffer *buffer, struct build *build, struct memory *memory,
                struct backend *backend, struct fault *fault)
{
    int r;

    if (!build->started) {
        r = start(buffer, build, memory, backend, fault);
        if (r < 0)
            return r;
        build->started = true;
        /* That looked into a file of the client's; the rest is for another lane (job.h). */
        if (buffer->registered)
            return 1;
    }
    if (build->tidying || build->searching) {
        r = build->tidying ? tidy(buffer, build, memory, backend, fault)
                           : search(buffer, build, memory, backend, fault);
        return r == 0 ? finish(buffer, build, memory, backend, fault) : r;
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
    if (r == 0 && build->pooled && buffer->spans.count > 1 && backend->mode != DMABUFD_MODE_FAKE) {
        build->tidying = true;
        return 1;
    }
    return r == 0 ? finish(buffer, build, memory, backend, fault) : r;
}

enum build_result build_step(struct buffer *buffer, struct build *build, struct memory *memory,
                             struct backend *backend, const atomic_bool *cancelled,
                             struct fault *fault)
{
    struct fault unwanted = { 0 };
    int r;

    fault = fault ? fault : &unwanted;
    /* Whether it is still wanted or not. */
    if (!SLIST_EMPTY(&build->given_up)) {
        discard_piece(build, memory, backend);
        return BUILD_MORE;
    }
    build->effort.cancelled = cancelled;
    r = atomic_load(cancelled) ? -ECANCELED : step(buffer, build, memory, backend, fault);
    if (r > 0)
        return BUILD_MORE;
    if (r == -ECANCELED)
        fault_set(fault, DMABUFD_CODE_SHUTTING_DOWN, ECANCELED, "the client left");
    sift_end(&build->sift, memory, backend);
    if (r == 0)
        return BUILD_DONE;
    undo(buffer, memory, backend);
    /* The last one tells of all before it. */
    if (fault->code == DMABUFD_CODE_CONSTRAINTS && !build->misplaced)
        build->closest = *fault;
    /* Whatever stood in the way of these pages, others may still do. */
    if (!atomic_load(cancelled) && buffer->fd < 0 && build->choice + 1 < build->choice_count) {
        build->choice++;
        build->searching = false;
        build->search = (struct search){ 0 };
        return BUILD_MORE;
    }
    if (build->closest.error && fault->code != DMABUFD_CODE_SHUTTING_DOWN)
        *fault = build->closest;
    return BUILD_FAILED;
}
