/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Counters: what the kernel tells root of pinned pages and of where a page is. For tests on the build
 * machine and in the virtual machine; nothing of the daemon's own is used.
 */
#ifndef TESTS_COUNTERS_H
#define TESTS_COUNTERS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define PAGEMAP_PRESENT (UINT64_C(1) << 63)
#define PAGEMAP_FRAME   ((UINT64_C(1) << 55) - 1)

/** counter_in() - the number after @key at the start of a line of @file, -1 if there is none. */
int64_t counter_in(const char *file, const char *key);

/**
 * counters_refresh() - collect what each CPU keeps to itself of /proc/vmstat and /proc/meminfo
 *
 * Return: false without privilege: what is read then may be some pages off.
 */
bool counters_refresh(void);

/** pinned_pages() - 4 KiB pages the kernel has pinned for DMA at this moment, on the whole host; -1 if
 *  it does not count them. */
int64_t pinned_pages(void);

/** pagemap_entry() - of a page in a process, 0: this one. Return: 0 or a negative errno. */
int pagemap_entry(pid_t pid, uint64_t address, uint64_t *ret);

#endif
