/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: several users find one buffer, or do not; and the name ends with the last of those who hold
 * it. Against any backend; what needs several users needs root.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "proto/limits.h"
#include "tests/integration/harness.h"

#define OWNER    TEST_CLIENT_UID
#define FRIEND   TEST_OTHER_UID /* in GROUP by a supplementary one */
#define GROUP    61100U         /* also of the user with this number, by its primary one */
#define STRANGER 61003U
#define SIZE     8192
#define ANYBODY  DMABUFD_OWNER_ANY
#define RW       DMABUFD_READ_WRITE
#define RO       DMABUFD_READ_ONLY

static const gid_t in_group[] = { 61200, GROUP };
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

static void need_several_users(void)
{
    if (getuid() != 0)
        skip();
}

/* ---- a process that holds something until it is told to end ---- */

struct actor {
    pid_t pid;
    int stream;
    int (*act)(dmabufd *d, const struct actor *actor);
    const char *name;
    uint32_t mode;
};

static int play(void *data)
{
    const struct actor *actor = data;
    dmabufd *d;
    char end;

    CHECK(dmabufd_connect(&d, NULL) == 0 && actor->act(d, actor) == 0);
    CHECK(write_all(actor->stream, "r", 1));
    CHECK(read_all(actor->stream, &end, 1));
    dmabufd_disconnect(d);
    return 0;
}

