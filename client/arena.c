/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reserving, placing and publishing; see arena.h for the picture. The reading side is in the header
 * except for its one rare step.
 *
 * Reservations are PROT_NONE, and a table becomes accessible only up to zone.limit, as buffers are
 * placed. So neither strict overcommit nor mlockall(MCL_FUTURE), which makes every accessible page
 * resident at once, makes a program pay for addresses it does not use.
 *
 * Core dumps: the kernel leaves out what was never touched, so reservations do not show. Buffers
 * are left to the kernel's own rule (core(5), coredump_filter), which writes shared memory of small
 * pages, where descriptor rings live that a post-mortem needs, and leaves out huge pages.
 */
#include "client/arena.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

_Static_assert(sizeof(void *) == 8, "zones need 64-bit addresses");
_Static_assert(sizeof(struct zone) * ZONE_COUNT <= 64,
               "a translation touches one line of the arena");

#define KIB          UINT64_C(1024)
#define MIB          (KIB * 1024)
#define GIB          (MIB * 1024)
#define ZONE_FLOOR   (4 * GIB)
#define ZONE_CEILING (4096 * GIB)
/* 1 GiB pages have to be mapped at multiples of that. */
#define ZONE_ALIGNMENT GIB
/* Bytes by which the accessible part of a table grows: rare enough to be free, little enough to be
 * nothing for a program with one small buffer. */
#define TABLE_STEP (64 * KIB)

#define TABLE_MEMORY(zone) ((char *)(uintptr_t)(zone)->table)

static const unsigned int shifts[ZONE_COUNT] = {
    [ZONE_SMALL] = ARENA_SMALL_SHIFT, [ZONE_LARGE] = ARENA_LARGE_SHIFT
};

/* Addresses without memory. With a fixed address, what is mapped there is replaced. */
static void *reserve(uintptr_t address, uint64_t size, int flags)
{
    void *p = mmap((void *)address, size, PROT_NONE,
                   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | flags, -1, 0);

    /* After mlockall(MCL_FUTURE) the range would count against RLIMIT_MEMLOCK. */
    if (p != MAP_FAILED)
        munlock(p, size);
    return p;
}

static uint64_t table_bytes(uint64_t size, unsigned int shift)
{
    return (size >> shift) * sizeof(uint64_t);
}

static int zone_reserve(struct zone *zone, struct zone_space *space, uint64_t size)
{
    uintptr_t start, base;
    void *p, *table;

    p = reserve(0, size + ZONE_ALIGNMENT, 0);
    if (p == MAP_FAILED)
        return -errno;
    start = (uintptr_t)p;
    base = (start + ZONE_ALIGNMENT - 1) & ~(uintptr_t)(ZONE_ALIGNMENT - 1);
    table = reserve(0, table_bytes(size, space->shift), 0);
    if (table == MAP_FAILED || extents_init(&space->free, 0, size) < 0) {
        if (table != MAP_FAILED)
            munmap(table, table_bytes(size, space->shift));
        munmap(p, size + ZONE_ALIGNMENT);
        return -ENOMEM;
    }
    if (base > start)
        munmap(p, base - start);
    if (start + ZONE_ALIGNMENT > base)
        munmap((void *)(base + size), start + ZONE_ALIGNMENT - base);
    zone->base = base;
    zone->table = table;
    space->size = size;
    return 0;
}

/*
 * Twice the memory there is: a buffer can be mapped more than once, and alignment leaves gaps. Of a
 * limit on the addresses of the process (RLIMIT_AS) a quarter: the program wants to live too.
 */
static uint64_t default_size(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t memory, size = ZONE_FLOOR * 16;
    struct rlimit limit;

    if (pages > 0 && page > 0 &&
        !__builtin_mul_overflow((uint64_t)pages, (uint64_t)page, &memory)) {
        while (size < ZONE_CEILING && size / 2 < memory)
            size *= 2;
    }
    if (getrlimit(RLIMIT_AS, &limit) == 0 && limit.rlim_cur != RLIM_INFINITY) {
        while (size > ZONE_FLOOR && size > limit.rlim_cur / 4)
            size /= 2;
    }
    return size;
}

int arena_init(struct arena *arena, uint64_t want, struct fault *fault)
{
    uint64_t size = want ? want : default_size();

    memset(arena, 0, sizeof(*arena));
    pthread_mutex_init(&arena->lock, NULL);
    for (unsigned int i = 0; i < ZONE_COUNT; i++) {
        int r;

        arena->space[i].shift = shifts[i];
        r = zone_reserve(&arena->zone[i], &arena->space[i], size);
        while (r < 0 && size > ZONE_FLOOR) {
            size /= 2;
            r = zone_reserve(&arena->zone[i], &arena->space[i], size);
        }
        if (r < 0) {
            arena_deinit(arena);
            return fault_set(fault, DMABUFD_CODE_OK, ENOMEM,
                             "cannot reserve %llu GiB of addresses: %s (no memory is taken, but "
                             "RLIMIT_AS, and RLIMIT_MEMLOCK after mlockall(MCL_FUTURE), must allow "
                             "10 GiB more than the program uses)",
                             (unsigned long long)(ZONE_FLOOR / GIB), strerror(-r));
        }
    }
    return 0;
}

