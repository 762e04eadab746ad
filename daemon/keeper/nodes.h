/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Nodes: the NUMA nodes of the host, and allocating on one of them.
 *
 * A placement is what a request says of nodes. While pages are allocated, the worker thread has the
 * memory policy that the placement asks for; nothing else has. A host with one node, or a kernel
 * without CONFIG_NUMA, has node 0 and needs no policy. Which node memory is on is told by its
 * physical addresses (zones.h).
 *
 * Numbers from NODES_MAX up are not served: a set of nodes is one word everywhere.
 */
#ifndef KEEPER_NODES_H
#define KEEPER_NODES_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"
#include "common/fault.h"
#include "daemon/keeper/zones.h"

#define NODES_MAX    64U
#define NODES_FOLDER "/sys/devices/system/node"

struct nodes {
    uint64_t present;   /* bit n: node n has memory */
    const char *folder; /* NODES_FOLDER, or a test's; NULL: pretended, nothing to read or to set */
    const char *zoneinfo;
    pthread_mutex_t lock; /* of zones */
    struct zones zones;   /* as last read: where they are, not what is free */
};

/** Where the pages of a buffer are to come from; all zero: anywhere. */
struct placement {
    uint32_t rule; /* 0, DMABUFD_NODE_PREFERRED or DMABUFD_NODE_STRICT */
    uint32_t node;
};

/** A thread's memory policy, put aside. */
struct policy {
    bool changed;
    int mode;
    unsigned long nodes[1024 / (8 * sizeof(unsigned long))];
};

/**
 * nodes_init() - look at the host; without @folder there is node 0
 * @folder, @zoneinfo: NODES_FOLDER and ZONES_FILE, or a test's; must outlive @nodes
 */
void nodes_init(struct nodes *nodes, const char *folder, const char *zoneinfo);

/** nodes_pretend() - these, and no policy is set; for a backend without real memory. */
void nodes_pretend(struct nodes *nodes, uint64_t present);

/** placement_of() - what checked constraints say. */
struct placement placement_of(const struct dmabufd_constraints *constraints);

/** placement_is_strict() - one node and no other. */
bool placement_is_strict(const struct placement *placement);

/** placement_binds() - the same, and there are others on this host. */
bool placement_binds(const struct nodes *nodes, const struct placement *placement);

/** placement_check() - is there such a node. Return: 0; -EOPNOTSUPP with @fault, which lists them. */
int placement_check(const struct nodes *nodes, const struct placement *placement,
                    struct fault *fault);

/**
 * placement_enter() - let the calling thread allocate as @placement says
 * @ret: for placement_leave(), which must follow on every path if this returned 0
 * Return: 0; -EOPNOTSUPP with @fault: the kernel does not let us.
 */
int placement_enter(const struct nodes *nodes, const struct placement *placement,
                    struct policy *ret, struct fault *fault);

/** placement_leave() - the policy that was there before. */
void placement_leave(const struct policy *policy);

/** nodes_huge() - a number of the node's huge pages, such as free_hugepages; 0 if there is none. */
uint64_t nodes_huge(const struct nodes *nodes, uint32_t node, uint64_t page_size, const char *what);

/**
 * nodes_memory() - the node's memory outside huge pages, bytes
 * @ret_available: free, or easy to free; the kernel has this number for the whole host only, so it
 *                 is guessed in the same way: half of the page cache and of what is reclaimable
 * @ret_total: all of it
 * Return: 0; or a negative errno.
 */
int nodes_memory(const struct nodes *nodes, uint32_t node, uint64_t *ret_available,
                 uint64_t *ret_total);

/**
 * nodes_of() - where memory is, by physical addresses
 *
 * On a host with several nodes their zones are read when this meets an address that is in none of
 * those it knows: at first, and when memory was added.
 *
 * Return: bit n: some of it is on node n; 0: the host does not tell, or zones of two nodes overlap.
 */
uint64_t nodes_of(struct nodes *nodes, const struct dmabufd_span *list, size_t count);

/**
 * nodes_text() - a set of nodes for a sentence, as "0-1,3"
 * @out: as much of it as fits
 */
void nodes_text(uint64_t set, char *out, size_t size);

#endif
