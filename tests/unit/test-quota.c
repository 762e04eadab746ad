/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/quota.h: counting by user, to the byte, by many threads at once. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/keeper/memory.h"
#include "daemon/keeper/quota.h"

#define MIB (UINT64_C(1) << 20)

static const struct quota_limits limits = {
    { [QUOTA_BUFFERS] = 3, [QUOTA_SMALL] = 10 * MIB, [QUOTA_2M] = 4 * MIB, [QUOTA_1G] = UINT64_MAX }
};
static struct quota quota;

static int setup(void **state)
{
    (void)state;
    quota_init(&quota, &limits);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (size_t i = 0; i < QUOTA_BUCKETS; i++) {
        if (!LIST_EMPTY(&quota.users[i]))
            return -1;
    }
    return 0;
}

static struct quota_user *enter(uint32_t uid)
{
    struct quota_user *user = quota_enter(&quota, uid);

    assert_non_null(user);
    assert_int_equal(user->uid, uid);
    return user;
}

static void one_user_for_each_id(void **state)
{
    /* Some share a bucket. */
    static const uint32_t uids[] = { 0, 7, 7 + QUOTA_BUCKETS, 7 + 2 * QUOTA_BUCKETS, UINT32_MAX };
    struct quota_user *users[ARRAY_LEN(uids)];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(uids); i++) {
        users[i] = enter(uids[i]);
        for (size_t j = 0; j < i; j++)
            assert_ptr_not_equal(users[i], users[j]);
    }
    for (size_t i = 0; i < ARRAY_LEN(uids); i++) {
        assert_ptr_equal(enter(uids[i]), users[i]);
        assert_ptr_equal(quota_again(users[i]), users[i]);
        for (int k = 0; k < 3; k++)
            assert_null(quota_leave(users[i]));
    }
    assert_null(quota_leave(NULL));
}

static void kinds_of_memory(void **state)
{
    (void)state;
    assert_int_equal(quota_kind_of(PAGE_4K), QUOTA_SMALL);
    assert_int_equal(quota_kind_of(PAGE_2M), QUOTA_2M);
    assert_int_equal(quota_kind_of(PAGE_1G), QUOTA_1G);
    assert_int_equal(quota_kind_of(PAGE_1G * 16), QUOTA_1G);
}

static void assert_refused(struct quota_user *user, enum quota_kind kind, uint64_t amount,
                           int error, enum dmabufd_code code, const char *text)
{
    uint64_t before = atomic_load(&user->used[kind]);
    struct fault fault = { 0 };

    assert_int_equal(quota_charge(user, kind, amount, &fault), -error);
    assert_int_equal(fault.error, error);
    assert_int_equal(fault.code, code);
    assert_non_null(strstr(fault.text, text));
    assert_int_equal(atomic_load(&user->used[kind]), before);
}

static void limits_are_exact(void **state)
{
    struct quota_user *user = enter(7), *other = enter(8);

    (void)state;
    assert_int_equal(quota_charge(user, QUOTA_SMALL, 4 * MIB, NULL), 0);
    assert_refused(user, QUOTA_SMALL, 6 * MIB + 1, ENOMEM, DMABUFD_CODE_NO_MEMORY,
                   "has 4 MiB of memory outside huge pages, 6 MiB more");
    assert_refused(user, QUOTA_SMALL, UINT64_MAX, ENOMEM, DMABUFD_CODE_NO_MEMORY,
                   "limit is 10 MiB");
    assert_int_equal(quota_charge(user, QUOTA_SMALL, 6 * MIB, NULL), 0);
    assert_refused(user, QUOTA_SMALL, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "--memory-limit-per-user");
    assert_int_equal(quota_charge(user, QUOTA_SMALL, 0, NULL), 0);
    assert_int_equal(quota_charge(other, QUOTA_SMALL, 10 * MIB, NULL), 0);
    quota_release(user, QUOTA_SMALL, 10 * MIB);
    quota_release(other, QUOTA_SMALL, 10 * MIB);
    assert_int_equal(quota_charge(user, QUOTA_SMALL, 10 * MIB, NULL), 0);
    quota_release(user, QUOTA_SMALL, 10 * MIB);
    quota_leave(user);
    quota_leave(other);
}

static void kinds_have_their_own(void **state)
{
    struct quota_user *user = enter(7);

    (void)state;
    assert_int_equal(quota_charge(user, QUOTA_BUFFERS, 3, NULL), 0);
    assert_refused(user, QUOTA_BUFFERS, 1, EMFILE, DMABUFD_CODE_LIMIT, "hold 3 buffers");
    assert_int_equal(quota_charge(user, QUOTA_2M, 4 * MIB, NULL), 0);
    assert_refused(user, QUOTA_2M, 2 * MIB, ENOMEM, DMABUFD_CODE_NO_MEMORY,
                   "has 4 MiB in huge pages");
    assert_int_equal(quota_charge(user, QUOTA_1G, UINT64_MAX, NULL), 0);
    assert_refused(user, QUOTA_1G, 1, ENOMEM, DMABUFD_CODE_NO_MEMORY, "huge pages");
    assert_int_equal(quota_charge(user, QUOTA_SMALL, 10 * MIB, NULL), 0);
    quota_leave(user);
}

#define THREADS 4
#define ROUNDS  20000

/* Two of four can have their share at a time. */
static void *take_and_give(void *data)
{
    struct quota_user *user = data;
    intptr_t taken = 0;

    for (int i = 0; i < ROUNDS; i++) {
        if (quota_charge(user, QUOTA_SMALL, 4 * MIB, NULL) < 0)
            continue;
        taken++;
        if (atomic_load(&user->used[QUOTA_SMALL]) > 10 * MIB)
            return (void *)-1;
        quota_release(user, QUOTA_SMALL, 4 * MIB);
    }
    return (void *)taken;
}

static void many_threads(void **state)
{
    struct quota_user *user = enter(7);
    pthread_t threads[THREADS];
    void *taken;

    (void)state;
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, take_and_give, user), 0);
    for (size_t i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &taken);
        assert_true((intptr_t)taken >= 0);
    }
    assert_int_equal(atomic_load(&user->used[QUOTA_SMALL]), 0);
    quota_leave(user);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(one_user_for_each_id), TEST(kinds_of_memory), TEST(limits_are_exact),
        TEST(kinds_have_their_own), TEST(many_threads),
    };

    return cmocka_run_group_tests_name("quota", tests, NULL, NULL);
}
