/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/resolve.h on random layouts: all three versions of the kernel's call against a
 * reference that looks at every page on its own. Cases with a name are in test-resolve.c.
 */
#include "tests/unit/cmocka-all.h"

#include "common/cleanup.h"
#include "daemon/keeper/resolve.h"
#include "tests/unit/getpa.h"
#include "tests/unit/support.h"

#define CLEANUP_SPANS CLEANUP(spans_deinit)
#define K4            UINT64_C(4096)
#define AREAS         6
#define PAGES         40 /* of one area */
#define ROUNDS        4000

/** Some areas, one behind the other in IOVA; where they are in memory is mixed. */
struct layout {
    struct getpa_area areas[AREAS];
    uint64_t pa[AREAS][PAGES];
    size_t area_count;
    uint64_t size; /* from the first byte to the last */
};

static void make_layout(struct layout *layout, uint64_t page_size, uint64_t *random)
{
    uint64_t iova = page_size * (1 + support_below(random, 1000));
    uint64_t pa = 0;

    *layout = (struct layout){ .area_count = 1 + support_below(random, AREAS) };
    for (size_t i = 0; i < layout->area_count; i++) {
        size_t pages = 1 + support_below(random, PAGES);

        for (size_t j = 0; j < pages; j++) {
            /* Mostly next to the one before, across areas too; else anywhere near. */
            if (support_below(random, 3) == 0)
                pa = page_size * support_below(random, 64);
            layout->pa[i][j] = pa;
            pa += page_size;
        }
        layout->areas[i] =
            (struct getpa_area){ iova + layout->size, page_size, pages, layout->pa[i] };
        layout->size += pages * page_size;
    }
}

/* Page by page: where the byte at offset is, and whether that joins what was before. */
static void assert_exact(const struct getpa *getpa, uint64_t iova, uint64_t length,
                         const struct spans *spans)
{
    uint64_t at = 0, before = 0;
    size_t i = 0;

    while (at < length) {
        uint64_t rest = K4 - ((iova + at) & (K4 - 1));
        uint64_t n = rest < length - at ? rest : length - at;
        uint64_t pa = 0;
        const struct dmabufd_span *span;

        assert_true(getpa_find(getpa, iova + at, &pa));
        if (at > 0 && (pa == 0 || before != pa))
            i++;
        assert_true(i < spans->count);
        span = &spans->list[i];
        assert_true(span->offset <= at);
        assert_true(at + n <= span->offset + span->length);
        assert_int_equal(span->dma_addr + (at - span->offset), pa);
        before = pa + n;
        at += n;
    }
    assert_int_equal(spans->count, i + 1);
    assert_int_equal(spans_end(spans), length);
    assert_int_equal(spans_check(spans->list, spans->count, length), 0);
}

/* A part of the layout, to the byte. */
static void check_part(const struct layout *layout, uint64_t huge_page, uint64_t *random)
{
    uint64_t offset = support_below(random, layout->size);
    uint64_t length = 1 + support_below(random, layout->size - offset);
    uint64_t iova = layout->areas[0].iova + offset;

    for (enum getpa_version version = 0; version < GETPA_VERSIONS; version++) {
        CLEANUP_SPANS struct spans spans = { 0 };
        struct getpa getpa = { .version = version,
                               .areas = layout->areas,
                               .area_count = layout->area_count,
                               .overshoot = support_random(random) >> 8 };
        struct resolver resolver = { .ask = getpa_ask, .data = &getpa, .huge_page = huge_page };

        assert_int_equal(resolve(&resolver, iova, length, &spans, NULL), 0);
        assert_exact(&getpa, iova, length, &spans);
        assert_true(getpa.shortest >= 1);
        assert_true(getpa.longest <= RESOLVE_ASK_MAX);
        if (huge_page)
            assert_int_equal(getpa.questions,
                             (iova + length - 1) / huge_page - iova / huge_page + 1);
    }
}

static void small_pages(void **state)
{
    static struct layout layout;
    uint64_t random = support_seed();

    (void)state;
    for (int i = 0; i < ROUNDS; i++) {
        make_layout(&layout, K4, &random);
        check_part(&layout, 0, &random);
    }
}

/* As huge pages, and as small pages of memory that happens to be contiguous in 2 MiB. */
static void large_pages(void **state)
{
    static struct layout layout;
    uint64_t random = support_seed();

    (void)state;
    for (int i = 0; i < ROUNDS / 100; i++) {
        make_layout(&layout, UINT64_C(2) << 20, &random);
        check_part(&layout, UINT64_C(2) << 20, &random);
        check_part(&layout, 0, &random);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),
        cmocka_unit_test(large_pages),
    };

    return cmocka_run_group_tests_name("resolve random", tests, NULL, NULL);
}
