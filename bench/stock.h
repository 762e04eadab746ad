/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Stock: the daemon's pool, for as long as a row needs it. All other rows run without one, since it
 * takes huge pages away from them.
 */
#ifndef BENCH_STOCK_H
#define BENCH_STOCK_H

#include "bench/bench.h"

struct stock {
    dmabufd *d;
    uint64_t pages;              /* 0: there is none */
    struct dmabufd_pool_set set; /* as it was last seen */
};

/**
 * stock_make() - a pool of huge pages of 2 MiB, and wait until it is full
 * @pages: how many; there must be some more, for the floor and for what is held meanwhile
 * Return: NULL, or why there is none.
 */
const char *stock_make(struct stock *stock, const struct bench *bench, uint64_t pages);

/** stock_look() - bring @stock->set up to date; exits without a daemon. */
void stock_look(struct stock *stock);

/**
 * stock_settle() - wait until it is full again and the daemon has nothing to do
 * Return: NULL, or why that does not happen.
 */
const char *stock_settle(struct stock *stock);

/** stock_files() - how many of @size bytes were ready, each good for one grant. */
uint32_t stock_files(const struct stock *stock, uint64_t size);

/** stock_drop() - its pages are the host's again; safe to repeat. */
void stock_drop(struct stock *stock);

#define CLEANUP_STOCK CLEANUP(stock_drop)

#endif
