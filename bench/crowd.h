/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Crowd: many clients at once, in a few processes that do each step only when told to, so that
 * memory can be looked at in between. Several processes, because a connection reserves addresses
 * for all memory of the host, and each buffer is a descriptor of the process that holds it. As root
 * each is a user of its own, because a daemon's limits are less for one user.
 */
#ifndef BENCH_CROWD_H
#define BENCH_CROWD_H

#include <sys/types.h>

#include "common/cleanup.h"

#define CROWD_PROCESSES 10
#define CROWD_WHY_MAX   160

struct crowd {
    pid_t pids[CROWD_PROCESSES]; /* 0: none */
    int sockets[CROWD_PROCESSES];
    char why[CROWD_WHY_MAX];
};

/** crowd_start() - the processes, not yet connected; exits if that fails. */
void crowd_start(struct crowd *crowd);

/**
 * crowd_connect() - make @count connections in each process
 * Return: NULL, or why not all were made; the others stay.
 */
const char *crowd_connect(struct crowd *crowd, unsigned int count);

/** crowd_allocate() - @count buffers of 4 KiB through the first connection of each process; the
 *  same. */
const char *crowd_allocate(struct crowd *crowd, unsigned int count);

/** crowd_stop() - end the processes; safe to repeat. */
void crowd_stop(struct crowd *crowd);

#define CLEANUP_CROWD CLEANUP(crowd_stop)

#endif
