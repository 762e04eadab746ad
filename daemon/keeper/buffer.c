/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The steps of a buffer's life; see buffer.h. */
#include "daemon/keeper/buffer.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/closer.h"
#include "daemon/log.h"
#include "proto/limits.h"
#include "proto/spantable.h"
#include "proto/wire.h"

struct buffer *buffer_new(void)
{
    struct buffer *buffer = calloc(1, sizeof(*buffer));

    if (!buffer)
        return NULL;
    buffer->fd = -1;
    buffer->table_fd = -1;
    buffer->readonly_fd = -1;
    LIST_INIT(&buffer->names);
    return buffer;
}

struct buffer *buffer_free(struct buffer *buffer)
{
    if (!buffer)
        return NULL;
    spans_deinit(&buffer->spans);
    fd_close(&buffer->table_fd);
    fd_close(&buffer->readonly_fd);
    fd_close(&buffer->fd);
    for (uint32_t i = 0; i < buffer->chunk_count; i++)
        buffer_free(buffer->chunk[i]);
    free(buffer->chunk);
    buffer->payer = quota_leave(buffer->payer);
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

static int charge_payer(const struct buffer *buffer, uint64_t size, uint64_t page_size,
                        struct fault *fault)
{
    return buffer->payer ? quota_charge(buffer->payer, quota_kind_of(page_size), size, fault) : 0;
}

static void uncharge_payer(const struct buffer *buffer, uint64_t size, uint64_t page_size)
{
    if (buffer->payer)
        quota_release(buffer->payer, quota_kind_of(page_size), size);
}

static void uncharge(struct buffer *buffer, struct memory *memory)
{
    memory_release(memory, buffer->charged, buffer->page_size);
    uncharge_payer(buffer, buffer->charged, buffer->page_size);
    buffer->charged = 0;
}

bool buffer_to_empty(const struct buffer *buffer)
{
    if (buffer->chunk_count > 0)
        return buffer_to_empty(buffer->chunk[buffer->chunk_count - 1]);
    return buffer->shown && !buffer->registered && !buffer->mapping.begun &&
           buffer->emptied < buffer->size;
}

static int empty_piece(struct buffer *buffer, struct fault *fault)
{
    uint64_t length = buffer->page_size > BACKEND_PIECE ? buffer->page_size : BACKEND_PIECE;
    int r = memory_empty(buffer->fd, buffer->emptied, length);

    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, -r,
                         "a file that a client may have kept cannot be emptied: %s", strerror(-r));
    buffer->emptied += length;
    return 0;
}

uint64_t buffer_remaining(const struct buffer *buffer)
{
    uint64_t sum = 0;

    for (uint32_t i = 0; i < buffer->chunk_count; i++)
        sum += buffer_remaining(buffer->chunk[i]);
    if (buffer->chunk_count > 0)
        return sum;
    return buffer_to_empty(buffer) ? buffer->size - buffer->emptied : buffer->mapping.pinned;
}

/* The last of its chunks. */
static int teardown_chunk(struct buffer *buffer, struct memory *memory, struct backend *backend,
                          struct fault *fault)
{
    uint32_t last = buffer->chunk_count - 1;
    int r = buffer_teardown_step(buffer->chunk[last], memory, backend, fault);

    if (r != 0)
        return r;
    buffer_free(buffer->chunk[last]);
    buffer->chunk_count = last;
    return 1;
}

int buffer_teardown_step(struct buffer *buffer, struct memory *memory, struct backend *backend,
                         struct fault *fault)
{
    bool emptying = buffer_to_empty(buffer);
    int r;

    if (buffer->chunk_count > 0)
        return teardown_chunk(buffer, memory, backend, fault);
    r = unpin_piece(buffer, backend, fault);

    if (r == 0 && emptying)
        r = empty_piece(buffer, fault);
    if (r != 0)
        return r;
    fd_close(&buffer->table_fd);
    fd_close(&buffer->readonly_fd);
    if (buffer_to_empty(buffer))
        return 1;
    /* Its file may be much larger than what was registered of it, which says how long we may be busy
     * here. */
    if (buffer->registered)
        closer_close(TAKE_FD(buffer->fd), buffer->payer ? buffer->payer->uid : WIRE_NOBODY);
    fd_close(&buffer->fd);
    uncharge(buffer, memory);
    return 0;
}

/* What a token says lies in which buffer it is; there is nothing in it. */
static int make_token(struct buffer *buffer, struct fault *fault)
{
    CLEANUP_FD int fd = -1;
    struct stat st;
    int r = memfd_open("dmabufd-token", 0, &fd);

    if (r == -EMFILE || r == -ENFILE)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the daemon is out of file descriptors: raise its LimitNOFILE=");
    if (r < 0 || ftruncate(fd, (off_t)PAGE_4K) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) < 0 ||
        fstat(fd, &st) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "cannot make a memfd");
    buffer->fd = TAKE_FD(fd);
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    return 0;
}

static int join_lists(struct buffer *buffer, struct buffer *const *chunk, size_t count,
                      struct fault *fault)
{
    int r = 0;

