/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cutting scatter lists; see segments.h. */
#include "common/segments.h"

#include <errno.h>
#include <stdbool.h>

#define FLAGS_NODE  (DMABUFD_NODE_PREFERRED | DMABUFD_NODE_STRICT)
#define FLAGS_KNOWN (DMABUFD_CONTIGUOUS | FLAGS_NODE)

static bool is_power_of_two(uint64_t n)
{
    return n != 0 && (n & (n - 1)) == 0;
}

static int bad(struct fault *fault, const char *what, uint64_t value, const char *rule)
{
    return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL, "%s %#llx: %s", what,
                     (unsigned long long)value, rule);
}

int constraints_check(const struct dmabufd_constraints *c, struct fault *fault)
{
    uint64_t alignment = c->alignment ? c->alignment : 1;

    if (c->flags & ~FLAGS_KNOWN || c->reserved)
        return bad(fault, "flags", c->flags, "not all of them are known");
    if ((c->flags & FLAGS_NODE) == FLAGS_NODE)
        return bad(fault, "flags", c->flags, "a node is either preferred or strict, not both");
    if (c->node && !(c->flags & FLAGS_NODE))
        return bad(fault, "node", c->node, "needs DMABUFD_NODE_PREFERRED or DMABUFD_NODE_STRICT");
    if (!is_power_of_two(alignment))
        return bad(fault, "alignment", alignment, "must be a power of two");
    if (c->boundary && !is_power_of_two(c->boundary))
        return bad(fault, "boundary", c->boundary, "must be a power of two");
    if (c->boundary && c->boundary < alignment)
        return bad(fault, "boundary", c->boundary, "must not be below the alignment");
    if (c->max_segment_size && c->max_segment_size < alignment)
        return bad(fault, "max_segment_size", c->max_segment_size,
                   "must not be below the alignment");
    if (c->dma_mask && (c->dma_mask & (c->dma_mask + 1)))
        return bad(fault, "dma_mask", c->dma_mask, "must be ones from bit 0 up, like 0xffffffff");
    return 0;
}

int segments_begin(struct dmabufd_segments *segments, const struct dmabufd_span *list, size_t count,
                   const struct dmabufd_constraints *constraints, uint64_t offset, uint64_t length)
{
    uint64_t size = count ? list[count - 1].offset + list[count - 1].length : 0;
    size_t low = 0, high = count;

    if (length == 0 || offset >= size || length > size - offset)
        return -ERANGE;
    while (high - low > 1) {
        size_t middle = low + (high - low) / 2;

        if (list[middle].offset <= offset)
            low = middle;
        else
            high = middle;
    }
    *segments = (struct dmabufd_segments){ .list = list,
                                           .count = count,
                                           .constraints = *constraints,
                                           .at = low,
                                           .offset = offset,
                                           .end = offset + length };
    return 0;
}

/* The longest segment that may begin at this address. */
static uint64_t longest(const struct dmabufd_constraints *c, uint64_t dma_addr)
{
    uint64_t length = UINT64_MAX;

    /* A multiple of the alignment, so that the next segment is aligned too. */
    if (c->max_segment_size)
        length = c->max_segment_size & ~((c->alignment ? c->alignment : 1) - 1);
    if (c->boundary && c->boundary - (dma_addr & (c->boundary - 1)) < length)
        length = c->boundary - (dma_addr & (c->boundary - 1));
    return length;
}

int segments_next(struct dmabufd_segments *segments, struct dmabufd_span *ret)
{
    const struct dmabufd_span *span = &segments->list[segments->at];
    uint64_t inside, length, most;

    if (segments->offset == segments->end)
        return 0;
    inside = segments->offset - span->offset;
    length = span->length - inside;
    if (length > segments->end - segments->offset)
        length = segments->end - segments->offset;
    most = longest(&segments->constraints, span->dma_addr + inside);
    if (length > most)
        length = most;
    *ret = (struct dmabufd_span){ segments->offset, span->dma_addr + inside, length };
    segments->offset += length;
    if (inside + length == span->length)
        segments->at++;
    return 1;
}

static uint64_t round_up_divide(uint64_t n, uint64_t by)
{
    return n / by + (n % by != 0);
}

/* How many segments a span becomes; counted, not walked, because there can be very many. */
static uint64_t count_segments(const struct dmabufd_constraints *c, const struct dmabufd_span *span)
{
    uint64_t most = UINT64_MAX, first, blocks, rest;

    if (c->max_segment_size)
        most = c->max_segment_size & ~((c->alignment ? c->alignment : 1) - 1);
    if (!c->boundary)
        return round_up_divide(span->length, most);
    first = c->boundary - (span->dma_addr & (c->boundary - 1));
    if (first >= span->length)
        return round_up_divide(span->length, most);
    blocks = (span->length - first) / c->boundary;
    rest = (span->length - first) % c->boundary;
    return round_up_divide(first, most) + blocks * round_up_divide(c->boundary, most) +
           round_up_divide(rest, most);
}

void constraints_fit(const struct dmabufd_constraints *constraints, const struct dmabufd_span *list,
                     size_t count, struct fit *ret)
{
    uint64_t alignment = constraints->alignment ? constraints->alignment : 1;

    *ret = (struct fit){ .smallest = UINT64_MAX, .spans = count };
    for (size_t i = 0; i < count; i++) {
        const struct dmabufd_span *span = &list[i];

        ret->segments += count_segments(constraints, span);
        if (span->dma_addr + span->length - 1 > ret->highest)
            ret->highest = span->dma_addr + span->length - 1;
        if (span->dma_addr & (alignment - 1))
            ret->misaligned++;
        if (i + 1 < count && span->length < ret->smallest)
            ret->smallest = span->length;
    }
}

static bool is_contiguous(const struct dmabufd_constraints *c)
{
    return c->flags & DMABUFD_CONTIGUOUS;
}

int constraints_met(const struct dmabufd_constraints *c, const struct fit *fit, struct fault *fault)
{
    if ((c->dma_mask == 0 || fit->highest <= c->dma_mask) && fit->misaligned == 0 &&
        (c->min_span == 0 || fit->smallest >= c->min_span) &&
        (c->max_segments == 0 || fit->segments <= c->max_segments) &&
        (!is_contiguous(c) || fit->spans == 1))
        return 0;
    /* Bits, not addresses: the memory is not pinned for anybody any more. */
    return fault_set(fault, DMABUFD_CODE_CONSTRAINTS, ENOSPC,
                     "no memory that fits was found; the best: %zu spans, %llu segments, addresses "
                     "of %u bits, shortest span %llu, %llu off the alignment; asked: segments %u, "
                     "mask %#llx, shortest span %llu, alignment %llu%s (0: any)",
                     fit->spans, (unsigned long long)fit->segments,
                     fit->highest ? 64 - (unsigned int)__builtin_clzll(fit->highest) : 0,
                     (unsigned long long)(fit->smallest == UINT64_MAX ? 0 : fit->smallest),
                     (unsigned long long)fit->misaligned, c->max_segments,
                     (unsigned long long)c->dma_mask, (unsigned long long)c->min_span,
                     (unsigned long long)c->alignment, is_contiguous(c) ? ", contiguous" : "");
}
