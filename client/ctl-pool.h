/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the files of 'dmabufctl pool' share. */
#ifndef CLIENT_CTL_POOL_H
#define CLIENT_CTL_POOL_H

#include <stdio.h>

#include "client/ctl-output.h"
#include "client/ctl.h"

/** What 'dmabufctl pool resize' is asked for. */
struct pool_resize {
    uint64_t page_size;
    uint64_t pages; /* of all nodes together, page_size * pages is a number */
    uint32_t node;  /* UINT32_MAX: spread over all */
    bool reserve;   /* have the kernel make huge pages that are missing */
    bool no_wait;
};

/** pool_state() - what a set is doing, in a word. */
const char *pool_state(const struct dmabufd_pool_set *set);

/** pool_missing() - pages that a set waits for in vain. */
uint64_t pool_missing(const struct dmabufd_pool_set *set);

/** pool_print_sets() - as a table. */
void pool_print_sets(const struct dmabufd_pool_set *list, size_t count);

/** pool_sets_json() - everything of them. */
json_t *pool_sets_json(const struct dmabufd_pool_set *list, size_t count);

/** pool_print_map() - the addresses as rows of characters, with what these mean. */
void pool_print_map(const struct dmabufd_pool_map *map, FILE *out);

/** pool_map_json() - cell by cell. */
json_t *pool_map_json(const struct dmabufd_pool_map *map);

/** pool_share() - how many of @pages the set with this index gets, if there are @sets. */
uint64_t pool_share(uint64_t pages, size_t sets, size_t index);

/** pool_resize() - Return: exit status. */
int pool_resize(const struct ctl *ctl, const struct pool_resize *request);

#endif
