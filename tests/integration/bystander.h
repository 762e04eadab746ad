/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bystander: a well-behaved client, this process, that is connected while others misbehave. It must
 * notice nothing, and afterwards the daemon must be as it was before.
 *
 * Asserts with cmocka, for the test process only.
 */
#ifndef TESTS_BYSTANDER_H
#define TESTS_BYSTANDER_H

#include <stdatomic.h>

#include "tests/integration/harness.h"

struct bystander {
    const struct daemon *daemon;
    pid_t broker;
    dmabufd *d;
    dmabufd_buffer *buffer; /* 1 MiB in small pages, full of a pattern */
    struct dmabufd_span *spans;
    size_t span_count;
    struct leftovers before;
    unsigned int broker_fds;
    atomic_uint *ended;    /* connections that offenders, other processes, say they lost */
    uint64_t ended_in_all; /* those of offenders before */
};

/** bystander_start() - connect and allocate. */
void bystander_start(struct bystander *bystander, const struct daemon *daemon);

/** bystander_stop() - leave, when the log tells of all that offenders did. */
void bystander_stop(struct bystander *bystander);

/** bystander_blames() - offences that the log tells of, in full or as a number. */
uint64_t bystander_blames(const struct bystander *bystander);

/** bystander_check() - still served by the same broker; memory and addresses are as they were. */
void bystander_check(const struct bystander *bystander);

/** bystander_check_alloc() - and new memory can be had. */
void bystander_check_alloc(const struct bystander *bystander);

/** bystander_before() - alone with the daemon: remember how it is. */
void bystander_before(struct bystander *bystander);

/** bystander_after() - wait until the daemon is as it was before, then assert it. */
void bystander_after(struct bystander *bystander);

/**
 * bystander_endures() - another process does its worst, and nobody else is hurt
 * @offence: as for spawn_as()
 *
 * The log names an offender no more often than it lost a connection; the rest it counts, some
 * seconds later.
 */
void bystander_endures(struct bystander *bystander, int (*offence)(void *data), void *data);

/**
 * offence_ends() - in the offender: these bytes, on a connection of their own, are the end of it
 * @greeted: say HELLO first
 * @fd_count: so many descriptors with them
 */
bool offence_ends(struct bystander *bystander, bool greeted, const void *bytes, size_t size,
                  size_t fd_count);

#endif
