/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * libdmabufd: dmabufd_translate() without the call.
 *
 *     struct dmabufd_tables tables;
 *     bool fast = dmabufd_get_tables(d, DMABUFD_TABLES_LAYOUT, &tables) == 0;
 *     ...
 *     r = fast ? dmabufd_translate_inline(&tables, pointer, &addr, &run)
 *              : dmabufd_translate(d, pointer, &addr, &run);
 *
 * For a program whose pace is that of translations. It answers what dmabufd_translate() answers, by
 * the same rules for threads, and costs about half of it, or a third for the address alone.
 * Where a list of pointers is at hand, dmabufd_translate_pointers() needs none of this.
 *
 * The price: the layout of the library's tables is compiled into the program. It has a number, and a
 * library with another layout refuses: keep the other branch. All that is here and not described
 * with "Return:" belongs to the layout, and is not for use by itself.
 *
 * In a hot loop, work on a copy of the struct in a local variable, and do not pass its address to
 * functions that are not inlined: then it stays in registers.
 */
#ifndef DMABUFD_INLINE_H
#define DMABUFD_INLINE_H

#include <errno.h>
#include <stddef.h>
#include <stdint.h>

#include <dmabufd.h>

#ifdef __cplusplus
extern "C" {
#endif

/** The layout that this header is for. */
#define DMABUFD_TABLES_LAYOUT UINT32_C(1)

/**
 * struct dmabufd_tables - where the tables of a connection are; constant, may be copied
 *
 * All buffers are in one range of addresses, those in huge pages behind the others. Each of its two
 * parts has a table with an entry per granule, of 4 KiB or 2 MiB; both tables count granules from
 * the base of the range. Below an end they can be read, until dmabufd_disconnect().
 */
struct dmabufd_tables {
    uintptr_t base; /**< of the range, a multiple of 2 MiB */
    const uint64_t *small;
    const uint64_t *large; /**< of zeros, where the small granules are */
    const uint64_t *ends;  /**< 2, of small and large, bytes from base on; they grow */
    const dmabufd *connection;
};

#define DMABUFD_SMALL_SHIFT 12
#define DMABUFD_LARGE_SHIFT 21

/*
 * An entry, 0 where nothing is:
 *
 *     63         56  55   54                                12 11            0
 *     | run, high | long | pointer ^ dma_addr, but low bits   | run, low      |
 *
 * "run" is the number of granules from here on that are contiguous for the device, 20 bits; 0, and
 * "long", if these do not suffice. Rotated, it is where its bytes are counted.
 */
#define DMABUFD_ENTRY_RUN_BITS 20
#define DMABUFD_ENTRY_RUN_MAX  ((UINT64_C(1) << DMABUFD_ENTRY_RUN_BITS) - 1)
#define DMABUFD_ENTRY_RUN_HIGH 8 /* bits of it at the top */
#define DMABUFD_ENTRY_LONG     (UINT64_C(1) << 55)
#define DMABUFD_ENTRY_ADDRESS  (DMABUFD_ENTRY_LONG - (UINT64_C(1) << DMABUFD_SMALL_SHIFT))

/**
 * dmabufd_get_tables() - what dmabufd_translate_inline() needs
 * @layout: DMABUFD_TABLES_LAYOUT
 * @ret: valid until dmabufd_disconnect(), whatever is allocated and freed
 * Return: 0; -EOPNOTSUPP: the library has another layout: use dmabufd_translate().
 */
int dmabufd_get_tables(const dmabufd *d, uint32_t layout, struct dmabufd_tables *ret);

/**
 * dmabufd_translate_value() - dmabufd_translate() with the answer as a value
 * Return: the answer; dma_addr is DMABUFD_NO_ADDRESS if there is none.
 */
struct dmabufd_translation dmabufd_translate_value(const dmabufd *d, const void *pointer);

/* The one load and what its word says; 1: nothing, or a long run. @shift, @want_length: constants. */
static inline __attribute__((always_inline)) int dmabufd_translate_entry(
    const uint64_t *entry_at, uintptr_t pointer, unsigned int shift, int want_length,
    uint64_t *ret_dma_addr, uint64_t *ret_length)
{
    /* Relaxed: the word is complete in itself. That it is there at all, the caller knows from
     * having got the pointer from the call that wrote it. */
    uint64_t entry = __atomic_load_n(entry_at, __ATOMIC_RELAXED);
    unsigned int turn = DMABUFD_ENTRY_RUN_HIGH + shift;

    if (want_length) {
        uint64_t run = (entry << turn | entry >> (64 - turn)) & (DMABUFD_ENTRY_RUN_MAX << shift);

        if (__builtin_expect(run == 0, 0))
            return 1;
        *ret_length = run - (pointer & ((UINT64_C(1) << shift) - 1));
    } else if (__builtin_expect(entry == 0, 0)) {
        return 1;
    }
    *ret_dma_addr = (entry & DMABUFD_ENTRY_ADDRESS) ^ pointer;
    return 0;
}

/* All but long runs, for which it returns 1; it may for misses, too.
 *
 * Small pages first: their table is the one that does not stay in the nearest cache, and every
 * instruction before its load is a load fewer in flight. */
static inline __attribute__((always_inline)) int dmabufd_translate_quickly(
    const struct dmabufd_tables *tables, uintptr_t pointer, int want_length, uint64_t *ret_dma_addr,
    uint64_t *ret_length)
{
    uint64_t offset = pointer - tables->base;

    if (offset < __atomic_load_n(&tables->ends[0], __ATOMIC_RELAXED))
        return dmabufd_translate_entry(&tables->small[offset >> DMABUFD_SMALL_SHIFT], pointer,
                                       DMABUFD_SMALL_SHIFT, want_length, ret_dma_addr, ret_length);
    if (__builtin_expect(offset < __atomic_load_n(&tables->ends[1], __ATOMIC_RELAXED), 1))
        return dmabufd_translate_entry(&tables->large[offset >> DMABUFD_LARGE_SHIFT], pointer,
                                       DMABUFD_LARGE_SHIFT, want_length, ret_dma_addr, ret_length);
    return -ENOENT;
}

/**
 * dmabufd_translate_inline() - dmabufd_translate(), inlined
 * @tables: from dmabufd_get_tables(), of whose connection the buffer is
 * @ret_length: as there; may be NULL, which saves what the length costs
 * Return: as dmabufd_translate().
 */
static inline __attribute__((always_inline)) int dmabufd_translate_inline(
    const struct dmabufd_tables *tables, const void *pointer, uint64_t *ret_dma_addr,
    uint64_t *ret_length)
{
    int r = dmabufd_translate_quickly(tables, (uintptr_t)pointer, ret_length != NULL, ret_dma_addr,
                                      ret_length);

    if (__builtin_expect(r > 0, 0)) {
        /* By value, so that the caller's variables need no address and can be registers. */
        struct dmabufd_translation answer = dmabufd_translate_value(tables->connection, pointer);

        if (answer.dma_addr == DMABUFD_NO_ADDRESS)
            return -ENOENT;
        *ret_dma_addr = answer.dma_addr;
        if (ret_length)
            *ret_length = answer.length;
        return 0;
    }
    return r;
}

#ifdef __cplusplus
}
#endif

#endif
