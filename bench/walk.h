/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Walk: a loop that asks for the device address of one pointer after the other, the same for
 * whoever is asked, in this program or in a peer's.
 *
 * independent: the next question does not need the last answer (throughput);
 * chained: its pointer is computed from it (latency).
 */
#ifndef BENCH_WALK_H
#define BENCH_WALK_H

#include <err.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WALK_SEED UINT64_C(0x9e3779b97f4a7c15)

/** Pointers in one walk. As many touch nearly all of a table of 1 GiB of small pages, and the list
 *  itself stays small. */
#define WALK_PLACES 65536

/** Keeps results alive; and a 0 that the compiler does not know. */
extern volatile uint64_t walk_sink, walk_zero;

/**
 * walk_ask - put the device address of @pointer into @ret_dma_addr, and what else there is to say
 * into @ret_length. Return: 0, or negative if it is none.
 */
typedef int walk_ask(const void *of, const char *pointer, uint64_t *ret_dma_addr,
                     uint64_t *ret_length);

/** walk_random() - xorshift; @state is not 0. */
static inline uint64_t walk_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/** walk() - inlined with a known @ask, so that nothing is between the loop and what it asks. */
static inline __attribute__((always_inline)) void walk(walk_ask *ask, const void *of,
                                                       const char *const *places, size_t count,
                                                       bool chained)
{
    uint64_t sum = 0, dma_addr = 0, length = 0;
    uint64_t zero = walk_zero;

    for (size_t i = 0; i < count; i++) {
        const char *pointer = chained ? places[i] + (dma_addr & zero) : places[i];

        if (ask(of, pointer, &dma_addr, &length) < 0)
            errx(1, "a pointer into memory for devices did not translate");
        if (!chained)
            sum += dma_addr ^ length;
    }
    walk_sink = sum + dma_addr;
}

#endif
