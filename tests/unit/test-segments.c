/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/segments: cutting scatter lists for a device, and measuring how close one comes. Random
 * layouts and constraints against a naive reference that goes byte by byte, or where there are too
 * many, granule by granule.
 */
#include "common/segments.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "tests/unit/cmocka-all.h"
#include "tests/unit/support.h"

#define GRAIN     64U /* of random layouts: small, so that the reference can afford to look at all */
#define GRAINS    512U
#define ALIGN_MAX 4096U

static uint64_t seed;

static uint64_t pick(uint64_t below)
{
    return support_below(&seed, below);
}

/* A maximal scatter list of @grains grains; @step: some spans begin on a multiple of that, so that a
 * large alignment is met now and then. */
static size_t random_list(struct dmabufd_span *list, uint64_t grains, uint64_t step)
{
    uint64_t offset = 0, address = GRAIN * (1 + pick(64));
    size_t count = 0;

    while (offset < grains * GRAIN) {
        uint64_t length = GRAIN * (1 + pick(40));

        if (pick(8) > 0)
            address = (address + step - 1) / step * step;
        if (length > grains * GRAIN - offset)
            length = grains * GRAIN - offset;
        list[count++] = (struct dmabufd_span){ offset, address, length };
        offset += length;
        address += length + GRAIN * (1 + pick(50));
    }
    return count;
}

/* Of the order of what the lists have, so that each is met about as often as not. */
static struct dmabufd_constraints random_constraints(void)
{
    struct dmabufd_constraints c = { 0 };

    if (pick(2))
        c.alignment = UINT64_C(1) << pick(13);
    if (pick(2))
        c.boundary = (c.alignment > GRAIN ? c.alignment : GRAIN) << pick(7);
    if (pick(2))
        c.max_segment_size = (c.alignment ? c.alignment : 1) + pick(3000);
    if (pick(2))
        c.dma_mask = (UINT64_C(1) << (10 + pick(10))) - 1;
    if (pick(2))
        c.min_span = 1 + pick(2 * GRAIN);
    if (pick(2))
        c.max_segments = (uint32_t)(1 + pick(30));
    if (pick(4) == 0)
        c.flags = DMABUFD_CONTIGUOUS;
    return c;
}

static uint64_t address_of(const struct dmabufd_span *list, size_t count, uint64_t offset)
{
    for (size_t i = 0; i < count; i++) {
        if (offset - list[i].offset < list[i].length)
            return list[i].dma_addr + (offset - list[i].offset);
    }
    fail_msg("offset %llu is nowhere", (unsigned long long)offset);
    return 0;
}

/* May one segment reach from @offset to @end: contiguous, not too long, over no boundary? */
static bool allowed(const struct dmabufd_span *list, size_t count,
                    const struct dmabufd_constraints *c, uint64_t offset, uint64_t end)
{
    uint64_t first = address_of(list, count, offset);
    uint64_t alignment = c->alignment ? c->alignment : 1;

    for (uint64_t at = offset; at < end; at++) {
        if (address_of(list, count, at) != first + (at - offset))
            return false;
    }
    if (c->max_segment_size && end - offset > c->max_segment_size / alignment * alignment)
        return false;
    return !c->boundary || first / c->boundary == (first + (end - offset) - 1) / c->boundary;
}

/* Covers exactly, breaks no rule, and no segment could have been a byte longer. */
static uint64_t check_iteration(const struct dmabufd_span *list, size_t count,
                                const struct dmabufd_constraints *c, uint64_t offset,
                                uint64_t length)
{
    struct dmabufd_segments segments;
    struct dmabufd_span segment;
    uint64_t at = offset, n = 0;

    assert_int_equal(segments_begin(&segments, list, count, c, offset, length), 0);
    while (segments_next(&segments, &segment)) {
        assert_int_equal(segment.offset, at);
        assert_int_equal(segment.dma_addr, address_of(list, count, at));
        assert_true(segment.length > 0 && segment.length <= offset + length - at);
        assert_true(allowed(list, count, c, at, at + segment.length));
        at += segment.length;
        n++;
        if (at < offset + length)
            assert_false(allowed(list, count, c, segment.offset, at + 1));
    }
    assert_int_equal(at, offset + length);
    assert_int_equal(segments_next(&segments, &segment), 0);
    return n;
}

