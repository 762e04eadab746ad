/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chain: the floor of a round trip. Processes that do nothing but hand a small datagram on, over
 * the same kind of socket as the daemon's, with blocking calls:
 *
 *     1 hop     this program <-> echo
 *     2 hops    this program <-> relay <-> echo        the way of a request: broker, keeper
 *
 * What else such processes could do is handout.h.
 */
#ifndef BENCH_CHAIN_H
#define BENCH_CHAIN_H

#include <sys/types.h>

#include "bench/placement.h"
#include "common/cleanup.h"

#define CHAIN_HOPS_MAX 2

struct chain {
    int socket;
    pid_t pids[CHAIN_HOPS_MAX]; /* 0: none */
};

/**
 * chain_serve - what a process does until @previous or @next ends
 * @previous: socket to who asks
 * @next: socket to who is asked first, or -1 in the last process
 */
typedef void chain_serve(const void *data, int previous, int next);

/** chain_echo() - the last one sends back what it got. @data is not used. */
chain_serve chain_echo;

/** chain_start() - start the processes; exits if that fails. */
void chain_start(struct chain *chain, unsigned int hops, chain_serve *serve, const void *data,
                 const struct placement *placement, enum place place);

/** chain_trip() - there and back once, of processes that echo. */
void chain_trip(const struct chain *chain);

/** chain_stop() - end the processes; safe to repeat. */
void chain_stop(struct chain *chain);

#define CLEANUP_CHAIN CLEANUP(chain_stop)

#endif
