/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Hugepages: pretend that the host has so many huge pages, by mounting an invention of ours over
 * /sys/kernel/mm/hugepages, seen by this process only. What the kernel really has stays as it is:
 * files say there are pages, allocating them fails.
 */
#ifndef UNIT_HUGEPAGES_H
#define UNIT_HUGEPAGES_H

#include <stdbool.h>
#include <stdint.h>

/** Of one page size. */
struct hugepages {
    uint64_t page_size;
    unsigned int total;
    unsigned int free;
    unsigned int reserved;
};

/** hugepages_pretend_begin() - once, before any thread. Return: false where that is not allowed. */
bool hugepages_pretend_begin(void);

/** hugepages_pretend() - from now on the host has pages of these sizes, and of no others. */
void hugepages_pretend(const struct hugepages *sizes, unsigned int count);

/** hugepages_pretend_node() - and so many are on this node, whose folder is in the same place. */
void hugepages_pretend_node(unsigned int node, uint64_t page_size, unsigned int total,
                            unsigned int free);

#endif