/* Where all spans begin on the alignment, all segments do. */
static void check_alignment(const struct dmabufd_span *list, size_t count,
                            const struct dmabufd_constraints *c, uint64_t size)
{
    struct dmabufd_segments segments;
    struct dmabufd_span segment;

    assert_int_equal(segments_begin(&segments, list, count, c, 0, size), 0);
    while (segments_next(&segments, &segment))
        assert_int_equal(segment.dma_addr % (c->alignment ? c->alignment : 1), 0);
}

/* How close it comes, by looking at each granule: is it the first of a span, where is it. */
static struct fit naive_fit(const struct dmabufd_span *list, size_t count,
                            const struct dmabufd_constraints *c, uint64_t size)
{
    struct fit fit = { .smallest = UINT64_MAX };
    uint64_t alignment = c->alignment ? c->alignment : 1, begun = 0;

    for (uint64_t at = 0; at < size; at += GRAIN) {
        uint64_t address = address_of(list, count, at);

        if (at == 0 || address != address_of(list, count, at - GRAIN) + GRAIN) {
            if (at > 0 && at - begun < fit.smallest)
                fit.smallest = at - begun;
            fit.misaligned += address % alignment != 0;
            fit.spans++;
            begun = at;
        }
        if (address + GRAIN - 1 > fit.highest)
            fit.highest = address + GRAIN - 1;
    }
    return fit;
}

/* The fewest segments: from each granule on, one segment and the fewest that the rest takes. Cuts are
 * tried at every granule, not only at the last one that is allowed. */
static uint64_t fewest_segments(const struct dmabufd_span *list, size_t count,
                                const struct dmabufd_constraints *c, uint64_t grains)
{
    uint64_t fewest[GRAINS + 1] = { 0 };

    for (uint64_t from = grains; from-- > 0;) {
        uint64_t best = UINT64_MAX;

        for (uint64_t to = from + 1;
             to <= grains && allowed(list, count, c, from * GRAIN, to * GRAIN); to++) {
            if (fewest[to] != UINT64_MAX && fewest[to] + 1 < best)
                best = fewest[to] + 1;
        }
        fewest[from] = best;
    }
    return fewest[0];
}

/* What each sentence of struct dmabufd_constraints says, read off the granules. */
static bool naive_met(const struct dmabufd_span *list, size_t count,
                      const struct dmabufd_constraints *c, uint64_t size, uint64_t segments)
{
    uint64_t alignment = c->alignment ? c->alignment : 1, length = GRAIN;

    if (c->max_segments && segments > c->max_segments)
        return false;
    for (uint64_t at = 0; at < size; at += GRAIN) {
        uint64_t address = address_of(list, count, at);
        bool first = at == 0 || address != address_of(list, count, at - GRAIN) + GRAIN;

        if (c->dma_mask && ((address + GRAIN - 1) & ~c->dma_mask))
            return false;
        if (first && address % alignment)
            return false;
        if (first && at > 0 && ((c->flags & DMABUFD_CONTIGUOUS) || length < c->min_span))
            return false;
        length = first ? GRAIN : length + GRAIN;
    }
    return true;
}

static void assert_fit(const struct fit *got, const struct fit *expected)
{
    assert_int_equal(got->spans, expected->spans);
    assert_int_equal(got->highest, expected->highest);
    assert_int_equal(got->misaligned, expected->misaligned);
    assert_int_equal(got->smallest, expected->smallest);
}

/* How often each answer came: a test of one answer would be none. */
static struct {
    unsigned int checked;
    unsigned int met;
    unsigned int minimal;
} seen;

