/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A flood of malformed messages: the log tells of its first in full and of how many more there were,
 * exactly, in a few lines; nobody else is hurt.
 *
 * What can be malformed is test-hostile.c's.
 */
#include <stdio.h>
#include <unistd.h>

#include "tests/integration/bystander.h"

#define FLOOD 1000

static struct daemon daemon_of_group;
static struct bystander bystander;

static int start(void **state)
{
    (void)state;
    daemon_start_with(&daemon_of_group, "fake", NULL);
    bystander_start(&bystander, &daemon_of_group);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_group);
    return 0;
}

static int send_a_flood(void *data)
{
    (void)data;
    for (int i = 0; i < FLOOD; i++)
        CHECK(offence_ends(&bystander, false, "x", 1, 0));
    return 0;
}

static bool is_told(void *data)
{
    return bystander_blames(&bystander) >= *(uint64_t *)data;
}

/* @sum: what the log has told of when all of it is told. */
static void check_flood(uid_t uid, uint64_t sum)
{
    unsigned int sums = daemon_log_count(&daemon_of_group, " more like it from uid ");
    char who[64];
    pid_t pid;

    bystander_before(&bystander);
    pid = spawn_as(uid, send_a_flood, NULL);
    assert_int_equal(join(pid), 0);
    snprintf(who, sizeof(who), "(pid %d, uid %u) sent a message that cannot be decoded", (int)pid,
             getuid() == 0 ? uid : getuid());
    /* More than one only if it took longer than one burst is counted. */
    assert_in_range(daemon_log_count(&daemon_of_group, who), 1, 5);
    wait_until(is_told, &sum);
    assert_int_equal(bystander_blames(&bystander), sum);
    assert_in_range(daemon_log_count(&daemon_of_group, " more like it from uid "), sums + 1,
                    sums + 5);
    bystander_after(&bystander);
    bystander_check_alloc(&bystander);
}

static void flood_is_summed_up(void **state)
{
    (void)state;
    check_flood(TEST_CLIENT_UID, FLOOD);
}

/* When it was summed up, the next begins with one in full. */
static void another_is_told_again(void **state)
{
    (void)state;
    check_flood(TEST_CLIENT_UID, 2 * FLOOD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flood_is_summed_up),
        cmocka_unit_test(another_is_told_again),
    };

    return cmocka_run_group_tests_name("flood", tests, start, stop);
}
