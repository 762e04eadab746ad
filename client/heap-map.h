/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Map: from an address to the run of pages it lies in, for all heaps of the process.
 *
 * Two levels, two loads, no lock. An entry is that of the page's run or nothing: of a slab every
 * page has one, of other runs the first and the last. Leaves are made as heaps reach new addresses
 * and stay for ever, so any number may be looked up at any time; what was never touched of them is
 * not there (one page of a leaf describes 2 MiB).
 */
#ifndef CLIENT_HEAP_MAP_H
#define CLIENT_HEAP_MAP_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "client/heap-classes.h"

struct heap_run;

#define HEAP_MAP_BITS      48 /* of an address; no kernel gives more to who does not ask */
#define HEAP_MAP_LEAF_BITS 30 /* a leaf describes 1 GiB */

struct heap_map_leaf {
    struct heap_run *_Atomic run[1U << (HEAP_MAP_LEAF_BITS - HEAP_PAGE_SHIFT)];
};

extern struct heap_map_leaf *_Atomic heap_map_top[1U << (HEAP_MAP_BITS - HEAP_MAP_LEAF_BITS)];

/**
 * heap_map_reserve() - make the leaves for a range
 * Return: 0; -ENOMEM; -EOVERFLOW: not addresses that the map can have.
 */
int heap_map_reserve(uintptr_t start, uint64_t size);

/** heap_map_get() - the run at an address, any address, or NULL. */
static inline struct heap_run *heap_map_get(uintptr_t address)
{
    struct heap_map_leaf *leaf;
    uintptr_t page = address >> HEAP_PAGE_SHIFT;

    if (__builtin_expect(address >> HEAP_MAP_BITS != 0, 0))
        return NULL;
    leaf = atomic_load_explicit(&heap_map_top[address >> HEAP_MAP_LEAF_BITS], memory_order_acquire);
    if (__builtin_expect(!leaf, 0))
        return NULL;
    /* Relaxed: who has the pointer has it from whoever made the entry. */
    return atomic_load_explicit(
        &leaf->run[page & ((1U << (HEAP_MAP_LEAF_BITS - HEAP_PAGE_SHIFT)) - 1)],
        memory_order_relaxed);
}

/** heap_map_set() - @run or NULL for the page at @address, whose leaf is there. */
static inline void heap_map_set(uintptr_t address, struct heap_run *run)
{
    struct heap_map_leaf *leaf =
        atomic_load_explicit(&heap_map_top[address >> HEAP_MAP_LEAF_BITS], memory_order_relaxed);
    uintptr_t page = address >> HEAP_PAGE_SHIFT;

    atomic_store_explicit(&leaf->run[page & ((1U << (HEAP_MAP_LEAF_BITS - HEAP_PAGE_SHIFT)) - 1)],
                          run, memory_order_relaxed);
}

#endif
