/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Effort: what searching for memory that fits one request may cost, whatever the page sizes that are
 * tried for it, and how close all that was tried came.
 *
 * There is one deadline, from the moment when the first search begins. Searches look at it before
 * each piece of memory (backend.h), so that they end that much later at most; what they hold then
 * goes back to the kernel.
 */
#ifndef KEEPER_EFFORT_H
#define KEEPER_EFFORT_H

#include <stdatomic.h>
#include <stdint.h>

#include "common/segments.h"
#include "common/spans.h"

#define EFFORT_SECONDS 10U

/** Zero-initialise. */
struct effort {
    const atomic_bool *cancelled; /* nobody waits for it any more; may become true at any time */
    uint64_t deadline_ns;         /* of now_ns(); 0: no search has begun */
    struct fit closest;           /* of all that does not fit; no spans: nothing was tried */
};

/** effort_begin() - a search begins; only the first one counts. */
void effort_begin(struct effort *effort);

/** effort_check() - may it go on. Return: 0; -ECANCELED; -ETIME. */
int effort_check(const struct effort *effort);

/** effort_keep() - this was tried, or could have been made, too; what does fit is not kept. */
void effort_keep(struct effort *effort, const struct dmabufd_constraints *constraints,
                 const struct fit *fit);

/**
 * effort_measure() - look at a finished list, and keep how close it is
 * Return: 0, it meets the constraints; -ENOSPC.
 */
int effort_measure(struct effort *effort, const struct dmabufd_constraints *constraints,
                   const struct spans *spans);

/** effort_refuse() - after something did not fit: say how close all came. Return: -ENOSPC with @fault. */
int effort_refuse(const struct effort *effort, const struct dmabufd_constraints *constraints,
                  struct fault *fault);

#endif
