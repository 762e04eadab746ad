/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Build: making a buffer out of a client's request, step by step: choose a page size, allocate, pin,
 * resolve, see that it meets the constraints, search if it does not, fall back to other pages.
 *
 * All or nothing: what fails leaves nothing but the empty struct, and build->stuck. While a build runs,
 * the buffer belongs to it alone.
 */
#ifndef KEEPER_BUILD_H
#define KEEPER_BUILD_H

#include "daemon/keeper/search.h"
#include "daemon/keeper/sift.h"

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
    bool pooled; /* it is for the pool: the list is kept, and the bulk lane does it */
    bool choosy; /* and it is worth a short search to be one run */
    struct buffer_list given_up; /* by the pool, so that there are pages: the first thing to go */
    struct buffer_list stuck;    /* of these, what the kernel did not unpin: to be kept */
    uint64_t choices[3];
    int choice_count;
    int choice;
    bool started;
    bool tidying;         /* the memory is there, but its pages could be in a better order */
    bool searching;       /* the memory is there but does not meet the constraints */
    struct search search; /* for huge pages */
    struct sift sift;     /* for small ones */
    struct effort effort; /* of both, for all page sizes */
    struct fault closest; /* how close it came, kept while other pages are tried */
    bool misplaced;       /* that met all but the node */
};

/**
 * build_step() - go on building, for a few milliseconds
 * @cancelled: give up and undo; may become true at any time
 *
 * Automatic page sizes fall back from huge to small when the huge ones run out on the way. A step
 * takes longer once build->searching or build->tidying is set: a whole round of a search, at most
 * until the deadline of build->effort.
 */
enum build_result build_step(struct buffer *buffer, struct build *build, struct memory *memory,
                             struct backend *backend, const atomic_bool *cancelled,
                             struct fault *fault);

#endif
