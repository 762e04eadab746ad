/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arena: the addresses at which a connection maps its buffers, and the tables that turn such an
 * address into a device address. It knows nothing of messages and holds no descriptor.
 *
 * A zone is one range of virtual addresses, reserved once (PROT_NONE: no memory, no commit charge),
 * with one 64-bit entry per granule in a flat table beside it. Because every buffer lies in a zone,
 * "which buffer is this pointer in" is a subtraction and a compare, and the answer one load:
 *
 *        pointer - zone.base = offset          offset < zone.limit, else a miss
 *
 *     zone   |#### A ####|      |##### B #####|.................|  reserved
 *     table  |a2 a1|b3 b2 b1|0 0|d4 d3 d2 d1|0 ..|--------------|  zone.limit, then PROT_NONE
 *
 *     entry   63          44 43                             0
 *            | run (20 bits) | dma_addr / 4096 + 1 (44 bits)   |
 *
 * "run" counts the granules from here on that are contiguous for the device; it never reaches past
 * the buffer, because it is written from the buffer's own scatter list. A run that is too long for
 * the field is written as 0, and its reader walks: see zone_translate_rare(). An entry of 0 is
 * nothing; that is what the + 1 is for. So the hot path has one thing to test, and the shift that
 * gets the run out of the word tests it. Address and length are in one word, so a reader can never
 * see one of each.
 *
 * There are two zones because a granule is what one entry describes: 4 KiB for buffers of small
 * pages, 2 MiB for huge pages, whose table is 512 times smaller and stays in the cache.
 *
 * Readers take no lock and make no system call. The tables stay until the connection ends, so a
 * reader that overlaps a free reads a zero or the old word, never unmapped memory. Whoever frees
 * withdraws the entries first, so a translation that starts afterwards misses.
 */
#ifndef CLIENT_ARENA_H
#define CLIENT_ARENA_H

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"
#include "common/extents.h"
#include "common/fault.h"

#define ARENA_RUN_BITS  20
#define ARENA_RUN_MAX   ((UINT64_C(1) << ARENA_RUN_BITS) - 1)
#define ARENA_RUN_SHIFT (64 - ARENA_RUN_BITS)
/** Device addresses are below this. */
#define ARENA_ADDRESS_END ((UINT64_C(1) << 56) - 4096)

#define ARENA_SMALL_SHIFT 12
#define ARENA_LARGE_SHIFT 21

/** What a reader needs of a zone. */
struct zone {
    uintptr_t base;
    _Atomic uint64_t limit;  /* bytes from base on whose entries may be read; only grows */
    _Atomic uint64_t *table; /* one entry per granule */
};

enum { ZONE_SMALL, ZONE_LARGE, ZONE_COUNT };

/** What only allocation and free need. */
struct zone_space {
    struct extents free; /* offsets in the zone, bytes */
    uint64_t size;       /* reserved, bytes */
    unsigned int shift;  /* log2 of the granule */
    bool holed;          /* not all of the reservation is ours any more */
};

struct arena {
    _Alignas(64) struct zone zone[ZONE_COUNT]; /* one cache line */
    struct zone_space space[ZONE_COUNT];
    pthread_mutex_t lock; /* of the spaces and of growing a limit; never held by readers */
};

/** A place in an arena. */
struct arena_range {
    unsigned int zone;
    uint64_t offset;
    uint64_t size;
};

/**
 * arena_init() - reserve the zones
 * @want: bytes per zone; less is taken, down to 4 GiB, where the process may not have so much
 *        (RLIMIT_AS); 0: twice the memory of the host
 * Return: 0; -ENOMEM.
 */
int arena_init(struct arena *arena, uint64_t want, struct fault *fault);

/** arena_deinit() - unmap zones and tables; every place has been released before. */
void arena_deinit(struct arena *arena);

/**
 * arena_place() - choose where a buffer goes; its entries are not there yet
 * @size, @page_size, @list, @count: of the buffer; the list covers it exactly
 * Return: 0; -EPROTO if the addresses cannot be ones of a buffer of such pages; -ENOMEM.
 */
int arena_place(struct arena *arena, uint64_t size, uint64_t page_size,
                const struct dmabufd_span *list, size_t count, struct arena_range *ret,
                struct fault *fault);

/** arena_unplace() - give a place back where nothing is mapped. */
void arena_unplace(struct arena *arena, const struct arena_range *range);

