/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the pool gives up for a request that it cannot serve as it is cut, through the service: who gets it,
 * who does not, and that all of it is counted.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "common/cleanup.h"
#include "tests/unit/pool-rig.h"

/* Builds for which the pool gave up pages. */
static uint32_t held_back(void)
{
    const struct pool *pool = &rig.service.pool;
    uint32_t sum = 0;

    for (uint32_t i = 0; i < pool->set_count; i++)
        sum += pool->sets[i].held_back;
    return sum;
}

/* The kernel has too few, and the pool not as they were asked for. */
static void pages_given_up(void **state)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

    (void)state;
    fill(8);
    mock.spare = (int64_t)PAGE_2M;
    assert_int_equal(tell(LINK_ALLOC, USER, 3 * PAGE_2M), 0);
    assert_int_equal(held_back(), 1);
    assert_int_equal(pool_2m()->ready, 6 * PAGE_2M);
    assert_true(rig_receive(&rig, &reply, &fds));
    assert_int_equal(reply.error, 0);
    assert_int_equal(held_back(), 0);
    assert_int_equal(pool_2m()->misses, 1);
    /* And perhaps those of which nothing came when it tried to make others. */
    assert_true(mock.ends >= 2);
    assert_int_equal(rig.service.pinned, 1);
    assert_int_equal(pool_2m()->ready, 6 * PAGE_2M);
    /* There are no others; when there are, it is full again. */
    assert_int_equal(let_go(USER, reply.u.buffer.id), 0);
    await_ready(pool_2m(), 8 * PAGE_2M);
}

static void client_leaves_while_pages_are_given_up(void **state)
{
    (void)state;
    fill(8);
    mock.spare = 0;
    mock.gate_size = 3 * PAGE_2M;
    assert_int_equal(tell(LINK_ALLOC, USER, 3 * PAGE_2M), 0);
    assert_true(mock_await(&mock, 1));
    assert_int_equal(mock.ends, 3);
    /* They are not for the pool to take back. */
    refill_kick(&rig.service);
    assert_int_equal(pool_2m()->jobs, 0);
    assert_int_equal(tell(LINK_CLIENT_GONE, USER, 0), 0);
    assert_int_equal(held_back(), 1);
    assert_int_equal(store()->reserved, 0);
    mock_open(&mock);
    await_ready(pool_2m(), 8 * PAGE_2M);
    assert_int_equal(held_back(), 0);
    assert_int_equal(rig.service.pinned, 0);
}

/* Before it began: nothing was given back yet. */
static void client_leaves_before_pages_are_given_up(void **state)
{
    int64_t spare;

    (void)state;
    fill(8);
    mock.spare = 0;
    mock.gate_size = 4 * PAGE_2M;
    assert_int_equal(tell(LINK_ALLOC, USER, 4 * PAGE_2M), 0);
    assert_true(mock_await(&mock, 1));
    /* What is given back already is the first one's. */
    spare = atomic_exchange(&mock.spare, 0);
    assert_int_equal(tell(LINK_ALLOC, OTHER, 3 * PAGE_2M), 0);
    atomic_store(&mock.spare, spare);
    assert_int_equal(held_back(), 2);
    assert_int_equal(tell(LINK_CLIENT_GONE, OTHER, 0), 0);
    mock_open(&mock);
    assert_true(rig_settle(&rig));
    assert_int_equal(held_back(), 0);
    assert_int_equal(used_by(USER), 4 * PAGE_2M);
    assert_int_equal(tell(LINK_CLIENT_GONE, USER, 0), 0);
    await_ready(pool_2m(), 8 * PAGE_2M);
}

static void build_fails_though_pages_were_given_up(void **state)
{
    (void)state;
    fill(8);
    mock.spare = 0;
    mock.pin_fails = mock.pins + 1;
    assert_int_equal(alloc(USER, 3 * PAGE_2M, NULL, NULL), EIO);
    assert_int_equal(held_back(), 0);
    assert_int_equal(held_by(USER), 0);
    assert_int_equal(used_by(USER), 0);
    await_ready(pool_2m(), 8 * PAGE_2M);
}

