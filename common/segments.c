/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Cutting scatter lists; see segments.h. */
#include "common/segments.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

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

static bool is_within(const struct dmabufd_constraints *c, const struct fit *fit)
{
    return c->dma_mask == 0 || fit->highest <= c->dma_mask;
}

/* How many of the constraints it breaks. */
static int broken(const struct dmabufd_constraints *c, const struct fit *fit)
{
    return !is_within(c, fit) + (fit->misaligned > 0) +
           (c->min_span > 0 && fit->smallest < c->min_span) +
           (c->max_segments > 0 && fit->segments > c->max_segments) +
           (is_contiguous(c) && fit->spans > 1);
}

static unsigned int bits_of(uint64_t address)
{
    return address ? 64 - (unsigned int)__builtin_clzll(address) : 0;
}

bool constraints_closer(const struct dmabufd_constraints *c, const struct fit *a,
                        const struct fit *b)
{
    int broken_a = broken(c, a), broken_b = broken(c, b);

    if (is_within(c, a) != is_within(c, b))
        return is_within(c, a);
    if (broken_a != broken_b)
        return broken_a < broken_b;
    if (!is_within(c, a) && bits_of(a->highest) != bits_of(b->highest))
        return a->highest < b->highest;
    if (a->segments != b->segments)
        return a->segments < b->segments;
    if (a->misaligned != b->misaligned)
        return a->misaligned < b->misaligned;
    return a->smallest > b->smallest;
}

/* A sentence that grows; what does not fit is left out. */
struct sentence {
    char text[FAULT_TEXT_MAX];
    size_t used;
};

static void __attribute__((format(printf, 2, 3)))
say(struct sentence *sentence, const char *format, ...)
{
    size_t room = sizeof(sentence->text) - sentence->used;
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(sentence->text + sentence->used, room, format, args);
    va_end(args);
    if (n > 0)
        sentence->used += (size_t)n < room ? (size_t)n : room - 1;
}

/* Bits, not addresses: the memory is not pinned for anybody any more. They are what a mask asks for. */
static void say_best(struct sentence *s, const struct dmabufd_constraints *c, const struct fit *fit)
{
    say(s, "the best: %zu spans, %llu segments, addresses of %u bits", fit->spans,
        (unsigned long long)fit->segments, bits_of(fit->highest));
    if (c->min_span > 0 && fit->smallest != UINT64_MAX)
        say(s, ", shortest span %llu", (unsigned long long)fit->smallest);
    if (c->alignment > 1)
        say(s, ", %llu off the alignment", (unsigned long long)fit->misaligned);
}

/* The two that only cut count where segments do. */
static void say_asked(struct sentence *s, const struct dmabufd_constraints *c)
{
    const char *comma = "";

    if (is_contiguous(c))
        say(s, "contiguous"), comma = ", ";
    if (c->dma_mask > 0)
        say(s, "%smask %#llx", comma, (unsigned long long)c->dma_mask), comma = ", ";
    if (c->max_segments > 0) {
        say(s, "%ssegments %u", comma, c->max_segments), comma = ", ";
        if (c->max_segment_size > 0)
            say(s, ", segment size %llu", (unsigned long long)c->max_segment_size);
        if (c->boundary > 0)
            say(s, ", boundary %llu", (unsigned long long)c->boundary);
    }
    if (c->min_span > 0)
        say(s, "%sshortest span %llu", comma, (unsigned long long)c->min_span), comma = ", ";
    if (c->alignment > 1)
        say(s, "%salignment %llu", comma, (unsigned long long)c->alignment);
}

int constraints_met(const struct dmabufd_constraints *c, const struct fit *fit, struct fault *fault)
{
    struct sentence sentence = { .used = 0 };

    if (broken(c, fit) == 0)
        return 0;
    if (!fault)
        return -ENOSPC;
    say_best(&sentence, c, fit);
    say(&sentence, "; asked: ");
    say_asked(&sentence, c);
    return fault_set(fault, DMABUFD_CODE_CONSTRAINTS, ENOSPC, "no memory that fits was found; %s",
                     sentence.text);
}
