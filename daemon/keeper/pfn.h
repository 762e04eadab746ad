/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * PFN: page frame numbers out of /proc/self/pagemap (Documentation/admin-guide/mm/pagemap.rst).
 * The answer holds only as long as the page is pinned: pin first, then read.
 */
#ifndef KEEPER_PFN_H
#define KEEPER_PFN_H

#include <stdint.h>

#include "common/fault.h"
#include "common/spans.h"

/**
 * pfn_open() - open /proc/self/pagemap and see that it tells frame numbers
 *
 * Without CAP_SYS_ADMIN at this moment the kernel shows them as 0, without an error.
 *
 * Return: 0; -EPERM for zero frame numbers; or a negative errno of open(2).
 */
int pfn_open(int *ret_fd, struct fault *fault);

/**
 * pfn_resolve() - append the physical addresses of mapped, pinned memory to @spans
 * @window: first byte, page-aligned, touched
 * @page_size: of the memory; one entry is read for each huge page
 * Return: 0; -EIO with @fault if a page is not there or shows no number; -ENOMEM; errno of pread(2).
 */
int pfn_resolve(int fd, const void *window, uint64_t length, uint64_t page_size,
                struct spans *spans, struct fault *fault);

#endif
