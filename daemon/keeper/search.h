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
 * Bounds: SEARCH_ROUNDS rounds for each page size, fewer when one has seen all that it may; the deadline of the request (effort.h); and half of
 * the huge pages that are free beside the buffer, so that whoever else wants some meanwhile finds them.
 */
#ifndef KEEPER_SEARCH_H
#define KEEPER_SEARCH_H

#include "daemon/keeper/buffer.h"
#include "daemon/keeper/effort.h"

#define SEARCH_ROUNDS 6U

/** How far a search among pages of one size is; zero-initialise. */
struct search {
    unsigned int round;
    uint64_t least; /* bytes: a smaller scout would see what one has seen in vain */
};

/**
 * search_round() - one round
 * @buffer: finished but for its constraints; replaced by one that meets them, or by another try
 * @effort: looked at before each piece, so that a round ends one piece after the deadline at most
 *
 * Return: 0, it meets them; 1, call again, the buffer is whole; -ENOSPC with @fault, how close all of
 * the effort came: the bounds are reached; -ECANCELED; another negative errno with @fault, somebody
 * took pages that were the buffer's. On failure the buffer may be half pinned and its file may have
 * holes: it is the caller's to tear down, or search_tidy()'s to make whole.
 */
int search_round(struct search *search, struct buffer *buffer,
                 const struct dmabufd_constraints *constraints, struct memory *memory,
                 struct backend *backend, struct effort *effort, struct fault *fault);

/**
 * search_tidy() - make a buffer whole and put its pages in the order of their addresses
 * @buffer: huge pages; finished, or as search_round() left it
 * @effort: after its deadline the order stays as it is
 *
 * The host's pool of huge pages hands them out in any order, often from the highest address down. There
 * are fewer spans afterwards, or as many, unless somebody takes pages out of the middle meanwhile.
 *
 * Return: 0, it is whole; -ECANCELED, or another negative errno with @fault: it is the caller's to tear
 * down.
 */
int search_tidy(struct buffer *buffer, struct memory *memory, struct backend *backend,
                struct effort *effort, struct fault *fault);

#endif
