/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/refill.h and pooling.h through the service: a pool of any size comes to be, goes again,
 * and keeps trying.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/unit/pool-rig.h"
#include "tests/unit/support.h"

static void expect_mix(const struct pool_set *set)
{
    uint32_t mix[PROTO_POOL_CLASSES], files = 0;

    pool_mix(set->page_size, set->target, mix);
    for (unsigned int i = 0; i < PROTO_POOL_CLASSES; i++) {
        assert_int_equal(set->files[i], mix[i]);
        assert_int_equal(set->making_files[i], 0);
        files += mix[i];
    }
    assert_int_equal(rig.service.pool.files, files);
    assert_int_equal(set->making, 0);
}

static void grows_and_shrinks(void **state)
{
    static const uint64_t sizes[] = { 1, 40, 41, 400, 399, 7, 0, 100 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        fill(sizes[i]);
        assert_int_equal(pool_2m()->target, sizes[i] * PAGE_2M);
        assert_int_equal(rig.service.pinned, 0);
        assert_int_equal(mock.spare, PAGE_1G - sizes[i] * PAGE_2M);
    }
}

static void in_all_sizes(void **state)
{
    (void)state;
    fill(400);
    expect_mix(pool_2m());
    assert_int_equal(pool_2m()->files[5], 1);
    /* Largest first, while memory is whole. */
    assert_int_equal(pool_2m()->refilled, 400 * PAGE_2M);
    assert_int_equal(pool_2m()->pieces[0].length, pool_class_size(5));
}

static bool one_waits(void *data)
{
    (void)data;
    return mock.waiting > 0;
}

/* When it was full once: what is asked for most comes back first. */
static void the_smallest_come_back_first(void **state)
{
    (void)state;
    fill(400);
    mock.gate_size = PAGE_2M;
    for (unsigned int i = 0; i < 3; i++)
        assert_int_equal(tell(LINK_ALLOC, USER, pool_class_size(2 * i)), 0);
    assert_int_equal(pool_2m()->grants, 3);
    assert_true(rig_await(&rig, one_waits, NULL));
    assert_int_equal(pool_2m()->making_files[0], 1);
    assert_int_equal(pool_2m()->making_files[2], 1);
    assert_int_equal(pool_2m()->making_files[4], 0);
    mock_open(&mock);
    await_ready(pool_2m(), 400 * PAGE_2M);
    expect_mix(pool_2m());
}

static void of_large_pages(void **state)
{
    struct pool_set *set;

    (void)state;
    mock.spare = 4 * (int64_t)PAGE_1G;
    assert_int_equal(resize(ADMIN, PAGE_1G, 3), 0);
    set = pool_set_of(PAGE_1G);
    await_ready(set, 3 * PAGE_1G);
    expect_mix(set);
    assert_int_equal(set->files[PROTO_POOL_CLASSES - 1], 3);
    assert_int_equal(pool_2m()->ready, 0);
    assert_int_equal(resize(ADMIN, PAGE_1G, 1), 0);
    await_ready(set, PAGE_1G);
}

/* Of what there is, and of what comes back. */
static void more_than_there_is(void **state)
{
    struct pool_set *set;
    uint64_t id;

    (void)state;
    mock.spare = 10 * (int64_t)PAGE_2M;
    assert_int_equal(alloc(USER, 3 * PAGE_2M, NULL, NULL), 0);
    id = reply.u.buffer.id;
    assert_int_equal(resize(ADMIN, PAGE_2M, 400), 0);
    set = pool_2m();
    await_ready(set, 7 * PAGE_2M);
    assert_true(set->starved);
    assert_int_equal(mock.spare, 0);
    assert_int_equal(let_go(USER, id), 0);
    await_ready(set, 10 * PAGE_2M);
    /* Others come, and nobody says so. */
    mock.spare = (int64_t)PAGE_1G;
    await_ready(set, 400 * PAGE_2M);
    assert_int_equal(set->refilled, 400 * PAGE_2M);
}

