/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Choice: which ready buffers of a pool make what a client asked for. Thinks only; nothing is taken out.
 *
 * Best fit: out of the shortest run that will do, from its end, so that long runs last; and where no mask
 * asks for it, not out of the first 4 GiB of addresses, which are all that some devices reach.
 */
#ifndef KEEPER_CHOICE_H
#define KEEPER_CHOICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "daemon/keeper/pool.h"

/** Ready buffers, in the order in which they make one. Zero-initialise. */
struct choice {
    struct buffer **buffer;
    size_t count;
};

/** choice_deinit() - frees the list; the buffers are the pool's. Allowed on a zeroed struct. */
void choice_deinit(struct choice *choice);

/** choice_needs_fit() - whether these ask for memory that fits, not only for cuts or a node. */
bool choice_needs_fit(const struct dmabufd_constraints *constraints);

/**
 * choice_one() - one ready buffer of exactly @size bytes that meets the constraints
 * Return: NULL if there is none.
 */
struct buffer *choice_one(const struct pool_set *set, uint64_t size,
                          const struct dmabufd_constraints *constraints);

/**
 * choice_several() - several that meet them together, one behind the other, @size bytes exactly
 *
 * A run that is long enough is enough, however the pool has cut it into files, as long as whole files
 * add up to @size, at most PROTO_CHUNKS_MAX. Without contiguity: the longest runs first, so that there are few segments.
 *
 * Return: 0; -ENOSPC: there are none; -ENOMEM.
 */
int choice_several(const struct pool_set *set, uint64_t size,
                   const struct dmabufd_constraints *constraints, struct choice *ret);

/**
 * choice_to_give_up() - what to give back to the kernel so that @size bytes can be made of it
 * @missing: bytes that the kernel has not; at least so much is chosen
 * @constraints: where there is a run that meets them but is cut into files in the wrong places, all
 *               these files; NULL: none
 *
 * Else those in the shortest runs.
 *
 * Return: 0, possibly with nothing chosen; -ENOSPC: there is not so much; -ENOMEM.
 */
int choice_to_give_up(const struct pool_set *set, uint64_t size, uint64_t missing,
                      const struct dmabufd_constraints *constraints, struct choice *ret);

#endif
