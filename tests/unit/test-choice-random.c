/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/choice.h on random layouts and constraints, against a reference that tries everything.
 * Cases with a name are in test-choice.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "common/segments.h"
#include "tests/unit/shelf.h"
#include "tests/unit/support.h"

#define PAGES  96 /* half of them below 4 GiB */
#define BASE   (2048 - PAGES / 2)
#define ROUNDS 20000

static struct shelf shelf;
static const struct buffer *owner[PAGES]; /* of the page BASE + i */

static bool is_taken(uint64_t i, uint64_t count)
{
    for (uint64_t j = i; j < i + count; j++) {
        if (j >= PAGES || owner[j])
            return true;
    }
    return false;
}

static void own(const struct buffer *buffer)
{
    for (size_t i = 0; i < buffer->spans.count; i++) {
        const struct dmabufd_span *span = &buffer->spans.list[i];

        for (uint64_t at = 0; at < span->length; at += PAGE_2M)
            owner[(span->dma_addr + at) / PAGE_2M - BASE] = buffer;
    }
}

/* One in two halves, in either order. */
static void put_halves(uint64_t *random)
{
    uint64_t a = support_below(random, PAGES);
    uint64_t b = support_below(random, PAGES);
    uint64_t half = UINT64_C(1) << support_below(random, 3);
    const struct shelf_span spans[] = { { BASE + a, half }, { BASE + b, half } };

    if (!is_taken(a, half) && !is_taken(b, half) && (a + half < b || b + half <= a))
        own(shelf_put_spans(&shelf, spans, 2));
}

static void fill(uint64_t *random)
{
    uint64_t holes = 1 + support_below(random, 12);

    for (size_t i = 0; i < PAGES; i++)
        owner[i] = NULL;
    for (uint64_t tries = support_below(random, 4); tries > 0; tries--)
        put_halves(random);
    for (uint64_t i = 0; i < PAGES;) {
        uint64_t count = UINT64_C(1) << support_below(random, 4);

        if (support_below(random, holes) == 0 || is_taken(i, count)) {
            i++;
            continue;
        }
        own(shelf_put(&shelf, BASE + i, count));
        i += count;
    }
}

static uint64_t one_of(uint64_t *random, const uint64_t *list, size_t count)
{
    /* Mostly nothing. */
    return support_below(random, 2) ? 0 : list[support_below(random, count)];
}

static struct dmabufd_constraints some_constraints(uint64_t *random)
{
    static const uint64_t masks[] = { UINT32_MAX, UINT64_MAX, (UINT64_C(1) << 31) - 1 };
    static const uint64_t alignments[] = { 4096, PAGE_2M, 2 * PAGE_2M, 8 * PAGE_2M };
    static const uint64_t cuts[] = { 4096, PAGE_2M, 3 * PAGE_2M, 4 * PAGE_2M };
    static const uint64_t boundaries[] = { PAGE_2M, 4 * PAGE_2M, 16 * PAGE_2M };
    struct dmabufd_constraints c;

    /* One by one: compilers do the parts of an initialiser in any order. */
    do {
        c = (struct dmabufd_constraints){ 0 };
        c.dma_mask = one_of(random, masks, 3);
        c.alignment = one_of(random, alignments, 4);
        c.min_span = one_of(random, cuts, 4);
        c.max_segment_size = one_of(random, cuts, 4);
        c.boundary = one_of(random, boundaries, 3);
        if (support_below(random, 2))
            c.max_segments = (uint32_t)support_below(random, 6);
        if (support_below(random, 2))
            c.flags = DMABUFD_CONTIGUOUS;
    } while (constraints_check(&c, NULL) < 0);
    return c;
}

static bool meets(const struct dmabufd_constraints *c, const struct spans *spans)
{
    struct fit fit;

    constraints_fit(c, spans->list, spans->count, &fit);
    return constraints_met(c, &fit, NULL) == 0;
}

/* Pages that make a run with this one, before and behind it. */
static uint64_t reach(int64_t i, int64_t step)
{
    uint64_t n = 0;

    for (i += step; i >= 0 && i < PAGES && owner[i]; i += step)
        n++;
    return n;
}