/* Begins as this user, in GROUP; returns when it has done its part. */
static void begin(struct actor *actor, uid_t uid)
{
    char ready;
    int ends[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    actor->stream = ends[1];
    actor->pid = spawn_in_groups(uid, in_group, 2, play, actor);
    close(ends[1]);
    actor->stream = ends[0];
    assert_true(read_all(actor->stream, &ready, 1));
}

/* @signal: 0: it may end by itself. */
static void end(struct actor *actor, int signal)
{
    if (signal)
        kill(actor->pid, signal);
    else
        assert_true(write_all(actor->stream, "e", 1));
    close(actor->stream);
    assert_int_equal(join(actor->pid), signal ? 128 + signal : 0);
}

static int publish(dmabufd *d, const struct actor *actor)
{
    dmabufd_buffer *buffer;

    CHECK(dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    strcpy(dmabufd_buffer_data(buffer), actor->name);
    CHECK(dmabufd_publish(buffer, actor->name, actor->mode,
                          getuid() == OWNER ? GROUP : DMABUFD_GROUP_OWN) == 0);
    return 0;
}

static int attach(dmabufd *d, const struct actor *actor)
{
    dmabufd_buffer *buffer;

    CHECK(dmabufd_open(d, actor->name, RW, ANYBODY, &buffer) == 0);
    CHECK(dmabufd_buffer_access(buffer) == RW && dmabufd_buffer_size(buffer) == SIZE);
    CHECK(strcmp(dmabufd_buffer_data(buffer), actor->name) == 0);
    return 0;
}

/* Opens it, with what right there is, and lets go again. Return: what dmabufd_open() returned. */
static int try_open(const char *name, enum dmabufd_access access, uint32_t owner)
{
    dmabufd_buffer *buffer;
    dmabufd *d;
    int r = dmabufd_connect(&d, NULL);

    if (r < 0)
        return r;
    r = dmabufd_open(d, name, access, owner, &buffer);
    if (r == 0 &&
        (dmabufd_buffer_access(buffer) != access || strcmp(dmabufd_buffer_data(buffer), name) != 0))
        r = -EBADMSG;
    dmabufd_disconnect(d);
    return r;
}

/* ---- who finds what ---- */

/* One name for each mode, all of one buffer. */
static int publish_every_mode(dmabufd *d, const struct actor *actor)
{
    dmabufd_buffer *buffer;
    char name[8];

    (void)actor;
    CHECK(dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    for (uint32_t mode = 0; mode <= 0666; mode++) {
        if (mode & 0111)
            continue;
        snprintf(name, sizeof(name), "m%03o", mode);
        CHECK(dmabufd_publish(buffer, name, mode, GROUP) == 0);
    }
    return 0;
}

static int expected(uint32_t digit, enum dmabufd_access access)
{
    if (!(digit & 4))
        return -ENOENT;
    return access == RO || (digit & 2) ? 0 : -EACCES;
}

/* @data: which digit of the mode is ours, from the right; 3: all is allowed. */
static int open_every_mode(void *data)
{
    unsigned int which = *(const unsigned int *)data;
    struct dmabufd_name_info *list;
    size_t count, visible = 0;
    char name[8];
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (uint32_t mode = 0; mode <= 0666; mode++) {
        uint32_t digit = which == 3 ? 6 : mode >> (3 * which) & 7;

        if (mode & 0111)
            continue;
        snprintf(name, sizeof(name), "m%03o", mode);
        for (enum dmabufd_access access = RO; access <= RW; access++) {
            dmabufd_buffer *buffer = NULL;

            CHECK(dmabufd_open(d, name, access, OWNER, &buffer) == expected(digit, access));
            CHECK(dmabufd_free(buffer) == 0);
        }
        visible += which >= 2 || (digit & 4);
    }
    CHECK(dmabufd_names(d, &list, &count) == 0 && count == visible);
    for (size_t i = 0; i < count; i++) {
        CHECK(list[i].owner == OWNER && list[i].group == GROUP && list[i].size == SIZE);
        CHECK(list[i].mode == strtoul(list[i].name + 1, NULL, 8) && list[i].holders == 1);
    }
    free(list);
    dmabufd_disconnect(d);
    return 0;
}

static void every_mode_for_every_user(void **state)
{
    static const struct {
        uid_t uid;
        size_t groups;
        unsigned int digit;
    } visitors[] = { { OWNER, 2, 2 },  { FRIEND, 2, 1 },   { GROUP, 0, 1 },
                     { FRIEND, 1, 0 }, { STRANGER, 0, 0 }, { 0, 0, 3 } };
    struct actor publisher = { .act = publish_every_mode };

    (void)state;
    need_several_users();
    begin(&publisher, OWNER);
    for (size_t i = 0; i < sizeof(visitors) / sizeof(visitors[0]); i++) {
        unsigned int digit = visitors[i].digit;

        assert_int_equal(join(spawn_in_groups(visitors[i].uid, in_group, visitors[i].groups,
                                              open_every_mode, &digit)),
                         0);
    }
    end(&publisher, 0);
}

#define MANY 300U

/* More groups than the daemon keeps: those that it does not know of help nobody. */
static int open_with_many_groups(void *data)
{
    (void)data;
    CHECK(try_open("low", RW, ANYBODY) == 0);
    CHECK(try_open("high", RO, ANYBODY) == -ENOENT);
    CHECK(try_open("high-but-all", RO, ANYBODY) == 0);
    CHECK(try_open("high-but-all", RW, ANYBODY) == -EACCES);
    CHECK(try_open("not-high", RO, ANYBODY) == -ENOENT);
    return 0;
}

static int publish_for_groups(dmabufd *d, const struct actor *actor)
{
    static const struct {
        const char *name;
        uint32_t group, mode;
    } names[] = { { "low", 70016, 0660 },
                  { "high", 70000 + MANY - 1, 0660 },
                  { "high-but-all", 70000 + MANY - 1, 0664 },
                  { "not-high", 70000 + MANY - 1, 0606 } };

    (void)actor;
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        dmabufd_buffer *buffer;

        CHECK(dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
        strcpy(dmabufd_buffer_data(buffer), names[i].name);
        CHECK(dmabufd_publish(buffer, names[i].name, names[i].mode, names[i].group) == 0);
    }
    return 0;
}

static void more_groups_than_are_known(void **state)
{
    struct actor publisher = { .act = publish_for_groups };
    gid_t groups[MANY];

    (void)state;
    need_several_users();
    for (uint32_t i = 0; i < MANY; i++)
        groups[i] = 70000 + i;
    begin(&publisher, 0);
    assert_int_equal(join(spawn_in_groups(STRANGER, groups, MANY, open_with_many_groups, NULL)), 0);
    end(&publisher, 0);
}

static int publish_what_is_refused(void *data)
{
    char longest[PROTO_NAME_MAX + 2];
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    memset(longest, 'x', sizeof(longest) - 1);
    longest[PROTO_NAME_MAX + 1] = '\0';
    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    CHECK(dmabufd_publish(buffer, longest, 0600, DMABUFD_GROUP_OWN) == -EINVAL);
    CHECK(dmabufd_publish(buffer, "", 0600, DMABUFD_GROUP_OWN) == -EINVAL);
    CHECK(dmabufd_publish(buffer, "/x", 0600, DMABUFD_GROUP_OWN) == -EINVAL);
    CHECK(dmabufd_publish(buffer, "x", 0700, DMABUFD_GROUP_OWN) == -EINVAL);
    if (getuid() != 0)
        CHECK(dmabufd_publish(buffer, "x", 0660, 1) == -EPERM);
    CHECK(dmabufd_open(d, longest, RW, ANYBODY, &buffer) == -EINVAL);
    CHECK(dmabufd_open(d, "x", 0, ANYBODY, &buffer) == -EINVAL);
    CHECK(dmabufd_open(d, "x", RW, ANYBODY, &buffer) == -ENOENT);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_NO_NAME);
    CHECK(dmabufd_unpublish(d, "x") == -ENOENT && dmabufd_unpublish(d, longest) == -EINVAL);
    longest[PROTO_NAME_MAX] = '\0';
    CHECK(dmabufd_publish(buffer, longest, 0600, DMABUFD_GROUP_OWN) == 0);
    CHECK(try_open(longest, RW, ANYBODY) == -EBADMSG); /* there, with another content */
    CHECK(dmabufd_unpublish(d, longest) == 0 && try_open(longest, RW, ANYBODY) == -ENOENT);
    dmabufd_disconnect(d);
    return 0;
}

static void refusals(void **state)
{
    (void)state;
    run_as(OWNER, publish_what_is_refused, NULL);
}

/* The name was taken before its rightful owner came. */
static int meet_a_squatter(void *data)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(try_open("stack/ring", RW, ANYBODY) == 0);
    CHECK(try_open("stack/ring", RW, STRANGER) == 0);
    CHECK(try_open("stack/ring", RW, OWNER) == -EPERM);
    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    CHECK(dmabufd_publish(buffer, "stack/ring", 0600, DMABUFD_GROUP_OWN) == -EEXIST);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_NAME_TAKEN);
    CHECK(dmabufd_unpublish(d, "stack/ring") == -EPERM);
    dmabufd_disconnect(d);
    return 0;
}