static void check_layout(const struct dmabufd_span *list, size_t count,
                         const struct dmabufd_constraints *c, uint64_t grains)
{
    uint64_t alignment = c->alignment ? c->alignment : 1;
    uint64_t size = grains * GRAIN, offset = pick(size), n;
    struct fit fit, expected = naive_fit(list, count, c, size);
    bool met;

    n = check_iteration(list, count, c, 0, size);
    if (expected.misaligned == 0)
        check_alignment(list, count, c, size);
    constraints_fit(c, list, count, &fit);
    assert_int_equal(fit.segments, n);
    assert_fit(&fit, &expected);
    met = naive_met(list, count, c, size, n);
    assert_int_equal(constraints_met(c, &fit, NULL), met ? 0 : -ENOSPC);
    /* The reference cuts between granules only. */
    if (c->max_segment_size / alignment * alignment % GRAIN == 0) {
        assert_int_equal(n, fewest_segments(list, count, c, grains));
        seen.minimal++;
    }
    check_iteration(list, count, c, offset, 1 + pick(size - offset));
    seen.checked++;
    seen.met += met;
}

static void random_layouts(void **state)
{
    struct dmabufd_span list[GRAINS];

    (void)state;
    memset(&seen, 0, sizeof(seen));
    for (int round = 0; round < 1500; round++) {
        struct dmabufd_constraints c = random_constraints();
        uint64_t grains = 1 + pick(96);
        size_t count = random_list(list, grains, c.alignment > GRAIN ? c.alignment : GRAIN);

        if (round % 2)
            c.max_segment_size = (c.max_segment_size + GRAIN - 1) / GRAIN * GRAIN;
        if (constraints_check(&c, NULL) < 0)
            fail_msg("these make sense");
        check_layout(list, count, &c, grains);
    }
    print_message("# %u layouts, %u met, %u minimal\n", seen.checked, seen.met, seen.minimal);
    assert_true(seen.met > 100 && seen.checked - seen.met > 100 && seen.minimal > 100);
}

static void ranges_outside_are_refused(void **state)
{
    const struct dmabufd_span list[] = { { 0, 4096, 4096 }, { 4096, 65536, 4096 } };
    const struct dmabufd_constraints none = { 0 };
    struct dmabufd_segments s;

    (void)state;
    assert_int_equal(segments_begin(&s, list, 2, &none, 0, 0), -ERANGE);
    assert_int_equal(segments_begin(&s, list, 2, &none, 8192, 1), -ERANGE);
    assert_int_equal(segments_begin(&s, list, 2, &none, 8191, 2), -ERANGE);
    assert_int_equal(segments_begin(&s, list, 2, &none, 1, UINT64_MAX), -ERANGE);
    assert_int_equal(segments_begin(&s, list, 0, &none, 0, 1), -ERANGE);
    assert_int_equal(segments_begin(&s, list, 2, &none, 8191, 1), 0);
}

static void assert_bad(struct dmabufd_constraints c, const char *names)
{
    struct fault fault = { 0 };

    assert_int_equal(constraints_check(&c, &fault), -EINVAL);
    assert_int_equal(fault.code, DMABUFD_CODE_INVALID);
    assert_non_null(strstr(fault.text, names));
}

static void contradictions_are_named(void **state)
{
    (void)state;
    assert_bad((struct dmabufd_constraints){ .alignment = 3 }, "alignment");
    assert_bad((struct dmabufd_constraints){ .boundary = 100 }, "boundary");
    assert_bad((struct dmabufd_constraints){ .boundary = 64, .alignment = 128 }, "boundary");
    assert_bad((struct dmabufd_constraints){ .max_segment_size = 64, .alignment = 128 },
               "max_segment_size");
    assert_bad((struct dmabufd_constraints){ .dma_mask = 0xfffff0ff }, "dma_mask");
    assert_bad((struct dmabufd_constraints){ .flags = 8 }, "flags");
    assert_bad((struct dmabufd_constraints){ .reserved = 1 }, "flags");
    assert_bad((struct dmabufd_constraints){ .flags =
                                                 DMABUFD_NODE_STRICT | DMABUFD_NODE_PREFERRED },
               "not both");
    assert_bad((struct dmabufd_constraints){ .node = 1 }, "node 0x1");
    assert_bad((struct dmabufd_constraints){ .node = 1, .flags = DMABUFD_CONTIGUOUS }, "node 0x1");
    assert_int_equal(
        constraints_check(&(struct dmabufd_constraints){ .dma_mask = UINT64_MAX }, NULL), 0);
}

