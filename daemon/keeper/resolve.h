/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Resolve: from "what is at this IOVA?" to exact spans, whatever the kernel answers.
 *
 * IOMMU_IOAS_NOIOMMU_GET_PA was posted in three shapes: the length only an output that may reach
 * into a physically adjacent neighbour; an input where 0 means no limit; and, as merged, an input
 * that caps the output. Asked with what remains, and the answer cut to that, all three are right.
 */
#ifndef KEEPER_RESOLVE_H
#define KEEPER_RESOLVE_H

#include <stdint.h>

#include "common/fault.h"
#include "common/spans.h"

/** Longest run to ask for at once: the kernel walks it under a lock in steps of 4 KiB. */
#define RESOLVE_ASK_MAX (UINT64_C(64) << 20)

struct resolver {
    /**
     * ask() - one question to the kernel
     * @length: bytes of interest, 1..RESOLVE_ASK_MAX
     * @ret_pa: physical address of the byte at @iova
     * @ret_run: bytes contiguous from there, as the kernel says
     * Return: 0 or a negative errno of the ioctl.
     */
    int (*ask)(void *data, uint64_t iova, uint64_t length, uint64_t *ret_pa, uint64_t *ret_run);
    void *data;
    /** Page size if the memory is huge pages at IOVAs aligned to it: each is contiguous by
     *  construction, so one question a page is enough. 0: ask for runs. */
    uint64_t huge_page;
};

/**
 * resolve() - append the runs of @length bytes at @iova to @spans
 *
 * @iova and @length may be any byte. On failure @spans may have got some of the runs.
 *
 * Return: 0, or a negative errno with @fault: each errno of the ioctl has its own sentence; -EIO if
 * an answer makes no sense; -ENOMEM.
 */
int resolve(const struct resolver *resolver, uint64_t iova, uint64_t length, struct spans *spans,
            struct fault *fault);

#endif