static void squatters(void **state)
{
    struct actor squatter = { .act = publish, .name = "stack/ring", .mode = 0666 };

    (void)state;
    need_several_users();
    begin(&squatter, STRANGER);
    run_as(OWNER, meet_a_squatter, NULL);
    end(&squatter, 0);
}

static int publish_as_many_as_possible(void *data)
{
    struct dmabufd_name_info *list;
    size_t count, most = PROTO_NAMES_MAX / 4;
    dmabufd_buffer *buffer;
    char name[16];
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, SIZE, 4096, &buffer) == 0);
    for (size_t i = 0; i < most; i++) {
        snprintf(name, sizeof(name), "n%05zu", i * 7 % most);
        CHECK(dmabufd_publish(buffer, name, 0600, DMABUFD_GROUP_OWN) == 0);
    }
    CHECK(dmabufd_publish(buffer, "one-more", 0600, DMABUFD_GROUP_OWN) == -EMFILE);
    CHECK(dmabufd_names(d, &list, &count) == 0 && count == most);
    for (size_t i = 0; i < count; i++) {
        snprintf(name, sizeof(name), "n%05zu", i);
        CHECK(strcmp(list[i].name, name) == 0);
    }
    free(list);
    CHECK(dmabufd_free(buffer) == 0);
    CHECK(dmabufd_names(d, &list, &count) == 0 && count == 0 && list == NULL);
    dmabufd_disconnect(d);
    return 0;
}

static void limit_of_a_user(void **state)
{
    (void)state;
    run_as(OWNER, publish_as_many_as_possible, NULL);
}

/* ---- how long ---- */

static bool is_gone(void *data)
{
    return try_open(data, RO, ANYBODY) == -ENOENT;
}

static void vanishes_with_the_last(void **state)
{
    struct actor publisher = { .act = publish, .name = "shared", .mode = 0660 };
    struct actor first = { .act = attach, .name = "shared" }, second = first;

    (void)state;
    begin(&publisher, OWNER);
    begin(&first, FRIEND);
    end(&publisher, SIGKILL);
    /* Others hold it: it is there, also for newcomers. */
    begin(&second, FRIEND);
    end(&first, SIGKILL);
    assert_int_equal(try_open("shared", RW, ANYBODY), 0);
    assert_int_equal(try_open("shared", RW, getuid() == 0 ? OWNER : getuid()), 0);
    end(&second, SIGKILL);
    wait_until(is_gone, (void *)(uintptr_t) "shared");
    /* And can be taken anew. */
    begin(&publisher, OWNER);
    end(&publisher, 0);
}

static int take_back(void *data)
{
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_unpublish(d, "shared") == 0);
    CHECK(dmabufd_unpublish(d, "shared") == -ENOENT);
    dmabufd_disconnect(d);
    return 0;
}

/* Its owner is gone, but for another process of the same user. */
static void taken_back_by_its_user(void **state)
{
    struct actor publisher = { .act = publish, .name = "shared", .mode = 0660 };
    struct actor other = { .act = attach, .name = "shared" };

    (void)state;
    begin(&publisher, OWNER);
    begin(&other, FRIEND);
    end(&publisher, 0);
    run_as(OWNER, take_back, NULL);
    assert_int_equal(try_open("shared", RW, ANYBODY), -ENOENT);
    end(&other, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(every_mode_for_every_user),
        TEST(more_groups_than_are_known),
        TEST(refusals),
        TEST(squatters),
        TEST(limit_of_a_user),
        TEST(vanishes_with_the_last),
        TEST(taken_back_by_its_user),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
