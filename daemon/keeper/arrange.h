/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Arrange: which of the page frames at hand, in which order, make a buffer that meets a device's
 * constraints. Thinks only; search.c moves the pages.
 */
#ifndef KEEPER_ARRANGE_H
#define KEEPER_ARRANGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "common/segments.h"

/** A page that could be used. */
struct frame {
    uint64_t dma_addr;
    uint64_t offset; /* in the file it is in now, bytes */
    uint32_t source; /* which file that is; the caller's number */
};

/**
 * arrange() - choose
 * @frames: @count of them, all of @page_size bytes, no two the same; sorted by address afterwards
 * @wanted: how many pages the buffer has
 * @ret: @wanted frames in the order of the buffer
 * @ret_fit: how close they come; no spans: too few are below the mask and on the alignment
 *
 * The longest runs are taken first, so that there are as few spans as these frames allow; for one
 * span, the shortest run that is long enough, so that long ones last.
 *
 * Return: 0; -ENOSPC: these frames will not do; -ENOMEM.
 */
int arrange(struct frame *frames, size_t count, uint64_t page_size, size_t wanted,
            const struct dmabufd_constraints *constraints, struct frame *ret, struct fit *ret_fit);

#endif
