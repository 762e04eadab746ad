/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of size classes; see heap-classes.h. */
#include "client/heap-classes.h"

/*
 * A slab has at most 64 slots and at most 16 pages: larger ones would be made faster, but a span of
 * 64 KiB has to be enough for one, and a heap of 2 MiB for one of each. Between the powers of two
 * there are the sizes that waste little of a page; 1344 is three in one.
 */
const struct heap_class heap_classes[HEAP_CLASSES] = {
    { .size = 64, .shift = 6, .pages = 1, .cache = 256 },
    { .size = 128, .shift = 7, .pages = 2, .cache = 256 },
    { .size = 192, .shift = 6, .pages = 1, .cache = 128 },
    { .size = 256, .shift = 8, .pages = 4, .cache = 256 },
    { .size = 320, .shift = 6, .pages = 1, .cache = 128 },
    { .size = 384, .shift = 7, .pages = 2, .cache = 128 },
    { .size = 512, .shift = 9, .pages = 8, .cache = 128 },
    { .size = 640, .shift = 7, .pages = 2, .cache = 128 },
    { .size = 768, .shift = 8, .pages = 4, .cache = 128 },
    { .size = 1024, .shift = 10, .pages = 16, .cache = 128 },
    { .size = 1344, .shift = 6, .pages = 1, .cache = 128 },
    { .size = 2048, .shift = 11, .pages = 16, .cache = 128 },
    { .size = 4096, .shift = 12, .pages = 16, .cache = 128 },
    { .size = 8192, .shift = 13, .pages = 16, .cache = 64 },
    { .size = 12288, .shift = 12, .pages = 15, .cache = 32 },
    { .size = 16384, .shift = 14, .pages = 16, .cache = 32 },
    { .size = 24576, .shift = 13, .pages = 12, .cache = 16 },
    { .size = 32768, .shift = 15, .pages = 16, .cache = 16 },
    { .size = 49152, .shift = 14, .pages = 12, .cache = 16 },
    { .size = 65536, .shift = 16, .pages = 16, .cache = 16 },
};

uint8_t heap_small_class[HEAP_SMALL_ROWS][HEAP_SMALL_MAX / HEAP_GRAIN + 1];
uint8_t heap_page_class[HEAP_CLASS_MAX / HEAP_PAGE + 1];

static uint8_t smallest(uint64_t size, uint64_t alignment)
{
    uint8_t class = 0;

    while (heap_classes[class].size < size || heap_classes[class].size % alignment)
        class ++;
    return class;
}

void heap_classes_init(void)
{
    for (unsigned int row = 0; row < HEAP_SMALL_ROWS; row++) {
        for (uint64_t n = 0; n <= HEAP_SMALL_MAX / HEAP_GRAIN; n++)
            heap_small_class[row][n] = smallest(n * HEAP_GRAIN, (uint64_t)HEAP_GRAIN << row);
    }
    for (uint64_t n = 0; n <= HEAP_CLASS_MAX / HEAP_PAGE; n++)
        heap_page_class[n] = smallest(n * HEAP_PAGE, HEAP_PAGE);
}

uint64_t heap_class_slots(unsigned int class, uint32_t pages)
{
    const struct heap_class *c = &heap_classes[class];
    uint64_t piece = c->size < HEAP_PAGE ? HEAP_PAGE : c->size;
    uint64_t slots = 0;

    for (uint64_t at = 0; at + piece <= pages * HEAP_PAGE; at += piece) {
        for (uint64_t in = 0; in + c->size <= piece; in += c->size)
            slots |= UINT64_C(1) << ((at + in) >> c->shift);
    }
    return slots;
}
