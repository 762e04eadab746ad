/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Size classes: what sizes objects really have, up to 64 KiB, and how slabs of them are made.
 *
 * An object of at most 4 KiB lies in one page of 4 KiB, so it is contiguous for the device wherever
 * its page is, and its two addresses have the same low 12 bits. A larger one is a whole number of
 * pages that are contiguous for the device.
 *
 * A slab has at most 64 slots, so one word tells which are free: a slot is the largest power of two
 * that the object size is a multiple of, and an object is named by the slot it begins in.
 */
#ifndef CLIENT_HEAP_CLASSES_H
#define CLIENT_HEAP_CLASSES_H

#include <stddef.h>
#include <stdint.h>

#define HEAP_PAGE       UINT64_C(4096)
#define HEAP_PAGE_SHIFT 12

#define HEAP_CLASSES 20
#define HEAP_SLOTS   64
/** No object is less than a cache line, or aligned to less. */
#define HEAP_GRAIN      64
#define HEAP_SMALL_MAX  HEAP_PAGE
#define HEAP_CLASS_MAX  UINT64_C(65536)
#define HEAP_SMALL_ROWS 7 /* alignments from 64 to 4096 */

struct heap_class {
    uint32_t size;  /* of an object, bytes */
    uint8_t shift;  /* log2 of a slot */
    uint8_t pages;  /* of a slab, at most */
    uint16_t cache; /* objects that a thread keeps, at most */
};

extern const struct heap_class heap_classes[HEAP_CLASSES];

/** By alignment (64 << row) and size in units of 64 bytes: the class. */
extern uint8_t heap_small_class[HEAP_SMALL_ROWS][HEAP_SMALL_MAX / HEAP_GRAIN + 1];
/** By size in pages: the class. */
extern uint8_t heap_page_class[HEAP_CLASS_MAX / HEAP_PAGE + 1];

/** heap_classes_init() - fill in the tables; before anything else, once. */
void heap_classes_init(void);

/**
 * heap_class_of() - the class that serves a request
 * Return: its number; HEAP_CLASSES if it is not one for slabs, or not valid.
 */
static inline unsigned int heap_class_of(size_t size, size_t alignment)
{
    /* 0 for everything up to 64; more than the last row for everything above 4096. */
    unsigned int row = 57U - (unsigned int)__builtin_clzl(alignment | HEAP_GRAIN);

    if (__builtin_expect(row >= HEAP_SMALL_ROWS || (alignment & (alignment - 1)) != 0, 0))
        return HEAP_CLASSES;
    if (__builtin_expect(size - 1 < HEAP_SMALL_MAX, 1))
        return heap_small_class[row][(size + HEAP_GRAIN - 1) / HEAP_GRAIN];
    if (size - 1 < HEAP_CLASS_MAX)
        return heap_page_class[(size + HEAP_PAGE - 1) / HEAP_PAGE];
    return HEAP_CLASSES;
}

/** heap_class_slots() - which slots objects begin in, of a slab of @pages pages. */
uint64_t heap_class_slots(unsigned int class, uint32_t pages);

#endif
