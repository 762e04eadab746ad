/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory: where the pages of buffers come from. Chooses a page size, makes the memfd, prepares its
 * pages piece by piece, and keeps the host from running out.
 *
 * Huge pages are allocated and zeroed here, with fallocate(2). Small pages are not: fallocate() on
 * shared memory leaves them unzeroed until somebody first touches them through a mapping, and a
 * device that wrote before that would see its data wiped. Pinning them allocates and zeroes at once,
 * so that is left to the backend.
 *
 * Nothing here touches the pages: a hole punched by a client would be a SIGBUS.
 */
#ifndef KEEPER_MEMORY_H
#define KEEPER_MEMORY_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/fault.h"
#include "daemon/keeper/nodes.h"
#include "daemon/keeper/pages.h"

/** The daemon's share of the host's memory; one for the process, used by all workers. */
struct memory {
    uint64_t limit;    /* bytes outside huge pages, all buffers together */
    uint64_t reserve;  /* bytes of MemAvailable to leave */
    uint64_t max_size; /* of one buffer: what the host has */
    struct nodes nodes;
    int meminfo; /* /proc/meminfo, open all the time: it must not be missing when it is short */
    atomic_uint_least64_t charged;
};

/** memory_init() - look at the host. Return: 0 or a negative errno with @fault. */
int memory_init(struct memory *memory, uint64_t limit, uint64_t reserve, struct fault *fault);

/** memory_deinit() - allowed on a zeroed struct. */
void memory_deinit(struct memory *memory);

/**
 * memory_page_sizes() - the page sizes that make sense here, ascending
 * Return: how many of the 4 entries were filled.
 */
size_t memory_page_sizes(uint64_t sizes[4]);

/**
 * memory_round() - check a request and round it up
 * @page_size: one of the three, to round to
 * Return: 0; -EINVAL; -E2BIG; with @fault.
 */
int memory_round(const struct memory *memory, uint64_t size, uint64_t page_size, uint64_t *ret,
                 struct fault *fault);

/**
 * memory_choose() - the page sizes to try for a request, best first
 * @wanted: exact page size, or 0: 1 GiB pages for whole multiples of 1 GiB and 2 MiB pages from
 *          2 MiB up, if enough are free now, then 4 KiB; where contiguity is asked for, also a huge
 *          page that is larger than the buffer
 * @constraints: with a strict node, what is free on that node counts
 * @choices: filled, at most 3
 * Return: how many (> 0), or a negative errno with @fault.
 */
int memory_choose(const struct memory *memory, uint64_t size, uint64_t wanted,
                  const struct dmabufd_constraints *constraints, uint64_t choices[3],
                  struct fault *fault);

/** memory_wants_runs() - do these ask for what a huge page has by construction, several small ones only by
 *  luck. */
bool memory_wants_runs(const struct dmabufd_constraints *constraints);

/**
 * memory_huge_free() - bytes in free huge pages of that size that nobody has a reservation for and
 * that this placement can use
 */
uint64_t memory_huge_free(const struct memory *memory, const struct placement *placement,
                          uint64_t page_size);

/**
 * memory_create() - a memfd of @size bytes (a multiple of @page_size), no page allocated yet
 *
 * Mode 0600, sealed against shrinking, growing and further seals. Charged as by memory_charge().
 *
 * Return: 0, or a negative errno with @fault (nothing charged).
 */
int memory_create(struct memory *memory, uint64_t size, uint64_t page_size, int *ret_fd,
                  struct fault *fault);

/**
 * memory_check_foreign() - can memory that a client made be pinned
 *
 * The kernel checks none of this when it pins (IOMMU_IOAS_MAP_FILE looks neither at seals nor at the
 * file's mode, and allocates missing pages at our expense). Pages that were allocated but never
 * touched count as missing: their first user zeroes them, over what a device wrote.
 *
 * Waits for ever for who holds the lock of the file, as memory_empty() does.
 *
 * @ret_page_size: of the file
 * Return: 0; -EINVAL, -EACCES, -EPERM, -ENXIO, -EOPNOTSUPP, each with its own reason in @fault.
 */
int memory_check_foreign(int fd, uint64_t offset, uint64_t size, uint64_t *ret_page_size,
                         struct fault *fault);

/**
 * memory_empty() - give pages of a memfd of ours back to the kernel, whoever has it mapped
 * @length: may reach beyond the end of the file
 *
 * The one way to make sure that memory is gone: descriptors and mappings that left the daemon cannot
 * be taken back. Waits for ever for who holds the lock of the file (job.h, patient lane), unless
 * nobody but us ever had it.
 *
 * Return: 0 or the negative errno of fallocate(2).
 */
int memory_empty(int fd, uint64_t offset, uint64_t length);

/**
 * memory_charge() - count memory outside huge pages against the limit of all together
 * @page_size: of the memory; huge pages have a limit of their own, the host's pool
 * Return: 0; -ENOMEM with @fault, nothing charged.
 */
int memory_charge(struct memory *memory, uint64_t size, uint64_t page_size, struct fault *fault);

/** memory_spare() - bytes of small pages that could be allocated now, limit and reserve left alone. */
uint64_t memory_spare(const struct memory *memory, const struct placement *placement);

/**
 * memory_populate() - allocate and zero small pages as movable ones
 *
 * Pinning allocates too, but unmovable pages, for which the kernel breaks up its largest free blocks
 * first. The file is mapped for a moment and not touched: a hole would be no SIGBUS.
 *
 * Return: 0; errno of mmap(2) or of madvise(2) (-EINVAL before Linux 5.14: nothing is allocated).
 */
int memory_populate(int fd, uint64_t offset, uint64_t length);

/** memory_release() - memory that was charged is gone, or not pinned any more: uncharge. */
void memory_release(struct memory *memory, uint64_t size, uint64_t page_size);

/**
 * memory_prepare() - before one piece is pinned: allocate and zero huge pages; see that the host has
 * enough memory for small ones, and a strict node too
 *
 * @placement: what the caller has entered (placement_enter())
 * Return: 0; -ENOMEM with @fault: too little memory or huge pages, numbers named.
 */
int memory_prepare(struct memory *memory, const struct placement *placement, int fd,
                   uint64_t page_size, uint64_t offset, uint64_t length, struct fault *fault);

#endif