static void what_fails_is_tried_again(void **state)
{
    (void)state;
    mock.begin_error = EIO;
    assert_int_equal(resize(ADMIN, PAGE_2M, 4), 0);
    assert_true(rig_settle(&rig));
    assert_true(pool_2m()->starved);
    assert_int_equal(pool_2m()->making, 0);
    assert_int_equal(rig.service.pool.files, 0);
    assert_int_equal(mock.begins, mock.ends + 2);
    mock.ends = mock.begins;
    mock.begin_error = 0;
    await_ready(pool_2m(), 4 * PAGE_2M);
    assert_false(pool_2m()->starved);
}

static void smaller_while_it_is_made(void **state)
{
    (void)state;
    mock.gate_size = PAGE_2M;
    assert_int_equal(resize(ADMIN, PAGE_2M, 400), 0);
    assert_true(mock_await(&mock, 1));
    assert_int_equal(resize(ADMIN, PAGE_2M, 3), 0);
    assert_int_equal(pool_2m()->target, 3 * PAGE_2M);
    mock_open(&mock);
    await_ready(pool_2m(), 3 * PAGE_2M);
    assert_int_equal(mock.spare, PAGE_1G - 3 * PAGE_2M);
}

static void broker_dies_while_it_is_made(void **state)
{
    (void)state;
    mock.gate_size = PAGE_2M;
    assert_int_equal(resize(ADMIN, PAGE_2M, 20), 0);
    assert_true(mock_await(&mock, 1));
    rig_end_broker(&rig);
    mock_open(&mock);
    await_ready(pool_2m(), 20 * PAGE_2M);
    rig_start_broker(&rig);
    assert_int_equal(rig_drain(&rig), 0);
}

static void daemon_ends_while_it_is_made(void **state)
{
    size_t pins;

    (void)state;
    fill(10);
    mock.gate_size = PAGE_2M;
    pins = mock.pins;
    assert_int_equal(resize(ADMIN, PAGE_2M, 400), 0);
    assert_true(mock_await(&mock, 1));
    service_stop(&rig.service);
    assert_int_equal(rig.idle, 0);
    mock_open(&mock);
    assert_true(rig_settle(&rig));
    assert_int_equal(rig.idle, 1);
    assert_int_equal(rig.service.pinned, 0);
    assert_int_equal(mock.spare, PAGE_1G);
    /* What was at work did not go on: a file of 64 MiB is two pieces. */
    assert_true(mock.pins < pins + 3);
    rig_pump(&rig);
    assert_true(rig_empty(&rig));
}

/* Made, and not collected yet. */
static void daemon_ends_when_it_is_made(void **state)
{
    (void)state;
    assert_int_equal(refill_resize(&rig.service, pool_2m(), PAGE_2M, NULL), 0);
    assert_true(rig_await_worker(&rig));
    service_stop(&rig.service);
    assert_true(rig_settle(&rig));
    assert_int_equal(rig.idle, 1);
    assert_true(rig_empty(&rig));
    assert_int_equal(mock.ends, 1);
}

static void nothing_new_at_the_end(void **state)
{
    (void)state;
    fill(4);
    service_end(&rig.service);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), ESHUTDOWN);
    assert_int_equal(resize(ADMIN, PAGE_2M, 8), ESHUTDOWN);
    assert_int_equal(pool_2m()->ready, 4 * PAGE_2M);
    assert_int_equal(pool_2m()->target, 4 * PAGE_2M);
}

