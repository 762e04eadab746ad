/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Peer: another library for the same purpose, DPDK, in a process of its own (dmabufd-bench-dpdk)
 * that does what it is told, one turn at a time, so that its turns alternate with ours. It is a
 * process of its own because that library takes over the one it is in, and so that this program
 * needs it neither to build nor to run.
 */
#ifndef BENCH_PEER_H
#define BENCH_PEER_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "bench/crew.h"
#include "bench/samples.h"

enum peer_what {
    PEER_PREPARE,  /* @size bytes in pages of @page_size, for the next two; replaces the last */
    PEER_WALK,     /* ask for addresses there; sample: ns an address */
    PEER_RESOLVE,  /* ask once for each page there; sample: ns for all */
    PEER_RELEASE,  /* give that back */
    PEER_HEAP,     /* objects of @size; sample: ns a pair of allocate and free */
    PEER_ALLOCATE, /* @size bytes of new huge pages, and free; samples: ns to have, ns to free */
};

enum peer_way {
    PEER_MEM,    /* rte_mem_virt2iova(): any pointer */
    PEER_MALLOC, /* rte_malloc_virt2iova(): only where an object begins */
};

struct peer_order {
    enum peer_what what;
    enum peer_way way;
    uint64_t size;
    uint64_t page_size;
    bool chained;
    unsigned int burst;
    unsigned int threads;
    int cpus[CREW_MAX]; /* of the threads; of the process if there are none */
};

/** Followed by @count numbers, doubles. */
struct peer_answer {
    size_t count;
    char why[160]; /* not; empty: done */
};

struct peer {
    pid_t pid; /* 0: none */
    int socket;
    char why[200]; /* there is none */
};

/** What it is not doing. */
#define PEER_NONE    \
    {                \
        .socket = -1 \
    }

/** peer_start() - @program: NULL for none; what went wrong is in @peer->why. */
void peer_start(struct peer *peer, const char *program);

/** peer_is_there() */
static inline bool peer_is_there(const struct peer *peer)
{
    return peer->pid > 0;
}

/**
 * peer_order() - have it done, and wait
 * @samples: the numbers are appended; NULL where there are none
 * Return: NULL, or why it was not done.
 */
const char *peer_order(struct peer *peer, const struct peer_order *order, struct samples *samples);

/** peer_stop() - safe to repeat. */
void peer_stop(struct peer *peer);

#endif