/* One list, every constraint just met and just missed. */
static void fit_decides_at_the_edge(void **state)
{
    const struct dmabufd_span list[] = { { 0, 0x10000, 0x3000 }, { 0x3000, 0x20000, 0x1000 } };
    const struct {
        struct dmabufd_constraints c;
        bool met;
    } table[] = {
        { { .dma_mask = 0x3ffff }, true },
        { { .dma_mask = 0x1ffff }, false },
        { { .max_segments = 2 }, true },
        { { .max_segments = 1 }, false },
        { { .min_span = 0x3000 }, true },
        { { .min_span = 0x3001 }, false },
        { { .alignment = 0x10000 }, true },
        { { .alignment = 0x20000 }, false },
        { { .flags = DMABUFD_CONTIGUOUS }, false },
        { { .max_segments = 4, .max_segment_size = 0x1000 }, true },
        { { .max_segments = 3, .max_segment_size = 0x1000 }, false },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct fault fault = { 0 };
        struct fit fit;

        constraints_fit(&table[i].c, list, 2, &fit);
        assert_int_equal(constraints_met(&table[i].c, &fit, &fault), table[i].met ? 0 : -ENOSPC);
        assert_int_equal(fault.code, table[i].met ? 0 : DMABUFD_CODE_CONSTRAINTS);
    }
    {
        const struct dmabufd_constraints one = { .flags = DMABUFD_CONTIGUOUS };
        struct fit fit;

        constraints_fit(&one, list, 1, &fit);
        assert_int_equal(constraints_met(&one, &fit, NULL), 0);
    }
}