/* The second piece of a file cannot be pinned, and then the first cannot be let go. */
static void made_but_not_let_go(void **state)
{
    struct buffer *kept;

    (void)state;
    fill(400);
    assert_int_equal(tell(LINK_ALLOC, USER, 2 * BACKEND_PIECE), 0);
    assert_int_equal(rig_drain(&rig), 1);
    assert_int_equal(pool_2m()->grants, 1);
    mock.pin_fails = mock.pins + 2;
    atomic_store(&mock.unpins_refused, 1);
    await_ready(pool_2m(), 400 * PAGE_2M);
    kept = LIST_FIRST(&rig.service.kept);
    assert_non_null(kept);
    assert_int_equal(kept->mapping.pinned, BACKEND_PIECE);
    assert_int_equal(rig.service.unreleasable, BACKEND_PIECE);
    assert_int_equal(rig.service.pinned, 1);
    /* So that the end of the test finds nothing else. */
    rig.service.unreleasable = 0;
    kept->mapping.pinned = 0;
    assert_int_equal(resize(ADMIN, PAGE_2M, 0), 0);
    assert_int_equal(tell(LINK_CLIENT_GONE, USER, 0), 0);
    assert_true(rig_settle(&rig));
    assert_int_equal(mock.begins, mock.ends + 1);
    mock.ends++;
}

static void told(struct link_pool *ret)
{
    assert_int_equal(ask((struct link_request){ .op = LINK_POOL, .client = USER }, -1, NULL), 0);
    *ret = reply.u.pool;
}

static void tells_how_it_is(void **state)
{
    struct link_pool pool;
    uint32_t runs = 0;

    (void)state;
    told(&pool);
    assert_int_equal(pool.ready + pool.target + pool.largest_run, 0);
    fill(40);
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    assert_int_equal(alloc(USER, 7 * PAGE_2M, NULL, NULL), 0);
    await_ready(pool_2m(), 40 * PAGE_2M);
    told(&pool);
    assert_int_equal(pool.set_count, 2);
    assert_int_equal(pool.set, 0);
    assert_int_equal(pool.page_size, PAGE_2M);
    assert_int_equal(pool.target, 40 * PAGE_2M);
    assert_int_equal(pool.ready, 40 * PAGE_2M);
    assert_int_equal(pool.grants, 1);
    assert_int_equal(pool.misses, 1);
    assert_int_equal(pool.refilled, 41 * PAGE_2M);
    assert_int_equal(pool.node, 0);
    assert_int_equal(pool.refilling, 0);
    assert_memory_equal(pool.files, pool_2m()->files, sizeof(pool.files));
    /* One page was taken out at an end of the run, and the one that is new is behind the seven. */
    assert_int_equal(pool.largest_run, 39 * PAGE_2M);
    for (unsigned int i = 0; i < PROTO_POOL_RUNS; i++)
        runs += pool.runs[i];
    assert_int_equal(runs, 2);
    assert_int_equal(pool.runs[0], 1);
    assert_int_equal(pool.runs[5], 1);
}

static void no_such_set(void **state)
{
    struct link_request request = { .op = LINK_POOL, .client = USER };

    (void)state;
    request.u.pool_set = 1;
    assert_int_equal(ask(request, -1, NULL), 0);
    assert_int_equal(reply.u.pool.page_size, PAGE_1G);
    request.u.pool_set = 2;
    assert_int_equal(ask(request, -1, NULL), EINVAL);
    request.u.pool_set = UINT32_MAX;
    assert_int_equal(ask(request, -1, NULL), EINVAL);
}

static void not_for_everybody(void **state)
{
    struct link_request map = { .op = LINK_POOL_MAP, .client = USER };

    (void)state;
    fill(4);
    assert_int_equal(resize(USER, PAGE_2M, 8), EPERM);
    assert_int_equal(reply.u.fault.code, DMABUFD_CODE_DENIED);
    assert_int_equal(resize(USER, PAGE_2M, 0), EPERM);
    assert_int_equal(pool_2m()->target, 4 * PAGE_2M);
    assert_int_equal(ask(map, -1, NULL), EPERM);
}

