/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's pool of ready memory; a part of <dmabufd.h>, which includes it: include that. */
#ifndef DMABUFD_POOL_H
#define DMABUFD_POOL_H

#include <stddef.h>
#include <stdint.h>

#include <dmabufd.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Sizes of ready memory, and of its runs, that the pool tells apart: 2 MiB << i. */
#define DMABUFD_POOL_CLASSES 10
#define DMABUFD_POOL_RUNS    24
/** Cells of a dmabufd_pool_map, at most. */
#define DMABUFD_POOL_CELLS 512

/** struct dmabufd_pool_set - ready memory in huge pages of one size on one NUMA node */
struct dmabufd_pool_set {
    uint64_t page_size;   /**< bytes */
    uint32_t node;        /**< NUMA node */
    uint32_t refilling;   /**< 1: work on the difference of target and ready goes on; 0 with less
                               ready than that: huge pages are missing */
    uint64_t target;      /**< bytes that are to be ready */
    uint64_t ready;       /**< bytes that are: pinned, resolved, zeroed, nobody's */
    uint64_t largest_run; /**< physically adjacent, bytes */
    uint64_t grants;      /**< buffers that came from it */
    uint64_t misses;      /**< buffers that could have, if it had had what they needed */
    uint64_t refilled;    /**< bytes made ready since the daemon started */
    uint32_t runs[DMABUFD_POOL_RUNS]; /**< how many of 2 MiB << i or more, and less than twice */
    uint32_t
        files[DMABUFD_POOL_CLASSES]; /**< how many of 2 MiB << i in one piece: one grant each */
};

/** struct dmabufd_pool_map - where memory of the pool is, in addresses */
struct dmabufd_pool_map {
    uint64_t cell;                     /**< cell n: addresses from n * this on, bytes */
    uint32_t count;                    /**< of cells */
    uint8_t ready[DMABUFD_POOL_CELLS]; /**< how much of a cell is ready, in 255ths, rounded up */
    uint8_t held[DMABUFD_POOL_CELLS];  /**< the same of what clients hold in huge pages */
};

/**
 * dmabufd_pool() - the daemon's pool: huge pages that it holds ready
 * @ret_list: malloc'ed array, free() it, a set for each size of huge page and NUMA node of the host;
 *            NULL if there is none
 * @ret_count: sets
 * Return: 0; -ENOTCONN; -EPROTO; -ENOMEM.
 */
int dmabufd_pool(dmabufd *d, struct dmabufd_pool_set **ret_list, size_t *ret_count);

/**
 * dmabufd_pool_resize() - how many pages a set of the pool is to hold ready
 * @page_size: bytes, 2097152 or 1073741824
 * @node: NUMA node
 * @pages: huge pages that the host has already (vm.nr_hugepages): the pool does not make them. 0: none
 * @ret: the set as it is at once: pages come and go afterwards. NULL is allowed
 *
 * For root and the user that runs the daemon.
 *
 * Return: 0; -EPERM: another user; -EOPNOTSUPP: no such size or node on this host; -E2BIG: more pages
 * than the host has; -EMFILE: more files than the daemon's limit of descriptors allows for;
 * -ESHUTDOWN; -ENOTCONN; -EPROTO; -ENOMEM.
 */
int dmabufd_pool_resize(dmabufd *d, uint64_t page_size, uint32_t node, uint64_t pages,
                        struct dmabufd_pool_set *ret);

/**
 * dmabufd_pool_get_map() - where memory of the pool is
 *
 * For root and the user that runs the daemon: it tells of addresses that are not the caller's.
 *
 * Return: 0; -EPERM: another user; -ENOTCONN; -EPROTO; -ENOMEM.
 */
int dmabufd_pool_get_map(dmabufd *d, struct dmabufd_pool_map *ret);

#ifdef __cplusplus
}
#endif

#endif