static uint64_t lower(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

/* How dear it is: class, length of the run, distance to its end. The least is to be taken. */
static uint64_t price_of_one(const struct buffer *buffer, const struct dmabufd_constraints *c)
{
    uint64_t best = UINT64_MAX;

    for (size_t i = 0; i < buffer->spans.count; i++) {
        const struct dmabufd_span *span = &buffer->spans.list[i];
        int64_t first = (int64_t)(span->dma_addr / PAGE_2M - BASE);
        uint64_t pages = span->length / PAGE_2M;
        uint64_t before = reach(first, -1), after = reach(first + (int64_t)pages - 1, 1);
        bool low = (uint64_t)first - before < 2048 - BASE &&
                   (c->dma_mask == 0 || c->dma_mask > UINT32_MAX);
        uint64_t price =
            buffer->spans.count > 1 ? 0 : (low ? 1000000 : 0) + (before + pages + after) * 1000;

        best = lower(best, price + lower(before, after));
    }
    return best;
}

static bool is_candidate(const struct buffer *buffer, uint64_t size,
                         const struct dmabufd_constraints *c)
{
    return buffer->size == size && (!choice_needs_fit(c) || meets(c, &buffer->spans));
}

/* Return: whether there is one. */
static bool check_one(uint64_t size, const struct dmabufd_constraints *c)
{
    const struct buffer *got = choice_one(&shelf.set, size, c);
    uint64_t best = UINT64_MAX;

    for (size_t i = 0; i < shelf.count; i++) {
        if (is_candidate(shelf.buffers[i], size, c))
            best = lower(best, price_of_one(shelf.buffers[i], c));
    }
    assert_int_equal(got != NULL, best != UINT64_MAX);
    if (!got)
        return false;
    assert_true(is_candidate(got, size, c));
    assert_int_equal(price_of_one(got, c), best);
    return true;
}

/* Whole buffers that are within the mask, page by page. */
static bool is_whole(int64_t i, const struct dmabufd_constraints *c)
{
    uint64_t end = (uint64_t)(BASE + i + 1) * PAGE_2M - 1;
    const struct buffer *buffer = i < 0 || i >= PAGES ? NULL : owner[i];

    if (!buffer || buffer->spans.count > 1)
        return false;
    end = buffer->spans.list[0].dma_addr + buffer->size - 1;
    return c->dma_mask == 0 || end <= c->dma_mask;
}

/* The price of @count pages from page @i on; UINT64_MAX: they will not do. */
static uint64_t price_of_window(int64_t i, int64_t count, const struct dmabufd_constraints *c)
{
    const struct dmabufd_span span = { 0, (uint64_t)(BASE + i) * PAGE_2M,
                                       (uint64_t)count * PAGE_2M };
    const struct spans spans = { .list = (struct dmabufd_span *)&span, .count = 1 };
    int64_t first = i, last = i + count - 1;
    uint64_t price;

    for (int64_t j = i; j <= last; j++) {
        if (!is_whole(j, c))
            return UINT64_MAX;
    }
    if ((i > 0 && owner[i - 1] == owner[i]) || (last + 1 < PAGES && owner[last + 1] == owner[last]))
        return UINT64_MAX;
    if (!meets(c, &spans))
        return UINT64_MAX;
    while (is_whole(first - 1, c))
        first--;
    while (is_whole(last + 1, c))
        last++;
    price = (uint64_t)(last - first + 1) * 1000 +
            lower((uint64_t)(i - first), (uint64_t)(last - i - count + 1));
    return price +
           (first < 2048 - BASE && (c->dma_mask == 0 || c->dma_mask > UINT32_MAX) ? 1000000 : 0);
}

static uint64_t best_window(uint64_t size, const struct dmabufd_constraints *c)
{
    uint64_t best = UINT64_MAX;

    for (int64_t i = 0; i < PAGES; i++)
        best = lower(best, price_of_window(i, (int64_t)(size / PAGE_2M), c));
    return best;
}

/* Ready ones, each once. */
static uint64_t check_list(const struct choice *choice)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < choice->count; i++) {
        size_t known = 0;

        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(choice->buffer[i], choice->buffer[j]);
        for (size_t j = 0; j < shelf.count; j++)
            known += shelf.buffers[j] == choice->buffer[i];
        assert_int_equal(known, 1);
        sum += choice->buffer[i]->size;
    }
    return sum;
}

