/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Bench: what all rows need, and the list of rows. A row measures something of ours and its floor
 * in turns, round by round, so that whatever else the host does hits both.
 */
#ifndef BENCH_BENCH_H
#define BENCH_BENCH_H

#include <dmabufd.h>
#include <stdbool.h>

#include "bench/peer.h"
#include "bench/placement.h"
#include "bench/report.h"
#include "bench/samples.h"
#include "bench/solo.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * 1024)
#define GIB (MIB * 1024)

#define PAGE_SMALL (4 * KIB)
#define PAGE_HUGE  (2 * MIB)

struct bench {
    dmabufd *d;
    bool quick;
    struct placement placement;
    struct solo solo;
    const char *no_solo; /* NULL, or that there is none and why */
    struct peer peer;
    struct report report;
};

/** Rounds until the time is up, but at least some. */
struct pace {
    uint64_t end;
    unsigned int rounds_left; /* at least */
};

/** pace_begin() - @seconds: a fifth of it in a quick run. */
static inline struct pace pace_begin(const struct bench *bench, double seconds, unsigned int rounds)
{
    double ns = seconds * 1e9 / (bench->quick ? 5 : 1);

    return (struct pace){ .end = now_ns() + (uint64_t)ns, .rounds_left = rounds };
}

/** pace_more() - is there another round? */
static inline bool pace_more(struct pace *pace)
{
    if (pace->rounds_left > 0) {
        pace->rounds_left--;
        return true;
    }
    return now_ns() < pace->end;
}

/** format_size() - "64 MiB"; @size is a power of two. Return: @text. */
const char *format_size(char text[16], uint64_t size);

/** meminfo() - a field of /proc/meminfo, named with its colon, in bytes; 0 if there is none. */
uint64_t meminfo(const char *field);

/**
 * add_peer() - put what the peer took, @samples, into @result
 * @name: what it did, if it did; without samples the note says why
 */
void add_peer(const struct bench *bench, struct result *result, const char *name,
              struct samples *samples);

/* The rows, one a file. */
void row_cold(struct bench *bench);
void row_forms(struct bench *bench);
void row_getpa(struct bench *bench);
void row_heap(struct bench *bench);
void row_memory(struct bench *bench);
void row_neighbour(struct bench *bench);
void row_pool(struct bench *bench);
void row_refill(struct bench *bench);
void row_resolve(struct bench *bench);
void row_restart(struct bench *bench);
void row_roundtrip(struct bench *bench);
void row_translate(struct bench *bench);

#endif