/**
 * arena_map() - put the memory of @fd from @start on at its place, or at a part of one
 * @access: as @fd is open
 * Return: 0 or a negative errno of mmap(2). After -ENOMEM the place is lost and must not be given
 * back; after another it is as it was.
 */
int arena_map(struct arena *arena, const struct arena_range *range, int fd, uint64_t start,
              enum dmabufd_access access, struct fault *fault);

/**
 * arena_abandon() - take back a place that was filled part by part, up to an arena_map() that failed
 * @mapped: bytes from its beginning on that hold memory
 * @lost: what is behind them is lost, by that arena_map(); then nothing is given back, since the place
 *        is one for whoever gets it next
 */
void arena_abandon(struct arena *arena, const struct arena_range *range, uint64_t mapped,
                   bool lost);

/** arena_publish() - write the entries: from now on the range translates. */
void arena_publish(struct arena *arena, const struct arena_range *range,
                   const struct dmabufd_span *list, size_t count);

/** arena_withdraw() - zero the entries: a translation that starts from now on misses. */
void arena_withdraw(struct arena *arena, const struct arena_range *range);

/** arena_release() - unmap what arena_map() put there, and give the place back. */
void arena_release(struct arena *arena, const struct arena_range *range);

/** arena_pointer() - the address of a place. */
static inline void *arena_pointer(const struct arena *arena, const struct arena_range *range)
{
    return (void *)(arena->zone[range->zone].base + range->offset);
}

/**
 * zone_translate_rare() - the end of zone_translate() when nothing is there or the run is long
 * @entry: what was read for @offset
 */
int zone_translate_rare(const struct zone *zone, uint64_t offset, uint64_t *ret_dma_addr,
                        uint64_t *ret_length, uint64_t entry, unsigned int shift);

/** entry_address() - the device address in an entry. */
static inline uint64_t entry_address(uint64_t entry)
{
    return (entry << ARENA_RUN_BITS >> (ARENA_RUN_BITS - 12)) - 4096;
}

/**
 * zone_translate_in() - zone_translate() for a caller that has loaded zone->table already
 */
static inline int zone_translate_in(const struct zone *zone, const _Atomic uint64_t *table,
                                    uint64_t offset, uint64_t *ret_dma_addr, uint64_t *ret_length,
                                    unsigned int shift)
{
    /* Relaxed: the word is complete in itself. That it is there at all, the caller knows from
     * having got the pointer from the call that wrote it. */
    uint64_t entry = atomic_load_explicit(&table[offset >> shift], memory_order_relaxed);
    uint64_t inside = offset & ((UINT64_C(1) << shift) - 1);
    uint64_t run = entry >> ARENA_RUN_SHIFT;

    /* A tail call with the parameters where they are: the fast path moves no register for it. */
    if (__builtin_expect(run == 0, 0))
        return zone_translate_rare(zone, offset, ret_dma_addr, ret_length, entry, shift);
    *ret_dma_addr = entry_address(entry) + inside;
    *ret_length = (run << shift) - inside;
    return 0;
}

/**
 * zone_translate() - the hot path, one load
 * @offset: below the zone's limit
 * @shift: of the zone, a constant at every call
 * Return: 0; -ENOENT.
 */
static inline int zone_translate(const struct zone *zone, uint64_t offset, uint64_t *ret_dma_addr,
                                 uint64_t *ret_length, unsigned int shift)
{
    return zone_translate_in(zone, zone->table, offset, ret_dma_addr, ret_length, shift);
}

/**
 * arena_translate() - find the zone, then zone_translate()
 *
 * Small pages first: their table is the one that does not stay in the nearest cache, and every
 * instruction before its load is a load fewer in flight.
 */
static inline int arena_translate(const struct arena *arena, const void *pointer,
                                  uint64_t *ret_dma_addr, uint64_t *ret_length)
{
    const struct zone *zone = &arena->zone[ZONE_SMALL];
    uint64_t offset = (uintptr_t)pointer - zone->base;

    if (__builtin_expect(offset < atomic_load_explicit(&zone->limit, memory_order_relaxed), 1))
        return zone_translate(zone, offset, ret_dma_addr, ret_length, ARENA_SMALL_SHIFT);
    zone = &arena->zone[ZONE_LARGE];
    offset = (uintptr_t)pointer - zone->base;
    if (__builtin_expect(offset < atomic_load_explicit(&zone->limit, memory_order_relaxed), 1))
        return zone_translate(zone, offset, ret_dma_addr, ret_length, ARENA_LARGE_SHIFT);
    return -ENOENT;
}

#endif
