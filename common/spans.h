/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Spans: building a scatter list run by run, and checking one that came from elsewhere.
 *
 * The rules of a scatter list (law 3: maximal, ordered, gapless, never beyond the buffer) are
 * applied here and nowhere else. Where the addresses come from is the backends' business.
 */
#ifndef COMMON_SPANS_H
#define COMMON_SPANS_H

#include <stddef.h>
#include <stdint.h>

#include "common/dmabufd-types.h"

/** A scatter list that grows; zero-initialise it. */
struct spans {
    struct dmabufd_span *list;
    size_t count;
    size_t capacity;
};

/** spans_deinit() - free the list; allowed on a zeroed struct. */
void spans_deinit(struct spans *spans);

/** spans_end() - bytes covered so far: the offset of the next run. */
uint64_t spans_end(const struct spans *spans);

/**
 * spans_append() - the next @length bytes of the buffer are at @dma_addr
 *
 * Joined with the last span where both touch.
 *
 * Return: 0; -EINVAL if @length is 0; -EOVERFLOW if the run wraps the address space; -ENOMEM.
 */
int spans_append(struct spans *spans, uint64_t dma_addr, uint64_t length);

/**
 * spans_check() - is this the scatter list of a buffer of @size bytes
 *
 * Return: 0; -EBADMSG if it is empty, not gapless from 0 to @size, has an empty or wrapping span,
 * or two spans that should have been one.
 */
int spans_check(const struct dmabufd_span *list, size_t count, uint64_t size);

#endif
