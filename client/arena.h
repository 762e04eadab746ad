/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arena: the addresses at which a connection maps its buffers, and the tables that turn such an
 * address into a device address. It knows nothing of messages and holds no descriptor.
 *
 * All are in one range of virtual addresses, reserved once (PROT_NONE: no memory, no commit charge),
 * with 64-bit entries, one per granule, in flat tables beside it. So "which buffer is this pointer in"
 * is a subtraction and a compare, and the answer one load:
 *
 *     range  |#### A ####|      |##### B #####|.................|  reserved
 *     table  |a2 a1|b3 b2 b1|0 0|d4 d3 d2 d1|0 ..|--------------|  its end, then PROT_NONE
 *
 * The reading side and the format of an entry are in dmabufd-inline.h, which programs may compile in;
 * whatever changes here and there needs another DMABUFD_TABLES_LAYOUT.
 *
 * An entry says in how many bits the pointer and the device address differ, which no sign or carry
 * complicates, and how many granules from here on are contiguous for the device. That never reaches
 * past the buffer, because it is written from the buffer's own scatter list. Both are in one word, so
 * a reader can never see one of each.
 *
 * There are two zones, halves of the range, because a granule is what one entry describes: 4 KiB for
 * buffers of small pages, 2 MiB for huge pages, whose table is 512 times smaller and stays in the
 * cache. They are one behind the other, and the table of the second has entries of 0 for the first:
 * so a reader needs one base for both, and to compare with the end of each.
 *
 * Readers take no lock and make no system call. The tables stay until the connection ends, so a
 * reader that overlaps a free reads a zero or the old word, never unmapped memory. Whoever frees
 * withdraws the entries first, so a translation that starts afterwards misses.
 */
#ifndef CLIENT_ARENA_H
#define CLIENT_ARENA_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "client/api.h"
#include "common/dmabufd-types.h"
#include "common/extents.h"
#include "common/fault.h"

/** Device addresses are below this. */
#define ARENA_ADDRESS_END DMABUFD_ENTRY_ADDRESS

enum { ZONE_SMALL, ZONE_LARGE, ZONE_COUNT };

/** What only allocation and free need. */
struct zone_space {
    struct extents free; /* offsets in the range, bytes */
    bool holed;          /* not all of the reservation is ours any more */
};

struct arena {
    /* What readers need, in one cache line. */
    _Alignas(64) uintptr_t base;
    uint64_t end[ZONE_COUNT];    /* entries may be read below this; only grows */
    uint64_t *table[ZONE_COUNT]; /* entries of the range from base on */
    uint64_t middle;             /* where the large zone begins */

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
 * arena_init() - reserve the range
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
    return (void *)(arena->base + range->offset);
}

/**
 * arena_translate_rarely() - arena_translate() without haste, also of long runs
 * Return: 0; -ENOENT.
 */
int arena_translate_rarely(const struct arena *arena, const void *pointer, uint64_t *ret_dma_addr,
                           uint64_t *ret_length);

/**
 * arena_translate() - dmabufd_translate_inline() for behind a call
 *
 * Two things differ. Small pages are said to be likely, which makes straight code for them; inlined
 * in a loop, that would cost large ones more than it gives. And the rare case is a tail call with
 * the parameters where they are, so that the fast path moves no register for it.
 * Return: 0; -ENOENT.
 */
static inline int arena_translate(const struct arena *arena, const void *pointer,
                                  uint64_t *ret_dma_addr, uint64_t *ret_length)
{
    uint64_t offset = (uintptr_t)pointer - arena->base;
    int r;

    if (__builtin_expect(offset < __atomic_load_n(&arena->end[ZONE_SMALL], __ATOMIC_RELAXED), 1))
        r = dmabufd_translate_entry(&arena->table[ZONE_SMALL][offset >> DMABUFD_SMALL_SHIFT],
                                    (uintptr_t)pointer, DMABUFD_SMALL_SHIFT, true, ret_dma_addr,
                                    ret_length);
    else if (__builtin_expect(offset < __atomic_load_n(&arena->end[ZONE_LARGE], __ATOMIC_RELAXED),
                              1))
        r = dmabufd_translate_entry(&arena->table[ZONE_LARGE][offset >> DMABUFD_LARGE_SHIFT],
                                    (uintptr_t)pointer, DMABUFD_LARGE_SHIFT, true, ret_dma_addr,
                                    ret_length);
    else
        return -ENOENT;
    if (__builtin_expect(r > 0, 0))
        return arena_translate_rarely(arena, pointer, ret_dma_addr, ret_length);
    return r;
}

#endif