    for (size_t i = 0; r == 0 && i < count; i++) {
        const struct spans *spans = &chunk[i]->spans;

        for (size_t j = 0; r == 0 && j < spans->count; j++)
            r = spans_append(&buffer->spans, spans->list[j].dma_addr, spans->list[j].length);
        buffer->size += chunk[i]->size;
        buffer->nodes |= chunk[i]->nodes;
    }
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    return buffer_seal_list(buffer, fault);
}

int buffer_assemble(struct buffer *const *chunk, size_t count, struct buffer **ret,
                    struct fault *fault)
{
    struct buffer *buffer = buffer_new();
    int r;

    if (buffer)
        buffer->chunk = calloc(count, sizeof(struct buffer *));
    if (!buffer || !buffer->chunk) {
        buffer_free(buffer);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    }
    buffer->page_size = chunk[0]->page_size;
    buffer->placement = chunk[0]->placement;
    r = make_token(buffer, fault);
    if (r == 0)
        r = join_lists(buffer, chunk, count, fault);
    if (r < 0) {
        buffer_free(buffer);
        return r;
    }
    buffer_drop_list(buffer);
    buffer->charged = buffer->size;
    buffer->emptied = buffer->size; /* the token: there is nothing to empty */
    memcpy(buffer->chunk, chunk, count * sizeof(struct buffer *));
    buffer->chunk_count = (uint32_t)count;
    *ret = buffer;
    return 0;
}

int buffer_seal_list(struct buffer *buffer, struct fault *fault)
{
    const struct spans *spans = &buffer->spans;
    int r;

    buffer->span_count = (uint32_t)spans->count;
    if (spans->count <= PROTO_SPANS_INLINE_MAX)
        return 0;
    r = spantable_seal(spans->list, spans->count, &buffer->table_fd);
    if (r == -EMFILE || r == -ENFILE)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "the daemon is out of file descriptors: raise its LimitNOFILE=");
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r,
                         "the daemon has no memory or descriptor for the scatter list");
    return 0;
}

void buffer_drop_list(struct buffer *buffer)
{
    if (buffer->table_fd >= 0)
        spans_deinit(&buffer->spans);
}

void buffer_show(struct buffer *buffer, bool shown)
{
    buffer->shown = shown;
    for (uint32_t i = 0; i < buffer->chunk_count; i++)
        buffer->chunk[i]->shown = shown;
}

void buffer_discard(struct buffer *buffer, struct memory *memory, struct backend *backend)
{
    struct fault fault = { 0 };
    int r;

    if (!buffer)
        return;
    do {
        r = buffer_teardown_step(buffer, memory, backend, &fault);
    } while (r > 0);
    if (r < 0)
        log_err("%llu bytes stay pinned until the daemon ends: %s",
                (unsigned long long)buffer->size, fault.text);
    else
        buffer_free(buffer);
}

int buffer_begin_again(struct buffer *buffer, struct backend *backend, struct fault *fault)
{
    int r;

    buffer->mapping = (struct mapping){ .fd = buffer->fd,
                                        .start = buffer->mapping.start,
                                        .foreign = buffer->registered,
                                        .placement = buffer->placement,
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
    int r = charge_payer(buffer, size, page_size, fault);

    if (r < 0)
        return r;
    r = memory_create(memory, size, page_size, &buffer->fd, fault);
    if (r < 0) {
        uncharge_payer(buffer, size, page_size);
        return r;
    }
    buffer->size = buffer->charged = size;
    buffer->page_size = page_size;
    if (fstat(buffer->fd, &st) < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, errno, "cannot stat a memfd");
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    return buffer_begin_again(buffer, backend, fault);
}

int buffer_begin_foreign(struct buffer *buffer, uint64_t offset, uint64_t size,
                         struct memory *memory, struct backend *backend, struct fault *fault)
{
    int r = memory_check_foreign(buffer->fd, offset, size, &buffer->page_size, fault);

    if (r == 0)
        r = charge_payer(buffer, size, buffer->page_size, fault);
    if (r < 0)
        return r;
    r = memory_charge(memory, size, buffer->page_size, fault);
    if (r < 0) {
        uncharge_payer(buffer, size, buffer->page_size);
        return r;
    }
    buffer->size = buffer->charged = size;
    buffer->mapping.start = offset;
    return buffer_begin_again(buffer, backend, fault);
}

static int allocate_and_pin(struct buffer *buffer, uint64_t offset, uint64_t length,
                            struct memory *memory, struct backend *backend, struct fault *fault)
{
    struct policy before;
    int r = placement_enter(&memory->nodes, &buffer->placement, &before, fault);

    if (r < 0)
        return r;
    r = memory_prepare(memory, &buffer->placement, buffer->fd, buffer->page_size, offset, length,
                       fault);
    if (r == 0)
        r = backend->ops->pin(backend, &buffer->mapping, offset, length, fault);
    placement_leave(&before);
    return r;
}

int buffer_next_piece(struct buffer *buffer, struct memory *memory, struct backend *backend,
                      struct fault *fault)
{
    struct mapping *mapping = &buffer->mapping;
    uint64_t offset = mapping->pinned;
    uint64_t length = backend_piece(mapping, offset);
    int r = buffer->registered ? backend->ops->pin(backend, mapping, offset, length, fault)
                               : allocate_and_pin(buffer, offset, length, memory, backend, fault);

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
    /* The placement is the same, and where it is now is looked at later. */
}
