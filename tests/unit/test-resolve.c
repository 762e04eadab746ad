/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/resolve.h: the same exact spans from all three versions of the kernel's call, few
 * questions, and no belief in answers that cannot be.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/keeper/resolve.h"
#include "tests/unit/getpa.h"
#include "tests/unit/support.h"

#define CLEANUP_SPANS CLEANUP(spans_deinit)
#define K4            UINT64_C(4096)
#define M2            (UINT64_C(2) << 20)
#define G1            (UINT64_C(1) << 30)
#define BASE          UINT64_C(0x40000000)

static int run_resolve(struct getpa *getpa, uint64_t huge_page, uint64_t iova, uint64_t length,
                       struct spans *spans, struct fault *fault)
{
    struct resolver resolver = { .ask = getpa_ask, .data = getpa, .huge_page = huge_page };

    return resolve(&resolver, iova, length, spans, fault);
}

static void assert_spans(const struct spans *spans, const struct dmabufd_span *list, size_t count)
{
    assert_int_equal(spans->count, count);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(spans->list[i].offset, list[i].offset);
        assert_int_equal(spans->list[i].dma_addr, list[i].dma_addr);
        assert_int_equal(spans->list[i].length, list[i].length);
    }
}

/** A question to all three versions, what they should lead to, and how many calls each may take. */
struct expectation {
    const struct getpa_area *areas;
    size_t area_count;
    uint64_t huge_page;
    uint64_t iova;
    uint64_t length;
    const struct dmabufd_span *list;
    size_t count;
    size_t questions[GETPA_VERSIONS];
};

static void assert_resolves(const struct expectation *e)
{
    /* Also one that promises more than there is, up to almost all of the address space. */
    static const uint64_t overshoots[] = { 0, K4, UINT64_MAX / 2 };

    for (enum getpa_version version = 0; version < GETPA_VERSIONS; version++) {
        for (size_t i = 0; i < ARRAY_LEN(overshoots); i++) {
            CLEANUP_SPANS struct spans spans = { 0 };
            struct fault fault = { 0 };
            struct getpa getpa = { .version = version,
                                   .areas = e->areas,
                                   .area_count = e->area_count,
                                   .overshoot = overshoots[i] };

            assert_int_equal(run_resolve(&getpa, e->huge_page, e->iova, e->length, &spans, &fault),
                             0);
            assert_spans(&spans, e->list, e->count);
            assert_int_equal(spans_check(spans.list, spans.count, e->length), 0);
            assert_int_equal(fault.error, 0);
            assert_true(getpa.shortest >= 1);
            assert_true(getpa.longest <= RESOLVE_ASK_MAX);
            /* The kernel would walk all that it is asked for. */
            if (e->huge_page)
                assert_int_equal(getpa.longest, 1);
            assert_int_equal(getpa.questions, e->questions[version]);
        }
    }
}

static void scattered_small_pages(void **state)
{
    static const uint64_t pa[] = { 0x9000, 0x7000, 0x8000, 0x1000, 0xb000, 0xa000 };
    static const struct getpa_area areas[] = { { BASE, K4, 6, pa } };
    static const struct dmabufd_span list[] = { { 0, 0x9000, K4 },
                                                { K4, 0x7000, 2 * K4 },
                                                { 3 * K4, 0x1000, K4 },
                                                { 4 * K4, 0xb000, K4 },
                                                { 5 * K4, 0xa000, K4 } };

    (void)state;
    assert_resolves(
        &(struct expectation){ areas, 1, 0, BASE, 6 * K4, list, ARRAY_LEN(list), { 5, 5, 5 } });
}

/* Whose pages follow ours, in IOVA and in memory, are not ours. */
static void neighbour_behind(void **state)
{
    static const uint64_t ours[] = { 0x10000, 0x11000, 0x12000 };
    static const uint64_t theirs[] = { 0x13000, 0x14000, 0x15000, 0x16000 };
    static const struct getpa_area areas[] = { { BASE, K4, 3, ours },
                                               { BASE + 3 * K4, K4, 4, theirs } };
    static const struct dmabufd_span all[] = { { 0, 0x10000, 3 * K4 } };
    static const struct dmabufd_span last[] = { { 0, 0x12000, K4 } };

    (void)state;
    assert_resolves(&(struct expectation){ areas, 2, 0, BASE, 3 * K4, all, 1, { 1, 1, 1 } });
    assert_resolves(&(struct expectation){ areas, 2, 0, BASE + 2 * K4, K4, last, 1, { 1, 1, 1 } });
}

