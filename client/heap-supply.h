/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Supply: buffers come from the source when there is no room, and go back when too many are empty.
 * The heap's lock is held on entry and on return; it is given up while the source is asked.
 */
#ifndef CLIENT_HEAP_SUPPLY_H
#define CLIENT_HEAP_SUPPLY_H

#include "client/heap.h"

/**
 * supply_grow() - get another buffer, for a request that found no room
 * @need: bytes that must be in it
 * @ret: receives the buffer, all free, with the lock not given up since; NULL if another thread
 *       grew the heap meanwhile: look again
 * Return: 0; -ENOMEM: the heap's limit, or no memory; or what the source answers.
 */
int supply_grow(struct dmabufd_heap *heap, uint64_t need, struct heap_buffer **ret,
                struct fault *fault);

/** supply_return() - give a buffer back that is empty. */
void supply_return(struct dmabufd_heap *heap, struct heap_buffer *buffer);

/**
 * supply_relax() - give empty buffers back
 * @all: all of them; else those beyond what the next rise is likely to need
 * Return: bytes given back.
 */
uint64_t supply_relax(struct dmabufd_heap *heap, bool all);

/** supply_end() - give everything back, in use or not. */
void supply_end(struct dmabufd_heap *heap);

#endif
