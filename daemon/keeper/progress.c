/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How long a step may take; see progress.h. */
#include "daemon/keeper/progress.h"

void progress_begin(struct progress *progress, uint64_t bytes, uint64_t now_ns)
{
    uint64_t gib = bytes >> 30;

    atomic_store(&progress->due_ns, now_ns + PROGRESS_STEP_NS + gib * PROGRESS_OF_GIB_NS);
}

void progress_end(struct progress *progress)
{
    atomic_store(&progress->due_ns, 0);
}

bool progress_is_late(const struct progress *progress, uint64_t now_ns)
{
    uint64_t due = atomic_load(&progress->due_ns);

    return due != 0 && now_ns > due;
}