/* What a person reads: how close it came where something was asked, and what that was. */
static void the_sentence_is_complete(void **state)
{
    const struct dmabufd_span list[] = { { 0, 0x10000, 0x100000 },
                                         { 0x100000, 0x13fff0000, 0x10000 } };
    const struct {
        struct dmabufd_constraints c;
        const char *says; /* behind what they have in common */
    } table[] = {
        { { .dma_mask = 0xfffffff }, "2 segments, addresses of 33 bits; asked: mask 0xfffffff" },
        { { .flags = DMABUFD_CONTIGUOUS }, "2 segments, addresses of 33 bits; asked: contiguous" },
        { { .max_segments = 1 }, "2 segments, addresses of 33 bits; asked: segments 1" },
        { { .max_segments = 255, .max_segment_size = 4096 },
          "272 segments, addresses of 33 bits; asked: segments 255, segment size 4096" },
        { { .max_segments = 16, .boundary = 65536 },
          "17 segments, addresses of 33 bits; asked: segments 16, boundary 65536" },
        { { .min_span = 0x100001 },
          "2 segments, addresses of 33 bits, shortest span 1048576; asked: shortest span 1048577" },
        { { .alignment = 0x20000 },
          "2 segments, addresses of 33 bits, 2 off the alignment; asked: alignment 131072" },
        /* These two say nothing about why the mask is not met. */
        { { .dma_mask = 0xffffffff, .max_segment_size = 4096, .boundary = 8192 },
          "272 segments, addresses of 33 bits; asked: mask 0xffffffff" },
        { { .dma_mask = 0xffffffff,
            .max_segments = 200,
            .max_segment_size = 8192,
            .boundary = 65536,
            .min_span = 65536,
            .alignment = 4096,
            .flags = DMABUFD_CONTIGUOUS },
          "136 segments, addresses of 33 bits, shortest span 1048576, 0 off the alignment; asked: "
          "contiguous, mask 0xffffffff, segments 200, segment size 8192, boundary 65536, shortest "
          "span 65536, alignment 4096" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        char expected[FAULT_TEXT_MAX];
        struct fault fault = { 0 };
        struct fit fit;

        constraints_fit(&table[i].c, list, 2, &fit);
        assert_int_equal(constraints_met(&table[i].c, &fit, &fault), -ENOSPC);
        snprintf(expected, sizeof(expected), "no memory that fits was found; the best: 2 spans, %s",
                 table[i].says);
        assert_string_equal(fault.text, expected);
    }
}

/* Everything at its longest is cut, not written beyond its end. */
static void the_longest_sentence_is_cut(void **state)
{
    const struct dmabufd_constraints c = { .dma_mask = UINT64_MAX >> 1,
                                           .max_segments = UINT32_MAX,
                                           .max_segment_size = UINT64_MAX,
                                           .boundary = UINT64_C(1) << 63,
                                           .min_span = UINT64_MAX,
                                           .alignment = UINT64_C(1) << 63,
                                           .flags = DMABUFD_CONTIGUOUS };
    const struct fit fit = { .segments = UINT64_MAX,
                             .highest = UINT64_MAX,
                             .misaligned = UINT64_MAX,
                             .smallest = UINT64_MAX - 1,
                             .spans = SIZE_MAX };
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(constraints_met(&c, &fit, &fault), -ENOSPC);
    assert_int_equal(strlen(fault.text), FAULT_TEXT_MAX - 1);
    assert_non_null(strstr(fault.text, "addresses of 64 bits"));
}

/* From the closest to the farthest. */
static void attempts_have_an_order(void **state)
{
    const struct dmabufd_constraints c = {
        .dma_mask = 0xfffffff, .max_segments = 4, .min_span = 8192, .alignment = 8192
    };
    const struct fit fits[] = {
        { .highest = 0xfffffff, .segments = 5, .smallest = 16384, .spans = 5 },
        { .highest = 0xfffffff, .segments = 5, .smallest = 8192, .spans = 5 },
        { .highest = 0xfffffff, .segments = 6, .smallest = 16384, .spans = 6 },
        { .highest = 0xfffffff, .segments = 5, .smallest = 4096, .spans = 5 },
        { .highest = 0xfffffff, .segments = 5, .smallest = 4096, .misaligned = 1, .spans = 5 },
        { .highest = 0xfffffff, .segments = 5, .smallest = 4096, .misaligned = 3, .spans = 5 },
        /* One constraint, and it is the one that counts most. */
        { .highest = 0x10000000, .segments = 4, .smallest = 8192, .spans = 4 },
        { .highest = 0x80000000, .segments = 1, .smallest = UINT64_MAX, .spans = 1 },
        { .highest = 0x10000000, .segments = 5, .smallest = 8192, .spans = 5 },
    };
    size_t count = sizeof(fits) / sizeof(fits[0]);

    (void)state;
    for (size_t i = 0; i < count; i++) {
        for (size_t j = 0; j < count; j++)
            assert_int_equal(constraints_closer(&c, &fits[i], &fits[j]), i < j);
    }
}

/* 2^40 segments are counted, not walked. */
static void huge_counts_are_quick(void **state)
{
    const struct dmabufd_span list[] = { { 0, 4096, UINT64_C(1) << 52 } };
    const struct dmabufd_constraints c = { .max_segment_size = 4096, .boundary = 1 << 20 };
    struct fit fit;

    (void)state;
    constraints_fit(&c, list, 1, &fit);
    assert_int_equal(fit.segments, UINT64_C(1) << 40);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_layouts),
        cmocka_unit_test(ranges_outside_are_refused),
        cmocka_unit_test(contradictions_are_named),
        cmocka_unit_test(fit_decides_at_the_edge),
        cmocka_unit_test(huge_counts_are_quick),
        cmocka_unit_test(the_sentence_is_complete),
        cmocka_unit_test(the_longest_sentence_is_cut),
        cmocka_unit_test(attempts_have_an_order),
    };

    seed = support_seed();
    return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
