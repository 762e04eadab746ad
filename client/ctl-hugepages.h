/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Huge pages of the kernel: how many there are, and asking it for more. What the daemon has taken of
 * them is not told apart here.
 */
#ifndef CLIENT_CTL_HUGEPAGES_H
#define CLIENT_CTL_HUGEPAGES_H

#include <stdint.h>

/** Instead of a NUMA node: of the whole host. */
#define HUGEPAGES_HOST UINT32_MAX

/** Where sysfs is; a test has another. */
extern const char *hugepages_sysfs;

struct hugepages {
    uint64_t total; /* nr_hugepages */
    uint64_t free;  /* of these, used by nobody and promised to nobody */
};

/** hugepages_read() - Return: 0; -ENOENT: no such size or node; another negative errno. */
int hugepages_read(uint32_t node, uint64_t page_size, struct hugepages *ret);

/**
 * hugepages_set_total() - ask for so many
 *
 * The kernel gives as many as it finds memory for, and does not call that a failure: read again.
 *
 * Return: 0; -EACCES: not for this user; another negative errno.
 */
int hugepages_set_total(uint32_t node, uint64_t page_size, uint64_t total);

#endif
