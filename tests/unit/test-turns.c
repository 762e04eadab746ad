/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/turns.h: in what order those who wait are served. */
#include "tests/unit/cmocka-all.h"

#include <stdlib.h>

#include "common/cleanup.h"
#include "daemon/keeper/turns.h"
#include "tests/unit/support.h"

static struct turns turns;

static int setup(void **state)
{
    (void)state;
    turns_init(&turns);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    return turns_empty(&turns) ? 0 : -1;
}

static void put(struct turn *turn, uint32_t uid, uint64_t client)
{
    *turn = (struct turn){ .whose = { .uid = uid, .client = client } };
    turns_put(&turns, turn);
}

static void assert_next(const struct turn *turn)
{
    assert_ptr_equal(turns_take(&turns, NULL, NULL), turn);
}

static void empty(void **state)
{
    (void)state;
    assert_true(turns_empty(&turns));
    assert_next(NULL);
}

static void one_client_is_served_in_order(void **state)
{
    struct turn turn[5];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(turn); i++)
        put(&turn[i], 7, 1);
    assert_false(turns_empty(&turns));
    for (size_t i = 0; i < ARRAY_LEN(turn); i++)
        assert_next(&turn[i]);
    assert_next(NULL);
}

static void users_take_turns(void **state)
{
    struct turn many[1000], few[2], late;

    (void)state;
    /* Each connection of the one user asks once, or some of them often: all the same to others. */
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        put(&many[i], 7, 1 + i % 480);
    put(&few[0], 8, 2000);
    put(&few[1], 8, 2000);
    assert_next(&many[0]);
    assert_next(&few[0]);
    assert_next(&many[1]);
    assert_next(&few[1]);
    assert_next(&many[2]);
    put(&late, 9, 2001);
    assert_next(&many[3]);
    assert_next(&late);
    for (size_t i = 4; i < ARRAY_LEN(many); i++)
        assert_next(&many[i]);
}

static void clients_of_a_user_take_turns(void **state)
{
    struct turn many[100], few[3];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(many); i++)
        put(&many[i], 7, 1);
    for (size_t i = 0; i < ARRAY_LEN(few); i++)
        put(&few[i], 7, 2);
    for (size_t i = 0; i < ARRAY_LEN(few); i++) {
        assert_next(&many[i]);
        assert_next(&few[i]);
    }
    for (size_t i = ARRAY_LEN(few); i < ARRAY_LEN(many); i++)
        assert_next(&many[i]);
}

/* A job of many steps comes back after each. */
static void who_comes_back_is_last(void **state)
{
    struct turn a, b, c;

    (void)state;
    put(&a, 7, 1);
    put(&b, 8, 2);
    put(&c, 8, 2);
    for (int i = 0; i < 3; i++) {
        assert_next(&a);
        turns_put(&turns, &a);
        assert_next(&b);
        turns_put(&turns, &b);
        assert_next(&a);
        turns_put(&turns, &a);
        assert_next(&c);
        turns_put(&turns, &c);
    }
    for (int i = 0; i < 3; i++)
        assert_non_null(turns_take(&turns, NULL, NULL));
}

static bool is_not(void *data, uint32_t uid)
{
    return uid != *(uint32_t *)data;
}

static void who_may_not_keeps_the_place(void **state)
{
    struct turn a[2], b[2];
    uint32_t barred = 7;

    (void)state;
    put(&a[0], 7, 1);
    put(&a[1], 7, 1);
    put(&b[0], 8, 2);
    put(&b[1], 8, 2);
    assert_ptr_equal(turns_take(&turns, is_not, &barred), &b[0]);
    assert_next(&a[0]);
    assert_ptr_equal(turns_take(&turns, is_not, &barred), &b[1]);
    assert_null(turns_take(&turns, is_not, &barred));
    assert_false(turns_empty(&turns));
    assert_next(&a[1]);
}

/* The number of a client says nothing of its user, and equal buckets are not equal clients. */
static void keys_are_compared_whole(void **state)
{
    const struct party parties[] = {
        { 7, 1 },
        { 7, 1 + TURNS_BUCKETS },
        { 7, UINT64_C(1) << 32 },
        { 7 + TURNS_BUCKETS, 1 },
        { 7 + TURNS_BUCKETS, 1 + TURNS_BUCKETS },
    };
    /* Two users by turns, the clients of each by turns. */
    const size_t order[] = { 0, 3, 1, 4, 2, 3, 0, 4, 1, 2 };
    struct turn turn[2][ARRAY_LEN(parties)];
    size_t taken[ARRAY_LEN(parties)] = { 0 };

    (void)state;
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < ARRAY_LEN(parties); j++)
            put(&turn[i][j], parties[j].uid, parties[j].client);
    }
    for (size_t i = 0; i < ARRAY_LEN(order); i++)
        assert_next(&turn[taken[order[i]]++][order[i]]);
}

#define PARTIES 40
#define MANY    5000

/* While all of some users wait all the time, no one of them is more than one turn ahead. */
static void nobody_is_ahead(void **state)
{
    static struct turn turn[MANY];
    uint64_t random = support_seed();
    unsigned int waiting[4] = { 0 }, since[4] = { 0 };

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        uint32_t uid = (uint32_t)(support_below(&random, 10) < 7 ? 0 : 1 + i % 3);

        put(&turn[i], uid, uid * PARTIES + support_below(&random, PARTIES));
        waiting[uid]++;
    }
    for (size_t i = 0; i < MANY; i++) {
        struct turn *next = turns_take(&turns, NULL, NULL);
        uint32_t uid;

        assert_non_null(next);
        uid = next->whose.uid;
        assert_true(waiting[uid] > 0);
        waiting[uid]--;
        since[uid] = 0;
        for (uint32_t other = 0; other < 4; other++) {
            if (other != uid && waiting[other] > 0)
                assert_true(++since[other] <= 3);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty),
        TEST(one_client_is_served_in_order),
        TEST(users_take_turns),
        TEST(clients_of_a_user_take_turns),
        TEST(who_comes_back_is_last),
        TEST(who_may_not_keeps_the_place),
        TEST(keys_are_compared_whole),
        TEST(nobody_is_ahead),
    };

    return cmocka_run_group_tests_name("turns", tests, NULL, NULL);
}