/* A buffer mapped in pieces: where they touch, no seam is left. */
static void pieces_that_touch(void **state)
{
    static const uint64_t a[] = { 0x10000, 0x11000 }, b[] = { 0x12000, 0x20000 };
    static const uint64_t c[] = { 0x21000 }, d[] = { 0x9000, 0xa000 };
    static const struct getpa_area areas[] = { { BASE, K4, 2, a },
                                               { BASE + 2 * K4, K4, 2, b },
                                               { BASE + 4 * K4, K4, 1, c },
                                               { BASE + 5 * K4, K4, 2, d } };
    static const struct dmabufd_span list[] = { { 0, 0x10000, 3 * K4 },
                                                { 3 * K4, 0x20000, 2 * K4 },
                                                { 5 * K4, 0x9000, 2 * K4 } };

    (void)state;
    assert_resolves(
        &(struct expectation){ areas, 4, 0, BASE, 7 * K4, list, ARRAY_LEN(list), { 3, 3, 5 } });
}

static void huge_pages_of_2m(void **state)
{
    static const uint64_t pa[] = { 4 * G1,          4 * G1 + M2, G1,     4 * G1 + 2 * M2,
                                   4 * G1 + 3 * M2, 8 * G1,      7 * G1, 7 * G1 + M2 };
    static const struct getpa_area areas[] = { { BASE, M2, 8, pa } };
    static const struct dmabufd_span list[] = { { 0, 4 * G1, 2 * M2 },
                                                { 2 * M2, G1, M2 },
                                                { 3 * M2, 4 * G1 + 2 * M2, 2 * M2 },
                                                { 5 * M2, 8 * G1, M2 },
                                                { 6 * M2, 7 * G1, 2 * M2 } };

    (void)state;
    assert_resolves(
        &(struct expectation){ areas, 1, M2, BASE, 8 * M2, list, ARRAY_LEN(list), { 8, 8, 8 } });
}

static void huge_pages_of_1g(void **state)
{
    static const uint64_t pa[] = { 4 * G1, 5 * G1, 2 * G1 };
    static const struct getpa_area areas[] = { { BASE, G1, 3, pa } };
    static const struct dmabufd_span list[] = { { 0, 4 * G1, 2 * G1 }, { 2 * G1, 2 * G1, G1 } };

    (void)state;
    assert_resolves(
        &(struct expectation){ areas, 1, G1, BASE, 3 * G1, list, ARRAY_LEN(list), { 3, 3, 3 } });
}

/* A question a page, whatever part of it. */
static void within_huge_pages(void **state)
{
    static const uint64_t pa[] = { 6 * M2, 3 * M2, 4 * M2 };
    static const struct getpa_area areas[] = { { BASE, M2, 3, pa } };
    static const struct dmabufd_span across[] = { { 0, 6 * M2 + 0x80, M2 - 0x80 },
                                                  { M2 - 0x80, 3 * M2, M2 + 5 } };
    static const struct dmabufd_span within[] = { { 0, 6 * M2 + 3, 7 } };

    (void)state;
    assert_resolves(&(struct expectation){
        areas, 1, M2, BASE + 0x80, 2 * M2 - 0x80 + 5, across, 2, { 3, 3, 3 } });
    assert_resolves(&(struct expectation){ areas, 1, M2, BASE + 3, 7, within, 1, { 1, 1, 1 } });
}

static void within_small_pages(void **state)
{
    static const uint64_t pa[] = { 0x9000, 0x5000, 0x6000 };
    static const struct getpa_area areas[] = { { BASE, K4, 3, pa } };
    static const struct dmabufd_span across[] = { { 0, 0x9080, K4 - 0x80 },
                                                  { K4 - 0x80, 0x5000, K4 + 1 } };
    static const struct dmabufd_span byte[] = { { 0, 0x5fff, 1 } };
    static const struct dmabufd_span odd[] = { { 0, 0x5ffd, 7 } };

    (void)state;
    assert_resolves(&(struct expectation){
        areas, 1, 0, BASE + 0x80, 2 * K4 - 0x80 + 1, across, 2, { 2, 2, 2 } });
    assert_resolves(
        &(struct expectation){ areas, 1, 0, BASE + 2 * K4 - 1, 1, byte, 1, { 1, 1, 1 } });
    assert_resolves(
        &(struct expectation){ areas, 1, 0, BASE + 2 * K4 - 3, 7, odd, 1, { 1, 1, 1 } });
}

#define LONG_PAGES ((UINT64_C(200) << 20) / K4)

static void long_runs_are_asked_in_parts(void **state)
{
    static uint64_t pa[LONG_PAGES];
    static const struct getpa_area areas[] = { { BASE, K4, LONG_PAGES, pa } };
    static const struct dmabufd_span list[] = { { 0, 64 * G1, LONG_PAGES * K4 } };

    (void)state;
    for (uint64_t i = 0; i < LONG_PAGES; i++)
        pa[i] = 64 * G1 + i * K4;
    assert_resolves(
        &(struct expectation){ areas, 1, 0, BASE, LONG_PAGES * K4, list, 1, { 4, 4, 4 } });
}

