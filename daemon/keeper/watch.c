/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Signs of life; see watch.h. */
#include "daemon/keeper/watch.h"

#include <errno.h>

void watch_begin(struct watch *watch, uint64_t now_ns)
{
    *watch = (struct watch){ .period_ns = watch->period_ns, .last_ns = now_ns };
}

void watch_heard(struct watch *watch)
{
    watch->heard = true;
}

int watch_answered(struct watch *watch, uint64_t number)
{
    if (!watch->asked || number != watch->number)
        return -EBADMSG;
    watch->asked = false;
    return 0;
}

enum watch_verdict watch_period(struct watch *watch, uint64_t now_ns)
{
    bool on_time = now_ns - watch->last_ns < 2 * watch->period_ns;

    watch->last_ns = now_ns;
    if (watch->heard)
        watch->silent = 0;
    else if (watch->asked && on_time)
        watch->silent++;
    watch->heard = false;
    if (watch->silent >= WATCH_PERIODS)
        return WATCH_HUNG;
    if (watch->asked)
        return WATCH_WAIT;
    watch->number++;
    watch->asked = true;
    return WATCH_ASK;
}