void arena_deinit(struct arena *arena)
{
    for (unsigned int i = 0; i < ZONE_COUNT; i++) {
        struct zone *zone = &arena->zone[i];
        struct zone_space *space = &arena->space[i];

        if (!space->size)
            continue;
        if (!space->holed)
            munmap((void *)zone->base, space->size);
        munmap(TABLE_MEMORY(zone), table_bytes(space->size, space->shift));
        extents_deinit(&space->free);
    }
    pthread_mutex_destroy(&arena->lock);
}

/* Can this scatter list be written as entries of @shift at all? */
static bool encodable(const struct dmabufd_span *list, size_t count, unsigned int shift)
{
    uint64_t granule = UINT64_C(1) << shift;

    for (size_t i = 0; i < count; i++) {
        const struct dmabufd_span *span = &list[i];

        if ((span->dma_addr & (KIB * 4 - 1)) || (span->length & (granule - 1)) ||
            span->length > ARENA_ADDRESS_END || span->dma_addr > ARENA_ADDRESS_END - span->length)
            return false;
    }
    return true;
}

/* Makes the entries of everything below @end accessible. Called with the lock held. */
static int grow_table(struct zone *zone, const struct zone_space *space, uint64_t end)
{
    uint64_t have = atomic_load_explicit(&zone->limit, memory_order_relaxed);
    uint64_t from = table_bytes(have, space->shift);
    uint64_t to = table_bytes(end, space->shift);

    if (end <= have)
        return 0;
    to = (to + TABLE_STEP - 1) & ~(TABLE_STEP - 1);
    if (to > table_bytes(space->size, space->shift))
        to = table_bytes(space->size, space->shift);
    if (mprotect(TABLE_MEMORY(zone) + from, to - from, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    atomic_store_explicit(&zone->limit, to / sizeof(uint64_t) << space->shift,
                          memory_order_release);
    return 0;
}

static int place_in(struct arena *arena, unsigned int i, uint64_t size, uint64_t alignment,
                    struct arena_range *ret)
{
    struct zone_space *space = &arena->space[i];
    uint64_t offset;
    int r;

    pthread_mutex_lock(&arena->lock);
    r = extents_take(&space->free, size, alignment, &offset);
    if (r == 0) {
        r = grow_table(&arena->zone[i], space, offset + size);
        if (r < 0)
            extents_give(&space->free, offset, size);
    }
    pthread_mutex_unlock(&arena->lock);
    if (r < 0)
        return r;
    *ret = (struct arena_range){ .zone = i, .offset = offset, .size = size };
    return 0;
}

int arena_place(struct arena *arena, uint64_t size, uint64_t page_size,
                const struct dmabufd_span *list, size_t count, struct arena_range *ret,
                struct fault *fault)
{
    uint64_t alignment = page_size;
    int r = -ENOSPC;

    if (!encodable(list, count, ARENA_SMALL_SHIFT))
        return fault_set(fault, DMABUFD_CODE_OK, EPROTO,
                         "the buffer has an address that no page of memory can have");
    /* Aligned so that the kernel can map 2 MiB at once where the pages happen to allow it. */
    if (size >= 2 * MIB && alignment < 2 * MIB)
        alignment = 2 * MIB;
    /* Huge pages are contiguous and aligned by construction, but that is for the list to show. */
    if (page_size >= 2 * MIB && encodable(list, count, ARENA_LARGE_SHIFT))
        r = place_in(arena, ZONE_LARGE, size, alignment, ret);
    if (r == -ENOSPC)
        r = place_in(arena, ZONE_SMALL, size, alignment, ret);
    if (r == -ENOSPC)
        return fault_set(
            fault, DMABUFD_CODE_OK, ENOMEM,
            "this connection has no %llu bytes of its %llu GiB of addresses left: free "
            "buffers, or raise RLIMIT_AS if it is set",
            (unsigned long long)size, (unsigned long long)(arena->space[ZONE_SMALL].size / GIB));
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "cannot extend the translation table: %s",
                         strerror(-r));
    return 0;
}

static void mark_holed(struct arena *arena, const struct arena_range *range)
{
    pthread_mutex_lock(&arena->lock);
    arena->space[range->zone].holed = true;
    pthread_mutex_unlock(&arena->lock);
}

int arena_map(struct arena *arena, const struct arena_range *range, int fd, uint64_t start,
              enum dmabufd_access access, struct fault *fault)
{
    int prot = access == DMABUFD_READ_ONLY ? PROT_READ : PROT_READ | PROT_WRITE;
    void *place = arena_pointer(arena, range);
    int error;

    if (mmap(place, range->size, prot, MAP_SHARED | MAP_FIXED, fd, (off_t)start) != MAP_FAILED)
        return 0;
    error = errno;
    /* Kernels before 6.13 take the reservation away before they fail like that, and who knows what
     * another thread has mapped there by now. */
    if (error == ENOMEM)
        mark_holed(arena, range);
    return fault_set(fault, DMABUFD_CODE_OK, error,
                     "cannot map %llu bytes: %s (ENOMEM: RLIMIT_AS, or more mappings than "
                     "/proc/sys/vm/max_map_count)",
                     (unsigned long long)range->size, strerror(error));
}

static _Atomic uint64_t *entries(struct arena *arena, const struct arena_range *range)
{
    return &arena->zone[range->zone].table[range->offset >> arena->space[range->zone].shift];
}

void arena_publish(struct arena *arena, const struct arena_range *range,
                   const struct dmabufd_span *list, size_t count)
{
    _Atomic uint64_t *entry = entries(arena, range);
    unsigned int shift = arena->space[range->zone].shift;

    for (size_t i = 0; i < count; i++) {
        uint64_t frame = (list[i].dma_addr >> 12) + 1;

        for (uint64_t run = list[i].length >> shift; run > 0; run--) {
            uint64_t shown = run <= ARENA_RUN_MAX ? run : 0;

            atomic_store_explicit(entry++, shown << ARENA_RUN_SHIFT | frame, memory_order_relaxed);
            frame += UINT64_C(1) << (shift - 12);
        }
    }
}

void arena_withdraw(struct arena *arena, const struct arena_range *range)
{
    _Atomic uint64_t *entry = entries(arena, range);

    for (uint64_t n = range->size >> arena->space[range->zone].shift; n > 0; n--)
        atomic_store_explicit(entry++, 0, memory_order_release);
}

void arena_unplace(struct arena *arena, const struct arena_range *range)
{
    pthread_mutex_lock(&arena->lock);
    extents_give(&arena->space[range->zone].free, range->offset, range->size);
    pthread_mutex_unlock(&arena->lock);
}

void arena_release(struct arena *arena, const struct arena_range *range)
{
    void *place = arena_pointer(arena, range);
    void *p = reserve((uintptr_t)place, range->size, MAP_FIXED);

    /* After mlockall(MCL_FUTURE) old and new mapping count together against RLIMIT_MEMLOCK. */
    if (p == MAP_FAILED && munlock(place, range->size) == 0)
        p = reserve((uintptr_t)place, range->size, MAP_FIXED);
    if (p != MAP_FAILED) {
        arena_unplace(arena, range);
        return;
    }
    /* The memory is given up in any case. Its addresses are lost to the arena, because from now on
     * somebody else's mapping may lie there. */
    munmap(place, range->size);
    mark_holed(arena, range);
}

void arena_abandon(struct arena *arena, const struct arena_range *range, uint64_t mapped, bool lost)
{
    if (lost) {
        /* Not so much as one page beyond: that may be another thread's. */
        if (mapped > 0)
            munmap(arena_pointer(arena, range), mapped);
    } else if (mapped > 0) {
        arena_release(arena, range);
    } else {
        arena_unplace(arena, range);
    }
}

/*
 * An entry without a run stands for more than ARENA_RUN_MAX granules, so the one that many further
 * on is in the same run, and has the rest. An entry of 0 on the way means that the buffer is being
 * freed; what was found so far is as good an answer as any.
 */
__attribute__((noinline, cold)) int zone_translate_rare(const struct zone *zone, uint64_t offset,
                                                        uint64_t *ret_dma_addr,
                                                        uint64_t *ret_length, uint64_t entry,
                                                        unsigned int shift)
{
    uint64_t inside = offset & ((UINT64_C(1) << shift) - 1);
    uint64_t index = offset >> shift;
    uint64_t granules = 0;
    uint64_t here = entry;

    if (entry == 0)
        return -ENOENT;
    while (here != 0 && here >> ARENA_RUN_SHIFT == 0) {
        granules += ARENA_RUN_MAX;
        index += ARENA_RUN_MAX;
        here = atomic_load_explicit(&zone->table[index], memory_order_relaxed);
    }
    granules += here >> ARENA_RUN_SHIFT;
    *ret_dma_addr = entry_address(entry) + inside;
    *ret_length = (granules << shift) - inside;
    return 0;
}