/* The first and the last page of either space are pages like others. */
static void ends_of_the_address_spaces(void **state)
{
    static const uint64_t pa[] = { 0, K4, -K4, 0 };
    static const struct getpa_area low[] = { { 0, K4, 4, pa } };
    static const struct getpa_area high[] = { { -(4 * K4), K4, 4, pa } };
    static const struct dmabufd_span list[] = { { 0, 0, 2 * K4 },
                                                { 2 * K4, -K4, K4 },
                                                { 3 * K4, 0, K4 } };

    (void)state;
    assert_resolves(&(struct expectation){ low, 1, 0, 0, 4 * K4, list, 3, { 3, 3, 3 } });
    assert_resolves(&(struct expectation){ high, 1, 0, -(4 * K4), 4 * K4, list, 3, { 3, 3, 3 } });
}

/* Piece by piece into one list, as the backends do. */
static void goes_on_where_it_stopped(void **state)
{
    static const uint64_t pa[] = { 0x10000, 0x11000, 0x12000, 0x20000 };
    static const struct getpa_area areas[] = { { BASE, K4, 4, pa } };
    static const struct dmabufd_span list[] = { { 0, 0x10000, 3 * K4 }, { 3 * K4, 0x20000, K4 } };
    CLEANUP_SPANS struct spans spans = { 0 };
    struct getpa getpa = { .version = GETPA_MERGED, .areas = areas, .area_count = 1 };

    (void)state;
    assert_int_equal(run_resolve(&getpa, 0, BASE, 2 * K4, &spans, NULL), 0);
    assert_int_equal(run_resolve(&getpa, 0, BASE + 2 * K4, 2 * K4, &spans, NULL), 0);
    assert_spans(&spans, list, 2);
}

static void nothing_or_wrapping(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };
    struct getpa getpa = { .version = GETPA_MERGED };
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(run_resolve(&getpa, 0, BASE, 0, &spans, &fault), -EINVAL);
    assert_int_equal(fault.code, DMABUFD_CODE_INTERNAL);
    assert_int_equal(run_resolve(&getpa, 0, UINT64_MAX, 2, &spans, &fault), -EINVAL);
    assert_int_equal(run_resolve(&getpa, 0, 2, UINT64_MAX, &spans, &fault), -EINVAL);
    assert_int_equal(getpa.questions, 0);
    assert_int_equal(spans.count, 0);
}

static const uint64_t four_pages[] = { 0x9000, 0x7000, 0x5000, 0x3000 };
static const struct getpa_area four[] = { { BASE, K4, 4, four_pages } };

static void each_error_has_its_sentence(void **state)
{
    static const struct {
        int error;
        enum dmabufd_code code;
    } samples[] = {
        { EPERM, DMABUFD_CODE_BACKEND },      { ENOENT, DMABUFD_CODE_INTERNAL },
        { EOPNOTSUPP, DMABUFD_CODE_BACKEND }, { ENOTTY, DMABUFD_CODE_BACKEND },
        { EINVAL, DMABUFD_CODE_BACKEND },     { EOVERFLOW, DMABUFD_CODE_INTERNAL },
        { EFAULT, DMABUFD_CODE_BACKEND },     { ENOMEM, DMABUFD_CODE_BACKEND },
    };
    static struct fault faults[ARRAY_LEN(samples)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        CLEANUP_SPANS struct spans spans = { 0 };
        struct getpa getpa = {
            .areas = four, .area_count = 1, .at = 1 + i % 4, .error = -samples[i].error
        };

        assert_int_equal(run_resolve(&getpa, 0, BASE, 4 * K4, &spans, &faults[i]),
                         -samples[i].error);
        assert_int_equal(faults[i].error, samples[i].error);
        assert_int_equal(faults[i].code, samples[i].code);
        /* It ended there and then. */
        assert_int_equal(getpa.questions, getpa.at);
        assert_true(strlen(faults[i].text) > 20);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(faults[i].text, faults[j].text);
    }
}

static void hole_in_the_mapping(void **state)
{
    CLEANUP_SPANS struct spans spans = { 0 };
    struct getpa getpa = { .version = GETPA_MERGED, .areas = four, .area_count = 1 };
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(run_resolve(&getpa, 0, BASE, 5 * K4, &spans, &fault), -ENOENT);
    assert_int_equal(fault.error, ENOENT);
}

static void lie_zero(uint64_t *pa, uint64_t *run)
{
    (void)pa;
    *run = 0;
}

