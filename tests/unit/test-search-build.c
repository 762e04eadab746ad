/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/search.h and build.h: the pages of a buffer in order, and what a whole request is made
 * of when its pages have to be searched for.
 */
#include <errno.h>
#include <string.h>

#include "daemon/keeper/build.h"
#include "tests/unit/cmocka-all.h"
#include "tests/unit/hugemodel.h"
#include "tests/unit/hugepages.h"

#define LOW ((UINT64_C(1) << 30) - 1)

/* At least what the search and the order of a test take. */
#define CALLS 40U

static const struct dmabufd_constraints one_run = { .flags = DMABUFD_CONTIGUOUS };

static struct fault fault;

/* ---- the order of pages ---- */

static int tidy(void)
{
    return search_tidy(buffer, &memory, &model.base, &effort, &fault);
}

/* From the top down, with a hole. */
static void untidy_buffer(void)
{
    host();
    give_apart(1000, 10);
    for (unsigned int i = 1; i <= BUFFER; i++)
        give_free(i < 4 ? i : i + 1);
    make_buffer();
    assert_int_equal(buffer->spans.count, BUFFER);
}

static void assert_tidy(void)
{
    assert_true(is_whole());
    assert_int_equal(buffer->spans.count, 2);
    assert_int_equal(buffer->spans.list[0].length + buffer->spans.list[1].length, buffer->size);
}

static void pages_are_put_in_order(void **state)
{
    (void)state;
    untidy_buffer();
    assert_int_equal(tidy(), 0);
    assert_tidy();
    assert_int_equal(model.least_free, 10);
    end(0);
    /* The same pages, and no others: nothing touches anything here. */
    scattered_buffer(10, 0);
    assert_int_equal(tidy(), 0);
    assert_true(is_whole());
    assert_int_equal(buffer->spans.count, BUFFER);
    for (size_t i = 0; i < BUFFER; i++)
        assert_true(buffer->spans.list[i].dma_addr < 1000 * PAGE_2M);
    end(0);
}

static void tidying_that_fails_leaves_it_whole(void **state)
{
    size_t calls;

    (void)state;
    untidy_buffer();
    assert_int_equal(tidy(), 0);
    calls = model.calls;
    end(0);
    for (size_t at = 1; at <= calls; at++) {
        untidy_buffer();
        model.fails_at = at;
        assert_int_equal(tidy(), 0);
        assert_true(is_whole());
        assert_int_equal(model.free_count, 10);
        /* Pages that were given back may have changed places, but no more than that. */
        assert_true(buffer->spans.count <= BUFFER);
        end(0);
        untidy_buffer();
        model.cancelled_at = at;
        assert_int_equal(tidy(), at < calls - 1 ? -ECANCELED : 0);
        end(0);
    }
}

static void tidying_has_an_end(void **state)
{
    (void)state;
    untidy_buffer();
    effort.deadline_ns = 1;
    assert_int_equal(tidy(), 0);
    assert_true(is_whole() && model.calls == 0);
    assert_int_equal(buffer->spans.count, BUFFER);
    end(0);
    /* What a search at its deadline leaves behind is made whole, and that is all. */
    for (size_t at = 1; at < CALLS - 1; at++) {
        struct search search = { 0 };

        scattered_buffer(0, 40);
        model.late_at = at;
        assert_int_equal(search_round(&search, buffer, &one_run, &memory, &model.base, &effort,
                                      &fault),
                         -ENOSPC);
        assert_int_equal(tidy(), 0);
        assert_true(is_whole());
        end(0);
    }
}

/* ---- of a whole request ---- */

static enum build_result make(struct build *build)
{
    enum build_result result;

    watched = &build->effort;
    buffer = buffer_new();
    do {
        result = build_step(buffer, build, &memory, &model.base, &cancelled, &fault);
    } while (result == BUILD_MORE);
    return result;
}

/* Huge pages that do not fit, then small ones. */
static void refused(const struct dmabufd_constraints *constraints, size_t late_at, const char *says)
{
    const struct hugepages sizes[] = { { .page_size = PAGE_2M, .total = 100, .free = 100 } };
    struct build build = { .asked = BUFFER * PAGE_2M, .constraints = *constraints };

    hugepages_pretend(sizes, 1);
    host();
    give_apart(1000, 92);
    give_apart(600, BUFFER);
    model.late_at = late_at;
    assert_int_equal(make(&build), BUILD_FAILED);
    assert_int_equal(build.choice_count, 2);
    assert_int_equal(build.choice, 1);
    assert_int_equal(build.effort.deadline_ns, 1);
    assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
    if (!strstr(fault.text, says))
        fail_msg("'%s' does not say '%s'", fault.text, says);
    assert_int_equal(model.pins, 0);
    /* Two calls for each of eight pieces, the search ends at @late_at, and again two for each. */
    assert_true(model.calls <= late_at + 1 + 2 * BUFFER);
    buffer = buffer_free(buffer);
    memory_deinit(&memory);
}

static void one_deadline_for_all_page_sizes(void **state)
{
    const struct dmabufd_constraints one_low_run = { .dma_mask = LOW, .flags = DMABUFD_CONTIGUOUS };

    (void)state;
    if (!hugepages_pretend_begin())
        skip();
    /* What comes first is closer: fewer segments. */
    refused(&one_run, 2 * BUFFER + 5, "the best: 8 spans, 8 segments");
    /* What comes last is closer: it is below the mask. */
    refused(&one_low_run, 2 * BUFFER + 5, "the best: 4096 spans, 4096 segments");
}

/* A buffer of the pool, in which a run is nice to have. */
static void the_pool_takes_what_there_is(void **state)
{
    (void)state;
    for (size_t at = 0; at < CALLS + 30; at++) {
        struct build build = { .asked = BUFFER * PAGE_2M,
                               .wanted = PAGE_2M,
                               .constraints = { .flags = DMABUFD_NODE_STRICT },
                               .pooled = true,
                               .choosy = true };

        host();
        give_apart(5000, 40);
        give_run();
        give_apart(10, BUFFER);
        model.late_at = at;
        assert_int_equal(make(&build), BUILD_DONE);
        assert_true(is_whole());
        if (at == 0)
            assert_found();
        end(0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_are_put_in_order),
        cmocka_unit_test(tidying_that_fails_leaves_it_whole),
        cmocka_unit_test(tidying_has_an_end),
        cmocka_unit_test(one_deadline_for_all_page_sizes),
        cmocka_unit_test(the_pool_takes_what_there_is),
    };

    return cmocka_run_group_tests_name("search-build", tests, NULL, NULL);
}
