/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Slabs: runs of pages cut into objects of one class. Objects leave and come back in batches, for
 * the caches of threads. All with the heap's lock held, none can fail for memory.
 */
#ifndef CLIENT_HEAP_SLAB_H
#define CLIENT_HEAP_SLAB_H

#include "client/heap.h"

/** An object outside its slab: with the program, or in a cache. */
struct heap_object {
    void *pointer;
    _Atomic uint8_t *used; /* its byte in the description of its run */
};

/**
 * slab_take() - up to @want objects of a class
 * Return: how many; 0 if there are no pages for another slab.
 */
uint32_t slab_take(struct dmabufd_heap *heap, unsigned int class, struct heap_object *objects,
                   uint32_t want);

/** slab_give() - objects come back; a slab that has all of its own back becomes free pages. */
void slab_give(struct dmabufd_heap *heap, const struct heap_object *objects, uint32_t count);

/** slab_slot() - the byte of the object that begins at @address in a slab, or NULL if none can. */
static inline _Atomic uint8_t *slab_slot(struct heap_run *run, uintptr_t address)
{
    uintptr_t offset = address - run->start;

    if (offset & ((UINT64_C(1) << run->shift) - 1))
        return NULL;
    return &run->used[offset >> run->shift & (HEAP_SLOTS - 1)];
}

#endif
