/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* keeper/arrange: which frames make a buffer that meets its constraints. */
#include "daemon/keeper/arrange.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka-all.h"
#include "tests/unit/support.h"

#define PAGE UINT64_C(0x200000)

static struct fit fit;

/* Frames at these multiples of PAGE, in this order in their file. */
static size_t frames_at(const unsigned int *pages, size_t count, struct frame *ret)
{
    for (size_t i = 0; i < count; i++)
        ret[i] = (struct frame){ .dma_addr = pages[i] * PAGE, .offset = i * PAGE, .source = 1 };
    return count;
}

#define FRAMES(list, ...)                                  \
    const unsigned int pages_[] = { __VA_ARGS__ };         \
    struct frame list[sizeof(pages_) / sizeof(pages_[0])]; \
    size_t count = frames_at(pages_, sizeof(pages_) / sizeof(pages_[0]), list)

static void expect(const struct frame *got, const unsigned int *pages, size_t count)
{
    for (size_t i = 0; i < count; i++)
        assert_int_equal(got[i].dma_addr / PAGE, pages[i]);
}

static void one_span_from_the_shortest_run(void **state)
{
    FRAMES(frames, 30, 10, 11, 12, 13, 14, 31, 32, 50, 20);
    const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS };
    struct frame got[5];

    (void)state;
    assert_int_equal(arrange(frames, count, PAGE, 3, &c, got, &fit), 0);
    expect(got, (const unsigned int[]){ 30, 31, 32 }, 3);
    assert_int_equal(arrange(frames, count, PAGE, 5, &c, got, &fit), 0);
    expect(got, (const unsigned int[]){ 10, 11, 12, 13, 14 }, 5);
    assert_int_equal(arrange(frames, count, PAGE, 1, &c, got, &fit), 0);
    assert_int_equal(got[0].dma_addr / PAGE, 50);
}

static void no_run_is_long_enough(void **state)
{
    FRAMES(frames, 1, 2, 4, 5, 7, 8);
    const struct dmabufd_constraints one = { .flags = DMABUFD_CONTIGUOUS };
    const struct dmabufd_constraints two = { .max_segments = 2 };
    struct frame got[4];

    (void)state;
    assert_int_equal(arrange(frames, count, PAGE, 3, &one, got, &fit), -ENOSPC);
    assert_int_equal(fit.spans, 2);
    assert_int_equal(arrange(frames, count, PAGE, 4, &two, got, &fit), 0);
    assert_int_equal(fit.spans, 2);
    assert_int_equal(arrange(frames, 4, PAGE, 5, &two, got, &fit), -ENOSPC);
    assert_int_equal(fit.spans, 0);
}

static void mask_and_alignment(void **state)
{
    FRAMES(frames, 3, 4, 5, 6, 7, 100, 101, 102, 103);
    const struct dmabufd_constraints low = { .dma_mask = 8 * PAGE - 1 };
    const struct dmabufd_constraints lower = { .dma_mask = 4 * PAGE - 1 };
    const struct dmabufd_constraints aligned = { .alignment = 4 * PAGE,
                                                 .flags = DMABUFD_CONTIGUOUS };
    struct frame got[5];

    (void)state;
    assert_int_equal(arrange(frames, count, PAGE, 5, &low, got, &fit), 0);
    expect(got, (const unsigned int[]){ 3, 4, 5, 6, 7 }, 5);
    assert_int_equal(arrange(frames, count, PAGE, 2, &lower, got, &fit), -ENOSPC);
    assert_int_equal(arrange(frames, count, PAGE, 4, &aligned, got, &fit), 0);
    assert_int_equal(got[0].dma_addr % (4 * PAGE), 0);
}

/* The aligned part of a run that begins off the alignment is used, too. */
static void alignment_inside_a_run(void **state)
{
    FRAMES(frames, 3, 4, 5, 6);
    const struct dmabufd_constraints c = { .alignment = 4 * PAGE, .flags = DMABUFD_CONTIGUOUS };
    struct frame got[3];

    (void)state;
    assert_int_equal(arrange(frames, count, PAGE, 3, &c, got, &fit), 0);
    expect(got, (const unsigned int[]){ 4, 5, 6 }, 3);
}

static void random_frames(void **state)
{
    uint64_t seed = support_seed();

    (void)state;
    for (int round = 0; round < 2000; round++) {
        struct frame frames[64], got[16];
        size_t count = 0, wanted = 1 + support_below(&seed, 16), longest = 0, run = 0;
        const struct dmabufd_constraints c = { .flags = DMABUFD_CONTIGUOUS };
        uint64_t here[80] = { 0 };
        int r;

        for (size_t i = 0; i < 64; i++) {
            uint64_t page = support_below(&seed, 80);

            if (here[page])
                continue;
            here[page] = 1;
            frames[count] = (struct frame){ .dma_addr = (page + 1) * PAGE, .offset = count * PAGE };
            count++;
        }
        for (size_t i = 0; i < 80; i++) {
            run = here[i] ? run + 1 : 0;
            longest = run > longest ? run : longest;
        }
        r = arrange(frames, count, PAGE, wanted, &c, got, &fit);
        assert_int_equal(r, longest >= wanted ? 0 : -ENOSPC);
        for (size_t i = 1; r == 0 && i < wanted; i++)
            assert_int_equal(got[i].dma_addr, got[i - 1].dma_addr + PAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_span_from_the_shortest_run),
        cmocka_unit_test(no_run_is_long_enough),
        cmocka_unit_test(mask_and_alignment),
        cmocka_unit_test(alignment_inside_a_run),
        cmocka_unit_test(random_frames),
    };

    return cmocka_run_group_tests_name("arrange", tests, NULL, NULL);
}