static void lie_short(uint64_t *pa, uint64_t *run)
{
    (void)pa;
    *run = K4 - 0x80 - 1;
}

static void lie_misplaced(uint64_t *pa, uint64_t *run)
{
    (void)run;
    *pa += 0x200;
}

static void lie_misplaced_by_one(uint64_t *pa, uint64_t *run)
{
    (void)run;
    *pa -= 1;
}

static void lie_wraps(uint64_t *pa, uint64_t *run)
{
    *pa = (-K4) | (*pa & (K4 - 1));
    *run = 3 * K4;
}

/* One within a page of 4 KiB, so that only the page size of the memory tells. */
static void lie_within_huge(uint64_t *pa, uint64_t *run)
{
    (void)run;
    *pa += K4;
}

static void assert_disbelieved(struct getpa *getpa, uint64_t huge_page, uint64_t iova,
                               uint64_t length)
{
    for (enum getpa_version version = 0; version < GETPA_VERSIONS; version++) {
        CLEANUP_SPANS struct spans spans = { 0 };
        struct fault fault = { 0 };

        getpa->version = version;
        getpa->questions = 0;
        assert_int_equal(run_resolve(getpa, huge_page, iova, length, &spans, &fault), -EIO);
        assert_int_equal(fault.error, EIO);
        assert_int_equal(fault.code, DMABUFD_CODE_BACKEND);
        assert_int_equal(getpa->questions, getpa->at);
    }
}

static void answers_that_cannot_be(void **state)
{
    void (*const lies[])(uint64_t * pa, uint64_t * run) = { lie_zero, lie_short, lie_misplaced,
                                                            lie_misplaced_by_one, lie_wraps };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        for (size_t at = 1; at <= 3; at++) {
            struct getpa getpa = { .areas = four, .area_count = 1, .at = at, .lie = lies[i] };

            /* The first page from its byte 0x80 on, so that a part of a page is at stake too. */
            assert_disbelieved(&getpa, 0, at == 1 ? BASE + 0x80 : BASE, 4 * K4 - 0x80);
        }
    }
}

static void answers_that_cannot_be_of_huge_pages(void **state)
{
    static const uint64_t pa[] = { 6 * M2, 3 * M2 };
    static const struct getpa_area areas[] = { { BASE, M2, 2, pa } };
    void (*const lies[])(uint64_t * pa, uint64_t * run) = { lie_zero, lie_misplaced,
                                                            lie_misplaced_by_one, lie_within_huge,
                                                            lie_wraps };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lies); i++) {
        for (size_t at = 1; at <= 2; at++) {
            struct getpa getpa = { .areas = areas, .area_count = 1, .at = at, .lie = lies[i] };

            assert_disbelieved(&getpa, M2, BASE, 2 * M2);
        }
    }
}

static void lie_less_than_it_could(uint64_t *pa, uint64_t *run)
{
    (void)pa;
    *run = K4;
}

/* Less than there is, but whole pages, is only more questions. */
static void modest_answers_are_believed(void **state)
{
    static const uint64_t pa[] = { 0x10000, 0x11000, 0x12000, 0x13000 };
    static const struct getpa_area areas[] = { { BASE, K4, 4, pa } };
    static const struct dmabufd_span list[] = { { 0, 0x10000, 4 * K4 } };
    CLEANUP_SPANS struct spans spans = { 0 };
    struct getpa getpa = { .version = GETPA_MERGED,
                           .areas = areas,
                           .area_count = 1,
                           .at = 1,
                           .lie = lie_less_than_it_could };

    (void)state;
    assert_int_equal(run_resolve(&getpa, 0, BASE, 4 * K4, &spans, NULL), 0);
    assert_spans(&spans, list, 1);
    assert_int_equal(getpa.questions, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(scattered_small_pages),
        cmocka_unit_test(neighbour_behind),
        cmocka_unit_test(pieces_that_touch),
        cmocka_unit_test(huge_pages_of_2m),
        cmocka_unit_test(huge_pages_of_1g),
        cmocka_unit_test(within_huge_pages),
        cmocka_unit_test(within_small_pages),
        cmocka_unit_test(long_runs_are_asked_in_parts),
        cmocka_unit_test(ends_of_the_address_spaces),
        cmocka_unit_test(goes_on_where_it_stopped),
        cmocka_unit_test(nothing_or_wrapping),
        cmocka_unit_test(each_error_has_its_sentence),
        cmocka_unit_test(hole_in_the_mapping),
        cmocka_unit_test(answers_that_cannot_be),
        cmocka_unit_test(answers_that_cannot_be_of_huge_pages),
        cmocka_unit_test(modest_answers_are_believed),
    };

    return cmocka_run_group_tests_name("resolve", tests, NULL, NULL);
}