static void check_together(const struct choice *choice, const struct dmabufd_constraints *c)
{
    struct spans spans = { 0 };

    for (size_t i = 0; i < choice->count; i++) {
        const struct spans *of = &choice->buffer[i]->spans;

        assert_int_equal(of->count, 1);
        assert_int_equal(spans_append(&spans, of->list[0].dma_addr, of->list[0].length), 0);
    }
    assert_true(meets(c, &spans));
    spans_deinit(&spans);
}

/* Return: 1: one run; 2: several; 0: none. */
static int check_several(uint64_t size, const struct dmabufd_constraints *c)
{
    uint64_t best = best_window(size, c);
    struct choice choice = { 0 };
    int r = choice_several(&shelf.set, size, c, &choice);

    assert_true(r == 0 || r == -ENOSPC);
    if ((c->flags & DMABUFD_CONTIGUOUS) || best != UINT64_MAX)
        assert_int_equal(r == 0, best != UINT64_MAX);
    if (r == 0) {
        assert_int_equal(check_list(&choice), size);
        assert_true(choice.count <= PROTO_CHUNKS_MAX);
        check_together(&choice, c);
        if (best != UINT64_MAX)
            assert_int_equal(price_of_window((int64_t)(shelf_page(choice.buffer[0]) - BASE),
                                             (int64_t)(size / PAGE_2M), c),
                             best);
    }
    choice_deinit(&choice);
    return r < 0 ? 0 : best != UINT64_MAX ? 1 : 2;
}

/* Bytes of buffers of which a piece is within the mask. */
static uint64_t below_mask(const struct dmabufd_constraints *c)
{
    uint64_t sum = 0;

    for (size_t i = 0; i < shelf.count; i++) {
        const struct spans *spans = &shelf.buffers[i]->spans;
        bool below = false;

        for (size_t j = 0; j < spans->count; j++)
            below = below || c->dma_mask == 0 ||
                    spans->list[j].dma_addr + spans->list[j].length - 1 <= c->dma_mask;
        sum += below ? shelf.buffers[i]->size : 0;
    }
    return sum;
}

static void check_to_give_up(uint64_t size, uint64_t missing, const struct dmabufd_constraints *c)
{
    struct choice choice = { 0 };
    int r = choice_to_give_up(&shelf.set, size, missing, c, &choice);
    uint64_t sum = r == 0 ? check_list(&choice) : 0;

    assert_true(r == 0 || r == -ENOSPC);
    if (r == 0)
        assert_true(sum >= missing);
    if (below_mask(c) >= missing)
        assert_int_equal(r, 0);
    for (size_t i = 0; i < shelf.count; i++)
        assert_false(shelf.buffers[i]->chosen);
    choice_deinit(&choice);
}

static void random_layouts(void **state)
{
    uint64_t random = support_seed();
    unsigned int one = 0, none = 0, kinds[3] = { 0 };

    (void)state;
    for (int round = 0; round < ROUNDS; round++) {
        uint64_t size = PAGE_2M * (1 + support_below(&random, 20));
        struct dmabufd_constraints c = some_constraints(&random);
        bool found;

        shelf_begin(&shelf, PAGE_2M);
        fill(&random);
        found = check_one(PAGE_2M << support_below(&random, 4), &c);
        one += found;
        none += !found;
        kinds[check_several(size, &c)]++;
        check_to_give_up(size, PAGE_2M * support_below(&random, PAGES + 1), &c);
        assert_true(shelf_end(&shelf));
    }
    print_message("# one: %u, none: %u; a run: %u, several: %u, none: %u\n", one, none, kinds[1],
                  kinds[2], kinds[0]);
    /* Each way is gone often. */
    assert_true(one > ROUNDS / 10 && none > ROUNDS / 10);
    assert_true(kinds[0] > ROUNDS / 10 && kinds[1] > ROUNDS / 10 && kinds[2] > ROUNDS / 100);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(random_layouts),
    };

    return cmocka_run_group_tests_name("choice random", tests, NULL, NULL);
}
