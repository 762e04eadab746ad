/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Offenders: the users whose connections ended for malformed messages lately, so that the log tells
 * of each burst and is not flooded by it: the first of a user in full, then how many more there were.
 *
 * Bounded, whatever comes from however many users: OFFENDERS_MAX are told apart, those beyond are
 * counted together. It writes no log itself, and time is told to it.
 */
#ifndef BROKER_OFFENDERS_H
#define BROKER_OFFENDERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "common/clock.h"

/** Users told apart; so many lines in full, and one more than that of counts, are the most in one
 *  burst. */
#define OFFENDERS_MAX 32U

/** How long a burst of a user lasts before it is summed up, ns; until the next call of
 *  offenders_next() then. */
#define OFFENDERS_BURST_NS (10 * NS_PER_S)

struct offender {
    uid_t uid;
    bool others;       /* not one user, but all that found no place; uid means nothing */
    uint64_t since_ns; /* of the first, monotonic */
    uint64_t more;     /* than the first */
};

struct offenders { /* zeroed to begin */
    struct offender table[OFFENDERS_MAX];
    unsigned int count;
    struct offender others;
};

/**
 * offenders_note() - @uid did it
 * @now_ns: now_ns()
 * Return: true: the first of a burst, to be told of in full; false: counted.
 */
bool offenders_note(struct offenders *offenders, uid_t uid, uint64_t now_ns);

/**
 * offenders_next() - what is to be summed up now; to be called until there is nothing more
 * @ret: one whose burst is over and who did it more than once
 * Return: false: nothing more.
 */
bool offenders_next(struct offenders *offenders, uint64_t now_ns, struct offender *ret);

#endif
