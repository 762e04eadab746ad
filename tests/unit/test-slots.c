/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* common/slots.h: ids that are never given twice, and a look-up that takes any number. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdlib.h>

#include "common/cleanup.h"
#include "common/slots.h"
#include "tests/unit/support.h"

#define CLEANUP_SLOTS CLEANUP(slots_deinit)

/* As in slots.c, for the one test that cannot wait for 2^32 uses. */
struct slot {
    void *item;
    uint32_t generation;
    uint32_t next_free;
};

static int things[4096];

static uint64_t add(struct slots *slots, void *item)
{
    uint64_t id = 0;

    assert_int_equal(slots_add(slots, item, &id), 0);
    assert_int_not_equal(id, 0);
    return id;
}

static void empty_table(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint32_t cursor = 0;

    (void)state;
    slots_init(&slots, 10);
    assert_null(slots.table);
    assert_int_equal(slots.count, 0);
    assert_null(slots_get(&slots, 0));
    assert_null(slots_get(&slots, 1));
    assert_null(slots_get(&slots, UINT64_MAX));
    assert_null(slots_remove(&slots, UINT64_C(1) << 32 | 1));
    assert_null(slots_next(&slots, &cursor));
}

static void deinit_of_zeroed_and_twice(void **state)
{
    struct slots slots = { 0 };

    (void)state;
    slots_deinit(&slots);
    slots_init(&slots, 10);
    add(&slots, &things[0]);
    slots_deinit(&slots);
    slots_deinit(&slots);
    assert_null(slots.table);
    assert_int_equal(slots.limit, 0);
}

static void get_and_remove(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint64_t a, b;

    (void)state;
    slots_init(&slots, 10);
    a = add(&slots, &things[0]);
    b = add(&slots, &things[1]);
    assert_int_not_equal(a, b);
    assert_int_equal(slots.count, 2);
    assert_ptr_equal(slots_get(&slots, a), &things[0]);
    assert_ptr_equal(slots_get(&slots, b), &things[1]);
    assert_ptr_equal(slots_remove(&slots, a), &things[0]);
    assert_int_equal(slots.count, 1);
    assert_null(slots_get(&slots, a));
    assert_null(slots_remove(&slots, a));
    assert_int_equal(slots.count, 1);
    assert_ptr_equal(slots_get(&slots, b), &things[1]);
}

static void index_of_an_id(void **state)
{
    CLEANUP_SLOTS struct slots slots;

    (void)state;
    slots_init(&slots, 100);
    for (uint32_t i = 0; i < 100; i++)
        assert_int_equal(slots_index(add(&slots, &things[i])), i);
    assert_int_equal(slots_index(0), UINT32_MAX);
    assert_int_equal(slots_index(UINT64_C(7) << 32), UINT32_MAX);
    assert_int_equal(slots_index(UINT64_C(7) << 32 | 5), 4);
}

static void stale_ids_miss(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint64_t old[1000], now;

    (void)state;
    slots_init(&slots, 1);
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        old[i] = add(&slots, &things[i]);
        assert_ptr_equal(slots_remove(&slots, old[i]), &things[i]);
    }
    now = add(&slots, &things[7]);
    assert_int_equal(slots.capacity, 1);
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        /* The same place, used once more each time. */
        assert_int_equal(slots_index(old[i]), 0);
        assert_int_equal(old[i] >> 32, i);
        assert_null(slots_get(&slots, old[i]));
        assert_null(slots_remove(&slots, old[i]));
    }
    assert_ptr_equal(slots_get(&slots, now), &things[7]);
}

static void used_up_place_is_retired(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint64_t id;

    (void)state;
    slots_init(&slots, 2);
    add(&slots, &things[0]);
    id = add(&slots, &things[1]);
    assert_int_equal(slots.table[1].generation, id >> 32);
    slots.table[1].generation = UINT32_MAX;
    assert_null(slots_get(&slots, id));
    id = UINT64_C(0xffffffff00000002);
    assert_ptr_equal(slots_get(&slots, id), &things[1]);
    assert_ptr_equal(slots_remove(&slots, id), &things[1]);
    assert_int_equal(slots.count, 1);
    /* Its next id would have been given before: so there is none. */
    assert_int_equal(slots_add(&slots, &things[2], &id), -ENOSPC);
    assert_null(slots_get(&slots, 2));
}

static void check_limit(uint32_t limit)
{
    CLEANUP_SLOTS struct slots slots;
    uint64_t first = 0, id = 77;

    slots_init(&slots, limit);
    for (uint32_t i = 0; i < limit; i++) {
        id = add(&slots, &things[i]);
        first = i == 0 ? id : first;
    }
    id = 77;
    assert_int_equal(slots_add(&slots, &things[0], &id), -ENOSPC);
    assert_int_equal(id, 77);
    assert_int_equal(slots.count, limit);
    assert_int_equal(slots.capacity, limit);
    if (limit == 0)
        return;
    assert_ptr_equal(slots_remove(&slots, first), &things[0]);
    add(&slots, &things[1]);
    assert_int_equal(slots_add(&slots, &things[0], &id), -ENOSPC);
}

