/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Tracer: counts calls that another process makes to the kernel, by ptrace(2), as strace does: what
 * the process says of itself is not asked. It slows that process down very much.
 */
#ifndef BENCH_TRACER_H
#define BENCH_TRACER_H

#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/cleanup.h"

struct tracer_counts; /* in memory that both sides see */

struct tracer {
    pid_t pid; /* of a process that traces; 0: none */
    struct tracer_counts *counts;
};

/**
 * tracer_start() - count the ioctl(2)s of all threads of @pid that have the numbers in @requests
 * @count: at most TRACER_MAX
 * Return: 0; or a negative errno: not allowed to.
 */
int tracer_start(struct tracer *tracer, pid_t pid, const unsigned long *requests, size_t count);

#define TRACER_MAX 4

/** tracer_count() - how many there were of requests[@i] so far. */
uint64_t tracer_count(const struct tracer *tracer, size_t i);

/** tracer_stop() - let the process go; safe to repeat. */
void tracer_stop(struct tracer *tracer);

#define CLEANUP_TRACER CLEANUP(tracer_stop)

#endif
