/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pages: runs of whole pages of a heap's buffers. A free run is always within one span, joined
 * with its neighbours as far as the device sees them in one piece. All with the heap's lock held,
 * none can fail for memory.
 */
#ifndef CLIENT_HEAP_PAGES_H
#define CLIENT_HEAP_PAGES_H

#include "client/heap.h"

/** pages_insert() - the pages of a new buffer, all free; the map has leaves for them. */
void pages_insert(struct dmabufd_heap *heap, struct heap_buffer *buffer);

/** pages_remove() - a buffer whose pages are all free goes. */
void pages_remove(struct dmabufd_heap *heap, struct heap_buffer *buffer);

/**
 * pages_take() - pages that are contiguous for the device
 * @alignment: of both addresses, a power of two, at least a page
 * @kind: what becomes of them
 * Return: the run; NULL if no span has room. Its clean says whether the pages are zero.
 */
struct heap_run *pages_take(struct dmabufd_heap *heap, uint64_t pages, uint64_t alignment,
                            uint8_t kind);

/** pages_take_scattered() - pages side by side for the program only; a large run. */
struct heap_run *pages_take_scattered(struct dmabufd_heap *heap, uint64_t pages,
                                      uint64_t alignment);

/** pages_give() - a run that was taken; may leave its buffer empty. */
void pages_give(struct dmabufd_heap *heap, struct heap_run *run);

#endif
