/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The bounds of a search; see effort.h. */
#include "daemon/keeper/effort.h"

#include <errno.h>

#include "common/clock.h"

void effort_begin(struct effort *effort)
{
    if (effort->deadline_ns == 0)
        effort->deadline_ns = now_ns() + EFFORT_SECONDS * NS_PER_S;
}

int effort_check(const struct effort *effort)
{
    if (atomic_load(effort->cancelled))
        return -ECANCELED;
    return now_ns() < effort->deadline_ns ? 0 : -ETIME;
}

void effort_keep(struct effort *effort, const struct dmabufd_constraints *constraints,
                 const struct fit *fit)
{
    /* It came to nothing for another reason. */
    if (constraints_met(constraints, fit, NULL) == 0)
        return;
    if (effort->closest.spans == 0 || constraints_closer(constraints, fit, &effort->closest))
        effort->closest = *fit;
}

int effort_measure(struct effort *effort, const struct dmabufd_constraints *constraints,
                   const struct spans *spans)
{
    struct fit fit;

    constraints_fit(constraints, spans->list, spans->count, &fit);
    effort_keep(effort, constraints, &fit);
    return constraints_met(constraints, &fit, NULL);
}

int effort_refuse(const struct effort *effort, const struct dmabufd_constraints *constraints,
                  struct fault *fault)
{
    return constraints_met(constraints, &effort->closest, fault);
}