/* Low memory is worth a page that is too large, but what is made then is made of small ones. */
static void nothing_given_up_for_a_small_one(void **state)
{
    struct link_request request = {
        .op = LINK_ALLOC,
        .client = USER,
        .u.alloc = { .size = 1, .constraints = { .dma_mask = 64 * PAGE_2M - 1 } }
    };

    (void)state;
    rig.service.pool.top = PAGE_1G;
    atomic_store(&mock.next, 20 * PAGE_2M);
    fill(20);
    assert_int_equal(pool_2m()->files[1], 1);
    assert_int_equal(ask(request, -1, NULL), 0);
    assert_int_equal(reply.u.buffer.size, PAGE_2M);
    await_ready(pool_2m(), 20 * PAGE_2M);
    /* None of this size is left. */
    mock.spare = 0;
    for (unsigned int i = pool_2m()->files[0]; i > 0; i--)
        assert_int_equal(tell(LINK_ALLOC, OTHER, PAGE_2M), 0);
    assert_int_equal(pool_2m()->ready, 2 * PAGE_2M);
    request.tag = 5;
    assert_int_equal(rig_send(&rig, &request, sizeof(request), -1), 0);
    rig_pump(&rig);
    assert_int_equal(pool_2m()->ready, 2 * PAGE_2M);
    assert_int_equal(held_back(), 0);
    assert_true(rig_settle(&rig));
    assert_int_equal(pool_2m()->ready, 2 * PAGE_2M);
}

static void impossible_costs_nothing(void **state)
{
    (void)state;
    fill(8);
    mock.spare = 0;
    assert_int_equal(alloc(USER, 9 * PAGE_2M, NULL, NULL), ENOMEM);
    assert_int_equal(pool_2m()->misses, 1);
    expect_untouched(8);
}

/* What would be built has to be paid for, too: the pool gives nothing up for who cannot. */
static void quota_and_what_is_given_up(void **state)
{
    struct quota_limits *limits = &rig.service.store.quota.limits;
    const uint64_t buffers = limits->most[QUOTA_BUFFERS];

    (void)state;
    fill(8);
    mock.spare = 0;
    limits->most[QUOTA_2M] = PAGE_2M;
    assert_int_equal(alloc(USER, 3 * PAGE_2M, NULL, NULL), ENOMEM);
    expect_untouched(8);
    limits->most[QUOTA_2M] = QUOTA_UNLIMITED;
    limits->most[QUOTA_BUFFERS] = 0;
    assert_int_equal(alloc(USER, 3 * PAGE_2M, NULL, NULL), EMFILE);
    expect_untouched(8);
    limits->most[QUOTA_BUFFERS] = buffers;
}

/* Of what was given up: nobody holds it, and it is told of. */
static void given_up_but_not_let_go(void **state)
{
    (void)state;
    fill(4);
    mock.spare = 0;
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(alloc(USER, 3 * PAGE_2M, NULL, NULL), ENOMEM);
    assert_int_equal(rig.service.unreleasable, PAGE_2M);
    assert_non_null(LIST_FIRST(&rig.service.kept));
    refill_stop(&rig.service);
    assert_true(rig_settle(&rig));
    forgive();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, pool_rig_setup, pool_rig_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_given_up),
        TEST(client_leaves_while_pages_are_given_up),
        TEST(client_leaves_before_pages_are_given_up),
        TEST(build_fails_though_pages_were_given_up),
        TEST(quota_and_what_is_given_up),
        TEST(nothing_given_up_for_a_small_one),
        TEST(impossible_costs_nothing),
        TEST(given_up_but_not_let_go),
    };

    pool_rig_can();
    return cmocka_run_group_tests_name("given up", tests, NULL, NULL);
}
