/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/search.h: a run that is there is found, within bounds, and the buffer stays whole. */
#include "daemon/keeper/search.h"

#include <errno.h>
#include <string.h>

#include "tests/unit/cmocka-all.h"
#include "tests/unit/hugemodel.h"

static struct fault fault;

static const struct dmabufd_constraints one_run = { .flags = DMABUFD_CONTIGUOUS };

static int once(struct search *search)
{
    return search_round(search, buffer, &one_run, &memory, &model.base, &effort, &fault);
}

static int run(struct search *search)
{
    int r;

    do {
        r = once(search);
        assert_true(r < 0 || is_whole());
    } while (r > 0);
    return r;
}

static void a_run_is_found(void **state)
{
    struct search search = { 0 };

    (void)state;
    scattered_buffer(0, 40);
    assert_int_equal(run(&search), 0);
    assert_int_equal(search.round, 1);
    assert_found();
    end(0);
}

static void a_run_is_found_deep(void **state)
{
    struct search search = { 0 };

    (void)state;
    scattered_buffer(20, 40);
    assert_int_equal(run(&search), 0);
    assert_int_equal(search.round, 2);
    assert_found();
    end(0);
}

/* Free pages are not needed for that. */
static void the_buffers_own_pages_do(void **state)
{
    struct search search = { 0 };

    (void)state;
    host();
    give_free(1);
    give_run();
    make_buffer();
    assert_true(buffer->spans.count > 1);
    assert_int_equal(run(&search), 0);
    assert_found();
    assert_int_equal(model.least_free, 1);
    end(0);
}

/* Whatever is asked for, and however often, half of what was free beside the buffer stays free. */
static void others_keep_half(void **state)
{
    (void)state;
    for (unsigned int count = 0; count < 200; count += 13) {
        struct search search = { 0 };

        host();
        give_apart(1000, count);
        give_apart(10, BUFFER);
        make_buffer();
        assert_int_equal(run(&search), -ENOSPC);
        assert_int_equal(model.least_free, count - count / 2);
        end(0);
    }
}

static void rounds_are_limited(void **state)
{
    struct search search = { 0 };

    (void)state;
    host();
    /* More than the last round may look at. */
    give_apart(1000, 16000);
    /* Two that touch: the best that could be made. */
    give_free(RUN_AT);
    give_free(RUN_AT + 1);
    give_apart(10, BUFFER);
    make_buffer();
    for (unsigned int i = 1; i < SEARCH_ROUNDS; i++)
        assert_int_equal(once(&search), 1);
    assert_int_equal(once(&search), -ENOSPC);
    assert_true(is_whole());
    assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
    assert_string_equal(fault.text, "no memory that fits was found; the best: 7 spans, 7 segments, "
                                    "addresses of 37 bits; asked: contiguous");
    end(0);
}

/* The pages that come next are always the same ones. */
static void the_same_pages_are_not_looked_at_again(void **state)
{
    struct search search = { 0 };
    size_t calls;

    (void)state;
    host();
    give_apart(1000, 40);
    give_apart(10, BUFFER);
    make_buffer();
    assert_int_equal(once(&search), 1);
    assert_int_equal(once(&search), 1);
    calls = model.calls;
    assert_int_equal(once(&search), -ENOSPC);
    assert_int_equal(search.round, 2);
    assert_int_equal(model.calls, calls);
    end(0);
}

/* How many calls the search in scattered_buffer(0, 40) makes: scout, move, pin what was moved. */
#define CALLS (2 * BUFFER + BUFFER + 2 * BUFFER)

static void ends_at_the_deadline(void **state)
{
    struct search search = { 0 };

    (void)state;
    scattered_buffer(0, 40);
    assert_int_equal(run(&search), 0);
    assert_int_equal(model.calls, CALLS);
    end(0);
    /* One of other pages of the same request used up the time. */
    scattered_buffer(0, 40);
    effort.deadline_ns = 1;
    search = (struct search){ 0 };
    assert_int_equal(run(&search), -ENOSPC);
    assert_true(is_whole() && model.calls == 0);
    end(0);
    for (size_t at = 1; at < CALLS - 1; at++) {
        scattered_buffer(0, 40);
        model.late_at = at;
        search = (struct search){ 0 };
        assert_int_equal(run(&search), -ENOSPC);
        assert_int_equal(fault.code, DMABUFD_CODE_CONSTRAINTS);
        assert_non_null(strstr(fault.text, "the best: 8 spans"));
        /* What was prepared is pinned: one piece. */
        assert_true(model.calls == at || model.calls == at + 1);
        end(0);
    }
}

static void ends_when_cancelled(void **state)
{
    (void)state;
    for (size_t at = 0; at < CALLS - 1; at++) {
        struct search search = { 0 };

        scattered_buffer(0, 40);
        model.cancelled_at = at;
        atomic_store(&cancelled, at == 0);
        assert_int_equal(run(&search), -ECANCELED);
        assert_true(model.calls == at || model.calls == at + 1);
        end(0);
    }
}

/* Whatever fails: the buffer is whole and the next round finds what this one did not. */
static void failures_leave_it_whole(void **state)
{
    (void)state;
    for (size_t at = 1; at <= CALLS; at++) {
        struct search search = { 0 };

        scattered_buffer(0, 40);
        model.fails_at = at;
        assert_int_equal(once(&search), 1);
        assert_true(is_whole());
        assert_int_equal(model.free_count, 40 + BUFFER);
        assert_int_equal(run(&search), 0);
        assert_found();
        end(0);
    }
}

/* Somebody else takes pages in the middle: one, or all there are. */
static void others_are_faster(void **state)
{
    (void)state;
    for (size_t i = 2; i < 2 * CALLS; i++) {
        struct search search = { 0 };
        size_t given, before;
        int r;

        scattered_buffer(0, 40);
        given = model.page_count;
        model.taken_at = i / 2;
        model.taken = i % 2 ? given : 1;
        do {
            r = once(&search);
            assert_true(r < 0 || is_whole());
        } while (r > 0);
        assert_true(r == 0 || fault.error > 0);
        if (r == 0)
            assert_int_equal(buffer->spans.count, 1);
        before = model.free_count + BUFFER;
        assert_true(r == -ENOMEM || is_whole());
        end(r == -ENOMEM ? model.page_count - (model.free_count + model.pins) : given - before);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_run_is_found),
        cmocka_unit_test(a_run_is_found_deep),
        cmocka_unit_test(the_buffers_own_pages_do),
        cmocka_unit_test(others_keep_half),
        cmocka_unit_test(rounds_are_limited),
        cmocka_unit_test(the_same_pages_are_not_looked_at_again),
        cmocka_unit_test(ends_at_the_deadline),
        cmocka_unit_test(ends_when_cancelled),
        cmocka_unit_test(failures_leave_it_whole),
        cmocka_unit_test(others_are_faster),
    };

    return cmocka_run_group_tests_name("search", tests, NULL, NULL);
}
