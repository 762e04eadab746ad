/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Placement: which process runs on which CPU. A message between two processes costs three to four
 * times as much when it wakes another CPU, so each row says where its processes were.
 *
 * The daemon is found as a sibling of this program: both are children of "dmabufctl run".
 */
#ifndef BENCH_PLACEMENT_H
#define BENCH_PLACEMENT_H

#include <sched.h>
#include <stdbool.h>
#include <sys/types.h>

enum place {
    PLACE_SAME_CPU, /* everything on one */
    PLACE_TWO_CPUS, /* this program on one, all others on another */
    PLACE_ANY_CPU,  /* wherever the scheduler puts them, as in real life */
    PLACE_COUNT,
};

struct placement {
    cpu_set_t all; /* what we were started with */
    int near;      /* CPU of this program */
    int far;       /* another one, or -1 */
    pid_t keeper;
    pid_t broker;
};

/** placement_init() - exits if the daemon is not found. */
void placement_init(struct placement *placement);

/** placement_find_broker() - when the daemon has another one; exits if it has none. */
void placement_find_broker(struct placement *placement);

/** placement_possible() - is there a second CPU if one is needed? */
bool placement_possible(const struct placement *placement, enum place place);

/** placement_enter() - move this thread and the daemon's; exits if it may not. */
void placement_enter(const struct placement *placement, enum place place);

/** placement_enter_peer() - move this process, a child of ours, to where the daemon is. */
void placement_enter_peer(const struct placement *placement, enum place place);

/** placement_name() - "same CPU", "two CPUs", "any CPU". */
const char *placement_name(enum place place);

#endif