static void sizes_that_cannot_be(void **state)
{
    static const uint64_t none[] = { 0, 1, PAGE_4K, PAGE_2M + 1, 2 * PAGE_2M, UINT64_MAX };
    struct link_request request = { .op = LINK_POOL_RESIZE,
                                    .client = ADMIN,
                                    .u.pool_size = { .page_size = PAGE_2M, .pages = 1 } };

    (void)state;
    fill(4);
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_int_equal(resize(ADMIN, none[i], 1), EOPNOTSUPP);
    assert_int_equal(resize(ADMIN, PAGE_2M, UINT64_MAX), E2BIG);
    assert_int_equal(resize(ADMIN, PAGE_2M, UINT64_MAX / PAGE_2M + 2), E2BIG);
    assert_int_equal(resize(ADMIN, PAGE_2M, rig.memory.max_size / PAGE_2M + 1), E2BIG);
    request.u.pool_size.node = 1;
    assert_int_equal(ask(request, -1, NULL), EOPNOTSUPP);
    request.u.pool_size.node = UINT32_MAX;
    assert_int_equal(ask(request, -1, NULL), EOPNOTSUPP);
    rig.service.pool.files_max = 8;
    assert_int_equal(resize(ADMIN, PAGE_2M, 9), EMFILE);
    assert_int_equal(pool_2m()->target, 4 * PAGE_2M);
    assert_int_equal(pool_2m()->ready, 4 * PAGE_2M);
    fill(8);
    /* Those of the other set count, too. */
    assert_int_equal(resize(ADMIN, PAGE_1G, 1), EMFILE);
}

static void a_picture(void **state)
{
    struct link_request map = { .op = LINK_POOL_MAP, .client = ADMIN };
    const struct link_pool_map *got = &reply.u.pool_map;
    uint64_t at = 4 * PAGE_2M;

    (void)state;
    assert_int_equal(ask(map, -1, NULL), 0);
    assert_int_equal(got->count, 0);
    atomic_store(&mock.next, at);
    fill(4);
    assert_int_equal(ask(map, -1, NULL), 0);
    assert_int_equal(got->cell, PAGE_2M);
    assert_int_equal(got->count, 8);
    for (unsigned int i = 0; i < 8; i++) {
        assert_int_equal(got->ready[i], i < 4 ? 0 : 255);
        assert_int_equal(got->held[i], 0);
    }
    mock.spare = 0;
    assert_int_equal(alloc(USER, PAGE_2M, NULL, NULL), 0);
    at = reply.u.buffer.spans[0].dma_addr / PAGE_2M;
    assert_int_equal(ask(map, -1, NULL), 0);
    assert_int_equal(got->held[at], 255);
    assert_int_equal(got->ready[at], 0);
    /* In larger cells: four pages of 1024. */
    atomic_store(&mock.next, 512 * PAGE_1G - PAGE_2M);
    mock.spare = (int64_t)PAGE_2M;
    await_ready(pool_2m(), 4 * PAGE_2M);
    assert_int_equal(ask(map, -1, NULL), 0);
    assert_int_equal(got->cell, PAGE_1G);
    assert_int_equal(got->count, PROTO_POOL_CELLS);
    assert_int_equal(got->ready[0], 1 + 1 * 254 / 256);
    assert_int_equal(got->held[0], 1);
    assert_int_equal(got->ready[PROTO_POOL_CELLS - 1], 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_rig_setup, pool_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(grows_and_shrinks),
        TEST(in_all_sizes),
        TEST(the_smallest_come_back_first),
        TEST(of_large_pages),
        TEST(more_than_there_is),
        TEST(what_fails_is_tried_again),
        TEST(smaller_while_it_is_made),
        TEST(broker_dies_while_it_is_made),
        TEST(daemon_ends_while_it_is_made),
        TEST(daemon_ends_when_it_is_made),
        TEST(nothing_new_at_the_end),
        TEST(made_but_not_let_go),
        TEST(tells_how_it_is),
        TEST(no_such_set),
        TEST(not_for_everybody),
        TEST(sizes_that_cannot_be),
        TEST(a_picture),
    };

    pool_rig_can();
    return cmocka_run_group_tests_name("refill", tests, NULL, NULL);
}
