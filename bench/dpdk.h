/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * DPDK's side of each row, inside dmabufd-bench-dpdk; see peer.h for who gives the orders. Functions
 * return NULL, or why it was not done.
 */
#ifndef BENCH_DPDK_H
#define BENCH_DPDK_H

#include "bench/peer.h"

/**
 * dpdk_prepare() - fill memory with objects, for dpdk_walk() and dpdk_resolve()
 *
 * Huge pages are DPDK's own. Small ones it takes only as "external memory", whose addresses the
 * program says: they are asked of rte_mem_virt2phy(), page by page.
 */
const char *dpdk_prepare(const struct peer_order *order);

/** dpdk_release() - the reverse; safe to repeat. */
void dpdk_release(void);

/** dpdk_walk() - samples: ns an address. */
const char *dpdk_walk(const struct peer_order *order, struct samples *samples);

/** dpdk_resolve() - sample: ns to ask once for each page. */
const char *dpdk_resolve(const struct peer_order *order, struct samples *samples);

/** dpdk_heap() - samples: ns a pair of rte_malloc() and rte_free(). */
const char *dpdk_heap(const struct peer_order *order, struct samples *samples);

/** dpdk_allocate() - samples: ns until new huge pages can be written to, ns until they are gone. */
const char *dpdk_allocate(const struct peer_order *order, struct samples *samples);

#endif
