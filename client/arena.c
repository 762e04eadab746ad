/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Reserving, placing and publishing; see arena.h for the picture. The reading side is in the header
 * except for its one rare step.
 *
 * Reservations are PROT_NONE, and a table becomes accessible only up to the end of its zone, as
 * buffers are placed. So neither strict overcommit nor mlockall(MCL_FUTURE), which makes every accessible page
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
_Static_assert(offsetof(struct arena, middle) + sizeof(uint64_t) <= 64,
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

static const unsigned int shifts[ZONE_COUNT] = {
    [ZONE_SMALL] = DMABUFD_SMALL_SHIFT, [ZONE_LARGE] = DMABUFD_LARGE_SHIFT
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

/* What its table describes: the large zone's begins with that of the small one, too. */
static uint64_t described(const struct arena *arena, unsigned int zone)
{
    return (zone + 1) * arena->middle;
}

static void table_unmap(struct arena *arena, unsigned int zone)
{
    munmap(arena->table[zone], table_bytes(described(arena, zone), shifts[zone]));
    extents_deinit(&arena->space[zone].free);
}

static int table_reserve(struct arena *arena, unsigned int zone)
{
    struct zone_space *space = &arena->space[zone];
    uint64_t start = zone * arena->middle;
    void *table = reserve(0, table_bytes(described(arena, zone), shifts[zone]), 0);

    if (table == MAP_FAILED)
        return -ENOMEM;
    arena->table[zone] = table;
    arena->end[zone] = start;
    /* Zeros that are only read take no memory, nor a charge. */
    if ((start && mprotect(table, table_bytes(start, shifts[zone]), PROT_READ) < 0) ||
        extents_init(&space->free, start, arena->middle) < 0) {
        table_unmap(arena, zone);
        return -ENOMEM;
    }
    return 0;
}

static int arena_reserve(struct arena *arena, uint64_t size)
{
    uint64_t total = size * ZONE_COUNT;
    uintptr_t start, base;
    void *p;

    p = reserve(0, total + ZONE_ALIGNMENT, 0);
    if (p == MAP_FAILED)
        return -errno;
    start = (uintptr_t)p;
    base = (start + ZONE_ALIGNMENT - 1) & ~(uintptr_t)(ZONE_ALIGNMENT - 1);
    arena->middle = size;
    for (unsigned int i = 0; i < ZONE_COUNT; i++) {
        if (table_reserve(arena, i) < 0) {
            while (i-- > 0)
                table_unmap(arena, i);
            munmap(p, total + ZONE_ALIGNMENT);
            return -ENOMEM;
        }
    }
    if (base > start)
        munmap(p, base - start);
    if (start + ZONE_ALIGNMENT > base)
        munmap((void *)(base + total), start + ZONE_ALIGNMENT - base);
    arena->base = base;
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

    int r;

    memset(arena, 0, sizeof(*arena));
    r = arena_reserve(arena, size);
    while (r < 0 && size > ZONE_FLOOR) {
        size /= 2;
        r = arena_reserve(arena, size);
    }
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM,
                         "cannot reserve %llu GiB of addresses: %s (no memory is taken, but "
                         "RLIMIT_AS, and RLIMIT_MEMLOCK after mlockall(MCL_FUTURE), must allow "
                         "10 GiB more than the program uses)",
                         (unsigned long long)(ZONE_FLOOR * ZONE_COUNT / GIB), strerror(-r));
    pthread_mutex_init(&arena->lock, NULL);
    return 0;
}

void arena_deinit(struct arena *arena)
{
    for (unsigned int i = 0; i < ZONE_COUNT; i++) {
        if (!arena->space[i].holed)
            munmap((void *)(arena->base + i * arena->middle), arena->middle);
        table_unmap(arena, i);
    }
    pthread_mutex_destroy(&arena->lock);
}

/* Can this scatter list be written as entries of @shift at all? */
static bool encodable(const struct dmabufd_span *list, size_t count, unsigned int shift)
{
    uint64_t granule = UINT64_C(1) << shift;

    for (size_t i = 0; i < count; i++) {
        const struct dmabufd_span *span = &list[i];

        if ((span->dma_addr & (granule - 1)) || (span->length & (granule - 1)) ||
            span->length > ARENA_ADDRESS_END || span->dma_addr > ARENA_ADDRESS_END - span->length)
            return false;
    }
    return true;
}

/* Makes the entries of everything below @end accessible. Called with the lock held. */
static int grow_table(struct arena *arena, unsigned int zone, uint64_t end)
{
    uint64_t have = __atomic_load_n(&arena->end[zone], __ATOMIC_RELAXED);
    uint64_t from = table_bytes(have, shifts[zone]);
    uint64_t to = table_bytes(end, shifts[zone]);
    uint64_t all = table_bytes(described(arena, zone), shifts[zone]);

    if (end <= have)
        return 0;
    to = (to + TABLE_STEP - 1) & ~(TABLE_STEP - 1);
    if (to > all)
        to = all;
    if (mprotect((char *)arena->table[zone] + from, to - from, PROT_READ | PROT_WRITE) < 0)
        return -errno;
    __atomic_store_n(&arena->end[zone], to / sizeof(uint64_t) << shifts[zone], __ATOMIC_RELEASE);
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
        r = grow_table(arena, i, offset + size);
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

    if (!encodable(list, count, DMABUFD_SMALL_SHIFT))
        return fault_set(fault, DMABUFD_CODE_OK, EPROTO,
                         "the buffer has an address that no page of memory can have");
    /* Aligned so that the kernel can map 2 MiB at once where the pages happen to allow it. */
    if (size >= 2 * MIB && alignment < 2 * MIB)
        alignment = 2 * MIB;
    /* Huge pages are contiguous and aligned by construction, but that is for the list to show. */
    if (page_size >= 2 * MIB && encodable(list, count, DMABUFD_LARGE_SHIFT))
        r = place_in(arena, ZONE_LARGE, size, alignment, ret);
    if (r == -ENOSPC)
        r = place_in(arena, ZONE_SMALL, size, alignment, ret);
    if (r == -ENOSPC)
        return fault_set(
            fault, DMABUFD_CODE_OK, ENOMEM,
            "this connection has no %llu bytes of its %llu GiB of addresses left: free "
            "buffers, or raise RLIMIT_AS if it is set",
            (unsigned long long)size, (unsigned long long)(arena->middle / GIB));
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

static uint64_t *entries(struct arena *arena, const struct arena_range *range)
{
    return &arena->table[range->zone][range->offset >> shifts[range->zone]];
}

static uint64_t make_entry(uintptr_t pointer, uint64_t dma_addr, uint64_t run)
{
    uint64_t entry = (pointer ^ dma_addr) & DMABUFD_ENTRY_ADDRESS;

    if (run > DMABUFD_ENTRY_RUN_MAX)
        return entry | DMABUFD_ENTRY_LONG;
    return entry | run >> DMABUFD_ENTRY_RUN_HIGH | run << (64 - DMABUFD_ENTRY_RUN_HIGH);
}

void arena_publish(struct arena *arena, const struct arena_range *range,
                   const struct dmabufd_span *list, size_t count)
{
    uint64_t *entry = entries(arena, range);
    uintptr_t pointer = (uintptr_t)arena_pointer(arena, range);
    unsigned int shift = shifts[range->zone];

    for (size_t i = 0; i < count; i++) {
        uint64_t dma_addr = list[i].dma_addr;

        for (uint64_t run = list[i].length >> shift; run > 0; run--) {
            __atomic_store_n(entry++, make_entry(pointer, dma_addr, run), __ATOMIC_RELAXED);
            pointer += UINT64_C(1) << shift;
            dma_addr += UINT64_C(1) << shift;
        }
    }
}

void arena_withdraw(struct arena *arena, const struct arena_range *range)
{
    uint64_t *entry = entries(arena, range);

    for (uint64_t n = range->size >> shifts[range->zone]; n > 0; n--)
        __atomic_store_n(entry++, 0, __ATOMIC_RELEASE);
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

/* The reading side, turned back. */
static uint64_t entry_run(uint64_t entry)
{
    return (entry << DMABUFD_ENTRY_RUN_HIGH | entry >> (64 - DMABUFD_ENTRY_RUN_HIGH)) &
           DMABUFD_ENTRY_RUN_MAX;
}

/*
 * A long entry stands for more than DMABUFD_ENTRY_RUN_MAX granules, so the one that many further on
 * is in the same run, and has the rest. An entry of 0 on the way means that the buffer is being freed;
 * what was found so far is as good an answer as any.
 */
static uint64_t long_run(const uint64_t *at, uint64_t entry)
{
    uint64_t granules = 0;

    while (entry & DMABUFD_ENTRY_LONG) {
        granules += DMABUFD_ENTRY_RUN_MAX;
        at += DMABUFD_ENTRY_RUN_MAX;
        entry = __atomic_load_n(at, __ATOMIC_RELAXED);
    }
    return granules + entry_run(entry);
}

__attribute__((noinline, cold)) int arena_translate_rarely(const struct arena *arena,
                                                           const void *pointer,
                                                           uint64_t *ret_dma_addr,
                                                           uint64_t *ret_length)
{
    uint64_t offset = (uintptr_t)pointer - arena->base;
    unsigned int zone = offset < arena->middle ? ZONE_SMALL : ZONE_LARGE;
    const uint64_t *at = &arena->table[zone][offset >> shifts[zone]];
    uint64_t entry;

    if (offset >= __atomic_load_n(&arena->end[zone], __ATOMIC_RELAXED))
        return -ENOENT;
    entry = __atomic_load_n(at, __ATOMIC_RELAXED);
    if (entry == 0)
        return -ENOENT;
    *ret_dma_addr = (entry & DMABUFD_ENTRY_ADDRESS) ^ (uintptr_t)pointer;
    *ret_length = (long_run(at, entry) << shifts[zone]) -
                  ((uintptr_t)pointer & ((UINT64_C(1) << shifts[zone]) - 1));
    return 0;
}
