/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Search: making a buffer of huge pages meet a device's constraints when the pages that the kernel
 * gave do not.
 *
 * A round takes more huge pages for a moment (the scout), looks where all these pages are, lets
 * arrange.c choose, and builds the buffer anew page by page: a chosen page is given back to the pool
 * of the host, and the next one taken out is that page again, because the pool is last in, first
 * out. Whether it was is seen when the new buffer is resolved; if somebody else was faster, there is
 * another round, with a larger scout.
 *
 * Small pages are sift.h's: what the kernel allocates next cannot be foreseen there.
 *
 * Bounds: SEARCH_ROUNDS rounds, SEARCH_SECONDS, and the huge pages that are free.
 */
#ifndef KEEPER_SEARCH_H
#define KEEPER_SEARCH_H

#include <stdbool.h>

#include "daemon/keeper/buffer.h"

#define SEARCH_ROUNDS  6U
#define SEARCH_SECONDS 10U

/** How far a search is; zero-initialise. */
struct search {
    unsigned int round;
    uint64_t deadline_ns;
};

/**
 * search_round() - one round; takes up to a second or so
 * @buffer: finished but for its constraints; replaced by one that meets them, or by another try
 * @cancelled: looked at between pieces
 *
 * Return: 0, it meets them; 1, call again; -ENOSPC with @fault, how close it came: the bounds are
 * reached; another negative errno. The buffer is whole in any case and the caller's to tear down.
 */
int search_round(struct search *search, struct buffer *buffer,
                 const struct dmabufd_constraints *constraints, struct memory *memory,
                 struct backend *backend, const atomic_bool *cancelled, struct fault *fault);

/**
 * search_tidy() - put the pages of a buffer in the order of their addresses
 * @buffer: finished, huge pages; has fewer spans afterwards, or as many
 *
 * The host's pool of huge pages hands them out in any order, often from the highest address down.
 *
 * Return: 0; or a negative errno with @fault, the buffer is the caller's to tear down.
 */
int search_tidy(struct buffer *buffer, struct memory *memory, struct backend *backend,
                struct fault *fault);

#endif
