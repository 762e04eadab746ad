/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Zones: which physical addresses the kernel's zones of memory span, of which NUMA node they are and
 * how much of them is free, as /proc/zoneinfo says.
 */
#ifndef KEEPER_ZONES_H
#define KEEPER_ZONES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ZONES_FILE "/proc/zoneinfo"
/** More than a host of 64 nodes has. */
#define ZONES_MAX 256U

struct zone {
    uint32_t node;
    uint64_t start; /* first byte */
    uint64_t end;   /* first byte behind it */
    uint64_t free;  /* bytes */
};

struct zones {
    struct zone zone[ZONES_MAX];
    size_t count;
};

/**
 * zones_read() - as they are now; memory comes and goes on some hosts
 * @path: ZONES_FILE, or a test's
 *
 * Zones without memory and those of devices are left out.
 *
 * Return: 0; -ENODATA: there is none, or more than ZONES_MAX; errno of open(2).
 */
int zones_read(const char *path, struct zones *ret);

/** zones_overlap() - whether an address can be in zones of two nodes: then it does not tell. */
bool zones_overlap(const struct zones *zones);

/** zones_nodes() - bit n: some of @length bytes at this physical address are on node n < 64. */
uint64_t zones_nodes(const struct zones *zones, uint64_t address, uint64_t length);

#endif
