/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Segments: a scatter list cut into the pieces that one device can take, and whether a scatter list
 * meets a device's constraints at all. The one place where these rules are; the daemon applies them
 * when it looks for memory that fits, the library when it hands out descriptors.
 *
 * Cutting is greedy: each segment is as long as the rules let it be. That gives the fewest segments,
 * because a cut that comes later leaves no more to do.
 */
#ifndef COMMON_SEGMENTS_H
#define COMMON_SEGMENTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"
#include "common/fault.h"

/**
 * constraints_check() - do these make sense
 * Return: 0; -EINVAL with @fault: a power of two is none, a boundary below the alignment, a segment
 * size below the alignment, flags that are not known or contradict each other, a node without its
 * flag. Which nodes there are is the daemon's to say.
 */
int constraints_check(const struct dmabufd_constraints *constraints, struct fault *fault);

/**
 * segments_begin() - iterate over @length bytes at @offset of a buffer
 * @list: its scatter list; must outlive the iteration
 * @constraints: checked ones; copied
 * Return: 0; -ERANGE: the range is empty or not inside the buffer.
 */
int segments_begin(struct dmabufd_segments *segments, const struct dmabufd_span *list, size_t count,
                   const struct dmabufd_constraints *constraints, uint64_t offset, uint64_t length);

/**
 * segments_next() - the next segment
 * @ret: its offset in the buffer, address and length
 * Return: 1; 0 at the end.
 */
int segments_next(struct dmabufd_segments *segments, struct dmabufd_span *ret);

/** What a scatter list is like under some constraints: how close it comes. */
struct fit {
    uint64_t segments;   /* after cutting */
    uint64_t highest;    /* address of the last byte of the highest span */
    uint64_t misaligned; /* spans that begin off the alignment */
    uint64_t smallest;   /* span, bytes, the last one left out; UINT64_MAX: there is only one */
    size_t spans;
};

/** constraints_fit() - measure. */
void constraints_fit(const struct dmabufd_constraints *constraints, const struct dmabufd_span *list,
                     size_t count, struct fit *ret);

/**
 * constraints_met() - does it fit; if not, say how close it came and what was asked
 *
 * The sentence has the number of bits of the highest address, not the address: memory that does not
 * fit goes back to the kernel, and an address that is not pinned for a client is not told to it. A
 * mask is a number of bits, so they say all that it asks for. Of what was asked only that is named
 * which asks for anything; max_segment_size and boundary where the number of segments is one of them.
 *
 * Return: 0; -ENOSPC with @fault.
 */
int constraints_met(const struct dmabufd_constraints *constraints, const struct fit *fit,
                    struct fault *fault);

/**
 * constraints_closer() - is @a closer to what was asked than @b
 *
 * In this order: all of it within the mask; fewer constraints broken; beyond the mask, fewer bits;
 * fewer segments; fewer spans off the alignment; a longer shortest span.
 */
bool constraints_closer(const struct dmabufd_constraints *constraints, const struct fit *a,
                        const struct fit *b);

#endif
