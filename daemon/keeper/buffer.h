/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffer: one piece of client memory with all that belongs to it, and the steps of its life. A step
 * is one piece (backend.h), so that on one worker thread large requests take turns.
 *
 * How a buffer comes out of these steps is build.c's; who holds a finished one is the store's.
 */
#ifndef KEEPER_BUFFER_H
#define KEEPER_BUFFER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/types.h>

#include "common/fault.h"
#include "common/spans.h"
#include "daemon/keeper/backend.h"
#include "daemon/keeper/memory.h"
#include "daemon/keeper/quota.h"

struct name;
struct pool_set;

struct buffer {
    uint64_t id; /* in the store */
    uint64_t size;
    uint64_t page_size;
    struct placement placement;
    uint64_t nodes; /* bit n: some of it is on NUMA node n; 0: not known */
    int fd;
    bool registered; /* a client made the memory: not to be looked up, and stays when it is freed */
    bool shown;      /* a client was given the descriptor and may have kept it */
    uint64_t emptied;         /* bytes from offset 0 that the kernel has back; after unpinning */
    uint64_t charged;         /* bytes, in memory and to each user that holds it */
    struct quota_user *payer; /* while nobody holds it: who is charged, or NULL; one reference */
    struct mapping mapping;
    struct spans spans; /* the list; emptied when it went into the table */
    uint32_t span_count;
    int table_fd; /* sealed table of a list that is too long for a message, or -1 */
    dev_t dev;    /* of fd: candidates of a look-up */
    ino_t ino;
    LIST_ENTRY(buffer) inode_link;
    SLIST_ENTRY(buffer) given_link; /* among those that the pool gave up */
    int readonly_fd; /* the same memory opened for reading only, -1 until somebody wants it */
    struct quota_user *sharer; /* charged for readonly_fd */
    LIST_HEAD(, name) names;
    uint32_t holders;         /* clients */
    bool chosen;              /* by choice.c or pool.c, for as long as it thinks */
    struct pool_set *leaving; /* the pool lets go of it */
    struct buffer **chunk;    /* that it was assembled from, in order; fd is a token then */
    uint32_t chunk_count;
};

SLIST_HEAD(buffer_list, buffer);

/** buffer_new() - an empty shell. Return: NULL without memory. */
struct buffer *buffer_new(void);

/** buffer_free() - free the shell of a torn-down buffer; NULL is allowed. One with a payer is freed on
 *  the main thread. Returns NULL. */
struct buffer *buffer_free(struct buffer *buffer);

/**
 * buffer_assemble() - one buffer out of several finished ones
 * @chunk: @count of them, whose pages have one size and whose lists are there; the new buffer's on
 *         success
 *
 * They stay what they are; the new one has a token for a descriptor, an empty sealed file, and the
 * list of all of them.
 *
 * Return: 0; -ENOMEM or -EMFILE with @fault.
 */
int buffer_assemble(struct buffer *const *chunk, size_t count, struct buffer **ret,
                    struct fault *fault);

/**
 * buffer_seal_list() - give the list of a finished buffer the form in which it travels
 * Return: 0; -ENOMEM or -EMFILE with @fault.
 */
int buffer_seal_list(struct buffer *buffer, struct fault *fault);

/** buffer_drop_list() - a list that is in the table now is not needed any more. */
void buffer_drop_list(struct buffer *buffer);

/** buffer_show() - a client is given its descriptors, or (false) what it keeps of them is its own. */
void buffer_show(struct buffer *buffer, bool shown);

/** buffer_weight() - how many descriptors of memory it is. */
static inline uint32_t buffer_weight(const struct buffer *buffer)
{
    return 1 + buffer->chunk_count;
}

/**
 * buffer_teardown_step() - go on tearing down, for a few milliseconds
 *
 * Works on a half-built buffer too. Memory that the kernel refuses to unpin is kept, because a
 * device may still write to it: then -EBUSY or the kernel's errno with @fault, and the buffer must
 * be kept as it is.
 *
 * Memory of ours that a client was shown is emptied once nothing of it is pinned, so that it is gone
 * for whoever kept a descriptor or a mapping, and its charge with it. The steps that do this can wait
 * for ever, see buffer_to_empty().
 *
 * Return: 1 to be called again, 0 when nothing is left but the struct, or a negative errno.
 */
int buffer_teardown_step(struct buffer *buffer, struct memory *memory, struct backend *backend,
                         struct fault *fault);

/**
 * buffer_to_empty() - whether the next step of the teardown empties a file that clients may have
 *
 * That step hangs in the kernel, and cannot be killed, for as long as somebody holds the lock of the
 * file: one write(2) to it whose source is a page that a FUSE server or a userfaultfd withholds.
 */
bool buffer_to_empty(const struct buffer *buffer);

/** buffer_remaining() - bytes that a teardown which failed has left. */
uint64_t buffer_remaining(const struct buffer *buffer);

/**
 * buffer_discard() - tear down and free a buffer that no client and no device has seen
 * @buffer: NULL is allowed. What the kernel keeps pinned is merely lost, with a line in the log.
 */
void buffer_discard(struct buffer *buffer, struct memory *memory, struct backend *backend);

/** buffer_begin() - make the memfd of @size bytes, a multiple of @page_size, and choose a place. */
int buffer_begin(struct buffer *buffer, uint64_t size, uint64_t page_size, struct memory *memory,
                 struct backend *backend, struct fault *fault);

/** buffer_begin_foreign() - the same for memory that a client made, buffer->fd; checks it first. */
int buffer_begin_foreign(struct buffer *buffer, uint64_t offset, uint64_t size,
                         struct memory *memory, struct backend *backend, struct fault *fault);

/** buffer_next_piece() - prepare, pin and resolve the next piece. */
int buffer_next_piece(struct buffer *buffer, struct memory *memory, struct backend *backend,
                      struct fault *fault);

/** buffer_unpin() - forget addresses, pins and place; the memfd and its pages stay. */
int buffer_unpin(struct buffer *buffer, struct backend *backend, struct fault *fault);

/** buffer_begin_again() - choose a place anew after buffer_unpin(). */
int buffer_begin_again(struct buffer *buffer, struct backend *backend, struct fault *fault);

/** buffer_swap() - exchange the memory of two buffers that nobody holds yet. */
void buffer_swap(struct buffer *a, struct buffer *b);

#endif
