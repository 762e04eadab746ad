/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making slabs and cutting objects out of them; see heap-slab.h. */
#include "client/heap-slab.h"

#include "client/heap-pages.h"

/*
 * A slab has to be contiguous for the device because its objects have to be. Where memory is in
 * pieces it becomes smaller, down to one object or one page.
 */
static struct heap_run *slab_create(struct dmabufd_heap *heap, unsigned int class)
{
    const struct heap_class *c = &heap_classes[class];
    uint32_t piece = c->size > HEAP_PAGE ? c->size >> HEAP_PAGE_SHIFT : 1;
    struct heap_run *run = NULL;

    for (uint32_t pieces = c->pages / piece; pieces > 0 && !run; pieces /= 2)
        run = pages_take(heap, (uint64_t)pieces * piece, HEAP_PAGE, RUN_SLAB);
    if (!run)
        return NULL;
    run->class = (uint8_t) class;
    run->shift = c->shift;
    run->objects = heap_class_slots(class, run->pages);
    run->free = run->objects;
    for (unsigned int i = 0; i < HEAP_SLOTS; i++)
        atomic_store_explicit(&run->used[i], 0, memory_order_relaxed);
    LIST_INSERT_HEAD(&heap->partial[class], run, entry);
    return run;
}

uint32_t slab_take(struct dmabufd_heap *heap, unsigned int class, struct heap_object *objects,
                   uint32_t want)
{
    uint32_t got = 0;

    while (got < want) {
        struct heap_run *run = LIST_FIRST(&heap->partial[class]);

        if (!run)
            run = slab_create(heap, class);
        if (!run)
            break;
        for (; run->free && got < want; got++) {
            unsigned int slot = (unsigned int)__builtin_ctzl(run->free);

            run->free &= run->free - 1;
            objects[got].pointer = (void *)(run->start + ((uintptr_t)slot << run->shift));
            objects[got].used = &run->used[slot];
        }
        if (!run->free)
            LIST_REMOVE(run, entry);
    }
    return got;
}

/* The description that a byte of it belongs to. */
static struct heap_run *run_of(_Atomic uint8_t *used)
{
    return (struct heap_run *)((uintptr_t)used & ~(uintptr_t)(_Alignof(struct heap_run) - 1));
}

_Static_assert(sizeof(struct heap_run) == _Alignof(struct heap_run), "run_of() masks");

void slab_give(struct dmabufd_heap *heap, const struct heap_object *objects, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        struct heap_run *run = run_of(objects[i].used);

        if (!run->free)
            LIST_INSERT_HEAD(&heap->partial[run->class], run, entry);
        run->free |= UINT64_C(1) << (objects[i].used - run->used);
        if (run->free == run->objects) {
            LIST_REMOVE(run, entry);
            pages_give(heap, run);
        }
    }
}