static void limit_is_exact(void **state)
{
    (void)state;
    for (uint32_t limit = 0; limit <= 70; limit++)
        check_limit(limit);
}

static void walk_visits_each_once_in_order(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint32_t cursor = 0;
    uint64_t ids[100];
    size_t seen = 0;
    int *item;

    (void)state;
    slots_init(&slots, 200);
    for (size_t i = 0; i < 100; i++)
        ids[i] = add(&slots, &things[i]);
    for (size_t i = 0; i < 100; i += 3)
        slots_remove(&slots, ids[i]);
    while ((item = slots_next(&slots, &cursor))) {
        size_t index = (size_t)(item - things);

        assert_int_equal(index, seen / 2 * 3 + 1 + seen % 2);
        assert_int_equal(cursor, index + 1);
        seen++;
    }
    assert_int_equal(seen, 66);
    assert_null(slots_next(&slots, &cursor));
}

/* The current entry, one behind and one before the cursor go while walking. */
static void walk_with_removal(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint32_t cursor = 0;
    uint64_t ids[100];
    size_t seen = 0;
    int *item;

    (void)state;
    slots_init(&slots, 200);
    for (size_t i = 0; i < 100; i++)
        ids[i] = add(&slots, &things[i]);
    while ((item = slots_next(&slots, &cursor))) {
        size_t index = (size_t)(item - things);

        assert_int_equal(index, 4 * seen);
        assert_ptr_equal(slots_remove(&slots, ids[index]), item);
        for (size_t ahead = 1; ahead < 4; ahead++)
            assert_ptr_equal(slots_remove(&slots, ids[index + ahead]), item + ahead);
        seen++;
    }
    assert_int_equal(seen, 25);
    assert_int_equal(slots.count, 0);
}

static void any_number_may_be_asked_for(void **state)
{
    CLEANUP_SLOTS struct slots slots;
    uint64_t random = support_seed(), ids[8];

    (void)state;
    slots_init(&slots, 16);
    for (size_t i = 0; i < 8; i++)
        ids[i] = add(&slots, &things[i]);
    for (int i = 0; i < 200000; i++) {
        uint64_t id = support_random(&random);
        void *expected = NULL;

        /* Near misses too: every generation up to 3 and every place up to 31. */
        if (i % 2)
            id = (id & 3) << 32 | (id >> 8 & 31);
        for (size_t j = 0; j < 8; j++)
            expected = ids[j] == id ? &things[j] : expected;
        assert_ptr_equal(slots_get(&slots, id), expected);
    }
    for (uint64_t generation = 0; generation < 4; generation++) {
        assert_null(slots_get(&slots, generation << 32));
        assert_null(slots_get(&slots, generation << 32 | UINT32_MAX));
        assert_null(slots_get(&slots, generation << 32 | 17));
    }
}

static int compare_ids(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

#define HISTORY 50000
#define LIVE    300

static void ids_are_never_repeated(void **state)
{
    static uint64_t all[HISTORY], live[LIVE];
    static size_t which[LIVE];
    CLEANUP_SLOTS struct slots slots;
    uint64_t random = support_seed();
    size_t added = 0, count = 0;

    (void)state;
    slots_init(&slots, LIVE);
    while (added < HISTORY) {
        if (count < LIVE && support_below(&random, 100) < 55) {
            which[count] = added % ARRAY_LEN(things);
            live[count] = all[added] = add(&slots, &things[which[count]]);
            added++;
            count++;
        } else if (count > 0) {
            size_t i = support_below(&random, count);

            assert_ptr_equal(slots_remove(&slots, live[i]), &things[which[i]]);
            assert_null(slots_get(&slots, live[i]));
            live[i] = live[--count];
            which[i] = which[count];
        }
        assert_int_equal(slots.count, count);
    }
    for (size_t i = 0; i < count; i++)
        assert_ptr_equal(slots_get(&slots, live[i]), &things[which[i]]);
    assert_true(slots.capacity <= LIVE);
    qsort(all, HISTORY, sizeof(all[0]), compare_ids);
    for (size_t i = 1; i < HISTORY; i++)
        assert_int_not_equal(all[i - 1], all[i]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(empty_table),
        cmocka_unit_test(deinit_of_zeroed_and_twice),
        cmocka_unit_test(get_and_remove),
        cmocka_unit_test(index_of_an_id),
        cmocka_unit_test(stale_ids_miss),
        cmocka_unit_test(used_up_place_is_retired),
        cmocka_unit_test(limit_is_exact),
        cmocka_unit_test(walk_visits_each_once_in_order),
        cmocka_unit_test(walk_with_removal),
        cmocka_unit_test(any_number_may_be_asked_for),
        cmocka_unit_test(ids_are_never_repeated),
    };

    return cmocka_run_group_tests_name("slots", tests, NULL, NULL);
}
