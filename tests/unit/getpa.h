/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * GET_PA: a kernel's answers about mapped memory, in each of the three shapes in which
 * IOMMU_IOAS_NOIOMMU_GET_PA was posted, over physical memory made up by a test.
 *
 * It knows nothing of what is done with the answers. What a running kernel says is asked by
 * tests/vm/contract-getpa.c.
 */
#ifndef UNIT_GETPA_H
#define UNIT_GETPA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum getpa_version {
    GETPA_POSTED,      /* the length is only an answer, and may reach beyond the area */
    GETPA_ZERO_IS_ALL, /* 0 asks for all, else the length is a cap; areas do not count */
    GETPA_MERGED,      /* 0 is EINVAL; capped by the length and by the end of the area */
    GETPA_VERSIONS
};

/** What one mapping call made: pages of one size at consecutive IOVAs. */
struct getpa_area {
    uint64_t iova;
    uint64_t page_size;
    size_t pages;
    const uint64_t *pa; /* of each page */
};

struct getpa {
    enum getpa_version version;
    const struct getpa_area *areas; /* in order of IOVA, none overlapping */
    size_t area_count;
    uint64_t overshoot; /* GETPA_POSTED goes so far beyond the last mapped byte */
    /* Scripted: the question with this number (from 1) is answered by... */
    size_t at;
    int error;                                   /* this negative errno, or */
    void (*lie)(uint64_t *pa, uint64_t *length); /* an answer changed by this */
    /* What was asked. */
    size_t questions;
    uint64_t shortest;
    uint64_t longest;
};

/** getpa_find() - where one byte is. Return: false if it is not mapped. */
bool getpa_find(const struct getpa *getpa, uint64_t iova, uint64_t *ret_pa);

/** getpa_ask() - a struct resolver's ask(); @data is a struct getpa. */
int getpa_ask(void *data, uint64_t iova, uint64_t length, uint64_t *ret_pa, uint64_t *ret_run);

#endif
