/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making leaves; see heap-map.h. */
#include "client/heap-map.h"

#include <errno.h>
#include <sys/mman.h>

struct heap_map_leaf *_Atomic heap_map_top[1U << (HEAP_MAP_BITS - HEAP_MAP_LEAF_BITS)];

static int make_leaf(struct heap_map_leaf *_Atomic *where)
{
    struct heap_map_leaf *none = NULL;
    void *p;

    if (atomic_load_explicit(where, memory_order_acquire))
        return 0;
    p = mmap(NULL, sizeof(struct heap_map_leaf), PROT_READ | PROT_WRITE,
             MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED)
        return -ENOMEM;
    /* Another heap may have been faster. */
    if (!atomic_compare_exchange_strong(where, &none, p))
        munmap(p, sizeof(struct heap_map_leaf));
    return 0;
}

int heap_map_reserve(uintptr_t start, uint64_t size)
{
    uintptr_t last = start + size - 1;

    if (last < start || last >> HEAP_MAP_BITS)
        return -EOVERFLOW;
    for (uintptr_t i = start >> HEAP_MAP_LEAF_BITS; i <= last >> HEAP_MAP_LEAF_BITS; i++) {
        int r = make_leaf(&heap_map_top[i]);

        if (r < 0)
            return r;
    }
    return 0;
}
