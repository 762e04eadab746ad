/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sift: making a buffer of small pages meet a device's constraints when the pages that the kernel
 * gave do not. Huge pages are search.h's.
 *
 * Which small page the kernel gives next cannot be foreseen, and one that is given back is likely to
 * come again. So pages that fit stay where they are, and pages that do not are held as ballast while
 * their places in the file get others: they are punched out of the file, but the mapping that pinned
 * them stays, so that the allocator does not see them; then the whole file is pinned anew beside it.
 * When that is too slow, a scout of growing size takes many pages at once: those that do not fit
 * become ballast, those that do go back to the kernel, which has little else to give then.
 *
 * Tried: addresses below a mask; spans of at least min_span bytes, and aligned ones, both up to
 * SIFT_UNIT_MAX. Not tried: contiguity of the whole and a number of segments, which small pages have
 * only by luck.
 *
 * Bounds: SIFT_ROUNDS rounds, the deadline of the request (effort.h), and ballast of a quarter of what
 * the host can spare, at most SIFT_BALLAST_MAX, within the limit and the reserve of the daemon. One worker thread searches,
 * so that this is also all that is held at a time. If more memory than that is free in zones above
 * the mask, the kernel would hand it out first, and the search does not begin.
 */
#ifndef KEEPER_SIFT_H
#define KEEPER_SIFT_H

#include <stdint.h>
#include <sys/queue.h>

#include "daemon/keeper/buffer.h"
#include "daemon/keeper/effort.h"

#define SIFT_ROUNDS      32U
#define SIFT_BALLAST_MAX (UINT64_C(1) << 30)
#define SIFT_UNIT_MAX    (UINT64_C(64) << 10)

/** How far it is; zero-initialise. What it holds is given back by sift_end(). */
struct sift {
    unsigned int round;
    uint64_t bound;   /* of ballast, bytes */
    uint64_t ballast; /* bytes */
    uint64_t charged; /* of these, to the limit of memory, beside what scouts are charged */
    uint64_t scouted; /* size of the last scout, bytes */
    LIST_HEAD(, buffer) held;
};

/**
 * sift_round() - one round
 * @buffer: of small pages, pinned, but it does not meet its constraints
 * @effort: looked at before each piece, so that a round ends one piece after the deadline at most
 *
 * Return: 0, it meets them; 1, call again; -ENOSPC with @fault, how close all of the effort came and
 * which bound was reached; -ECANCELED. On failure the buffer may be half pinned; it is the caller's to tear down,
 * after sift_end().
 */
int sift_round(struct sift *sift, struct buffer *buffer,
               const struct dmabufd_constraints *constraints, struct memory *memory,
               struct backend *backend, struct effort *effort, struct fault *fault);

/** sift_end() - let go of all ballast; allowed at any time and more than once. */
void sift_end(struct sift *sift, struct memory *memory, struct backend *backend);

#endif
