/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Watch: whether the broker's event loop still turns. It is asked in each period (LINK_PING) and
 * answers from its loop; whatever else it sends or reads is a sign of life, too.
 *
 * To replace a broker ends every connection, so it is not done lightly: only after WATCH_PERIODS
 * periods in a row without any sign, in which the keeper itself ran on time. A host that slept, a
 * service that was frozen as a whole, and a machine too busy for both of us prove nothing.
 *
 * It keeps no timer, sends nothing and kills nobody: that is the supervisor's.
 */
#ifndef KEEPER_WATCH_H
#define KEEPER_WATCH_H

#include <stdbool.h>
#include <stdint.h>

#define WATCH_PERIODS 4U

struct watch {
    uint64_t period_ns; /* set by the owner, once; 0: never watch */
    uint64_t last_ns;   /* end of the last period */
    uint64_t number;    /* of the last question */
    unsigned int silent;
    bool asked; /* and not answered */
    bool heard; /* in this period */
};

enum watch_verdict {
    WATCH_WAIT, /* nothing to do */
    WATCH_ASK,  /* send watch->number */
    WATCH_HUNG, /* it is not coming back */
};

/** watch_begin() - there is a new broker. @now_ns: now_ns(), also below. */
void watch_begin(struct watch *watch, uint64_t now_ns);

/** watch_heard() - it sent something, or read something we sent. */
void watch_heard(struct watch *watch);

/** watch_answered() - it answered a question. Return: 0; -EBADMSG: not one that was asked. */
int watch_answered(struct watch *watch, uint64_t number);

/** watch_period() - a period is over, or more time than that if we could not run. */
enum watch_verdict watch_period(struct watch *watch, uint64_t now_ns);

#endif
