/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffer: one piece of client memory with all that belongs to it, and the two long jobs on it:
 * building (allocate, pin, resolve) and tearing down (unpin, free), each in short steps.
 *
 * While a job runs the buffer belongs to it alone; who holds a finished buffer is the store's
 * business (store.h).
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

struct hold;

struct buffer {
    uint64_t id; /* in the store */
    uint64_t size;
    uint64_t page_size;
    int fd;
    bool registered; /* a client made the memory: not charged, not to be looked up */
    struct mapping mapping;
    struct spans spans; /* the list; emptied when it went into the table */
    uint32_t span_count;
    int table_fd; /* sealed table of a list that is too long for a message, or -1 */
    dev_t dev;    /* of fd: candidates of a look-up */
    ino_t ino;
    LIST_ENTRY(buffer) inode_link;
    LIST_HEAD(, hold) holds;
    uint32_t holders; /* clients */
};

enum build_result {
    BUILD_MORE,   /* call again */
    BUILD_DONE,   /* ready */
    BUILD_FAILED, /* nothing is left of it but the struct; the fault says why */
};

/** What building needs to go on; zero-initialise. */
struct build {
    uint64_t asked;  /* bytes, as the client asked */
    uint64_t wanted; /* page size, 0: choose */
    uint64_t offset; /* of registered memory in its file */
    struct dmabufd_constraints constraints;
    uint64_t choices[3];
    int choice_count;
    int choice;
    bool started;
    bool searching; /* the memory is there but does not meet the constraints, see search.h */
    unsigned int round;
    uint64_t deadline_ns;
    struct fault closest; /* what the best pages came to, kept while smaller ones are tried */
};

/** buffer_new() - an empty shell. Return: NULL without memory. */
struct buffer *buffer_new(void);

/** buffer_free() - free the shell of a torn-down buffer; NULL is allowed. Returns NULL. */
struct buffer *buffer_free(struct buffer *buffer);

/**
 * buffer_build_step() - go on building, for a few milliseconds
 * @cancelled: give up and undo; may become true at any time
 *
 * Automatic page sizes fall back from huge to small when the huge ones run out on the way. A step
 * takes longer once build->searching is set.
 */
enum build_result buffer_build_step(struct buffer *buffer, struct build *build,
                                    struct memory *memory, struct backend *backend,
                                    const atomic_bool *cancelled, struct fault *fault);

/**
 * buffer_teardown_step() - go on tearing down, for a few milliseconds
 *
 * Works on a half-built buffer too. Memory that the kernel refuses to unpin is kept, because a
 * device may still write to it: then -EBUSY or the kernel's errno with @fault, and the buffer must
 * be kept as it is.
 *
 * Return: 1 to be called again, 0 when nothing is left but the struct, or a negative errno.
 */
int buffer_teardown_step(struct buffer *buffer, struct memory *memory, struct backend *backend,
                         struct fault *fault);

/* The steps of building and tearing down, for those who combine them in another way. */

/** buffer_begin() - make the memfd of @size bytes, a multiple of @page_size, and choose a place. */
int buffer_begin(struct buffer *buffer, uint64_t size, uint64_t page_size, struct memory *memory,
                 struct backend *backend, struct fault *fault);

/** buffer_begin_foreign() - the same for memory that a client made, buffer->fd; checks it first. */
int buffer_begin_foreign(struct buffer *buffer, uint64_t offset, uint64_t size,
                         struct backend *backend, struct fault *fault);

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
