/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The example of a multi-process stack, examples/ring.c: one process allocates and publishes, three of
 * other users in its group attach and pass records round, the first is killed, the others go on. As root
 * the users are different ones.
 */
#include <dmabufd.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define OWNER  TEST_CLIENT_UID
#define FRIEND TEST_OTHER_UID /* the first of them, the others follow */
#define GROUP  61100U
#define RO     DMABUFD_READ_ONLY

static const gid_t in_group[] = { GROUP };
static struct daemon daemon_of_test;
static struct leftovers before;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_test, NULL);
    leftovers_read(&daemon_of_test, &before);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
    return 0;
}

int example_ring(int argc, char **argv);

#define MEMBERS 3
#define RECORDS 16

struct role {
    const char *argv[6];
    int argc;
};

static int run_example(void *data)
{
    const struct role *role = data;

    CHECK(freopen("/dev/null", "w", stdout) != NULL);
    return example_ring(role->argc, (char **)(uintptr_t)role->argv);
}

static pid_t be_first(void)
{
    static char group[16];
    struct role role = { { "ring", "first", "ring", group, NULL }, getuid() == 0 ? 4 : 3 };

    snprintf(group, sizeof(group), "%u", GROUP);
    return spawn_in_groups(OWNER, in_group, 1, run_example, &role);
}

static pid_t be_member(uid_t uid, unsigned int index, unsigned int rounds)
{
    char index_text[16], rounds_text[16];
    struct role role = { { "ring", "member", "ring", index_text, rounds_text, NULL }, 5 };

    snprintf(index_text, sizeof(index_text), "%u", index);
    snprintf(rounds_text, sizeof(rounds_text), "%u", rounds);
    return spawn_in_groups(uid, in_group, 1, run_example, &role);
}

/* As in examples/ring.c. */
struct ring {
    struct {
        uint64_t written, read, offset[32];
    } queue[MEMBERS];
    struct {
        uint64_t dma_addr;
        _Atomic uint64_t seen[MEMBERS];
    } records[RECORDS];
};

struct watch {
    dmabufd *d;
    dmabufd_buffer *buffer;
    uint64_t goal; /* of every record at every member */
    uint32_t holders;
};

static bool can_be_opened(void *data)
{
    struct watch *watch = data;

    return dmabufd_open(watch->d, "ring", RO, getuid() == 0 ? OWNER : getuid(), &watch->buffer) ==
           0;
}

static bool has_gone_round(void *data)
{
    const struct watch *watch = data;
    const struct ring *ring = dmabufd_buffer_data(watch->buffer);

    for (size_t i = 0; i < RECORDS; i++) {
        for (size_t member = 0; member < MEMBERS; member++) {
            if (atomic_load(&ring->records[i].seen[member]) < watch->goal)
                return false;
        }
    }
    return true;
}

static bool has_holders(void *data)
{
    const struct watch *watch = data;
    struct dmabufd_name_info *list;
    bool is;
    size_t count;

    assert_int_equal(dmabufd_names(watch->d, &list, &count), 0);
    is = count == 1 && list[0].holders == watch->holders;
    free(list);
    return is;
}

static void ring_to_the_end(void **state)
{
    struct watch watch = { .goal = 20 };
    pid_t first, members[MEMBERS];

    (void)state;
    assert_int_equal(dmabufd_connect(&watch.d, NULL), 0);
    first = be_first();
    wait_until(can_be_opened, &watch);
    for (unsigned int i = 0; i < MEMBERS; i++)
        members[i] = be_member(FRIEND + i, i, 20);
    for (unsigned int i = 0; i < MEMBERS; i++)
        assert_int_equal(join(members[i]), 0);
    assert_true(has_gone_round(&watch));
    kill(first, SIGKILL);
    join(first);
    dmabufd_disconnect(watch.d);
}

static void ring_without_its_first(void **state)
{
    struct watch watch = { .goal = 5, .holders = MEMBERS + 2 };
    pid_t first, members[MEMBERS];
    uint64_t address;

    (void)state;
    assert_int_equal(dmabufd_connect(&watch.d, NULL), 0);
    first = be_first();
    wait_until(can_be_opened, &watch);
    address = ((struct ring *)dmabufd_buffer_data(watch.buffer))->records[0].dma_addr;
    for (unsigned int i = 0; i < MEMBERS; i++)
        members[i] = be_member(FRIEND + i, i, 100000000);
    wait_until(has_holders, &watch);
    wait_until(has_gone_round, &watch);
    kill(first, SIGKILL);
    assert_int_equal(join(first), 128 + SIGKILL);
    watch.holders = MEMBERS + 1;
    wait_until(has_holders, &watch);
    /* From wherever they are by now. */
    watch.goal =
        10 + atomic_load(&((struct ring *)dmabufd_buffer_data(watch.buffer))->records[0].seen[0]);
    wait_until(has_gone_round, &watch);
    assert_int_equal(dmabufd_buffer_spans(watch.buffer, &(size_t){ 0 })->dma_addr +
                         offsetof(struct ring, records),
                     address);
    for (unsigned int i = 0; i < MEMBERS; i++) {
        assert_int_equal(kill(members[i], SIGTERM), 0);
        assert_int_equal(join(members[i]), 128 + SIGTERM);
    }
    dmabufd_disconnect(watch.d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(ring_to_the_end),
        TEST(ring_without_its_first),
    };

    return cmocka_run_group_tests_name("ring", tests, NULL, NULL);
}
