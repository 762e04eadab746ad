/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Reading /proc/zoneinfo; see zones.h. */
#include "daemon/keeper/zones.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define FRAME UINT64_C(4096)

/* What the lines so far said of the zone they are about. */
struct reading {
    bool wanted;
    uint32_t node;
    unsigned long long free;    /* pages */
    unsigned long long spanned; /* pages */
};

static int add(struct zones *zones, const struct reading *reading, unsigned long long start)
{
    struct zone *zone = &zones->zone[zones->count];
    uint64_t length;

    if (!reading->wanted || reading->spanned == 0)
        return 0;
    if (zones->count == ZONES_MAX)
        return -ENODATA;
    *zone = (struct zone){ .node = reading->node };
    if (__builtin_mul_overflow((uint64_t)start, FRAME, &zone->start) ||
        __builtin_mul_overflow((uint64_t)reading->spanned, FRAME, &length) ||
        __builtin_add_overflow(zone->start, length, &zone->end) ||
        __builtin_mul_overflow((uint64_t)reading->free, FRAME, &zone->free))
        return -ENODATA;
    zones->count++;
    return 0;
}

/* A zone's first line names it, its last one tells where it begins. */
static int read_line(struct zones *zones, struct reading *reading, const char *line)
{
    unsigned long long number;
    char name[16];

    if (sscanf(line, "Node %llu, zone %15s", &number, name) == 2)
        *reading = (struct reading){ .wanted = strcmp(name, "Device") != 0 && number <= UINT32_MAX,
                                     .node = (uint32_t)number };
    else if (sscanf(line, " pages free %llu", &number) == 1)
        reading->free = number;
    else if (sscanf(line, " spanned %llu", &number) == 1)
        reading->spanned = number;
    else if (sscanf(line, " start_pfn: %llu", &number) == 1)
        return add(zones, reading, number);
    return 0;
}

int zones_read(const char *path, struct zones *ret)
{
    struct reading reading = { 0 };
    char line[256];
    FILE *file = fopen(path, "re");
    int r = 0;

    ret->count = 0;
    if (!file)
        return -errno;
    while (r == 0 && fgets(line, sizeof(line), file))
        r = read_line(ret, &reading, line);
    if (r == 0 && (ferror(file) || ret->count == 0))
        r = -ENODATA;
    fclose(file);
    return r;
}

bool zones_overlap(const struct zones *zones)
{
    for (size_t i = 0; i < zones->count; i++) {
        for (size_t j = i + 1; j < zones->count; j++) {
            const struct zone *a = &zones->zone[i], *b = &zones->zone[j];

            if (a->node != b->node && a->start < b->end && b->start < a->end)
                return true;
        }
    }
    return false;
}

uint64_t zones_nodes(const struct zones *zones, uint64_t address, uint64_t length)
{
    uint64_t nodes = 0;

    for (size_t i = 0; i < zones->count; i++) {
        const struct zone *zone = &zones->zone[i];

        if (zone->node < 64 && address < zone->end &&
            (address >= zone->start || zone->start - address < length))
            nodes |= UINT64_C(1) << zone->node;
    }
    return nodes;
}
