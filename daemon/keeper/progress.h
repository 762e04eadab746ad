/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Progress: of one worker thread, whether the step it is at should have ended long ago. The thread
 * says when it begins and ends one; the main thread looks.
 *
 * Generous, since a thread that hangs is a reason to end the daemon, and one that is slow is none.
 */
#ifndef KEEPER_PROGRESS_H
#define KEEPER_PROGRESS_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "common/clock.h"

/** Most that a step may take, ns; and so much more for each GiB of its buffer, because the last of a
 *  buffer's life, and the one that fails, give back all of its memory. */
#define PROGRESS_STEP_NS   (60 * NS_PER_S)
#define PROGRESS_OF_GIB_NS NS_PER_S

/** Zeroed to begin: no step. */
struct progress {
    atomic_uint_least64_t due_ns; /* 0: no step, or one that may take as long as it likes */
};

/** progress_begin() - a step for a buffer of so many bytes. @now_ns: now_ns(), also below. */
void progress_begin(struct progress *progress, uint64_t bytes, uint64_t now_ns);

/** progress_end() - of the step. */
void progress_end(struct progress *progress);

/** progress_is_late() - from any thread. */
bool progress_is_late(const struct progress *progress, uint64_t now_ns);

#endif
