/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/names.h: the table of names, and whom a name lets in. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "common/cleanup.h"
#include "daemon/keeper/names.h"
#include "tests/unit/support.h"

#define LIMIT         40
#define LIMIT_OF_USER 20
#define ANYBODY       UINT32_MAX
#define OWN           UINT32_MAX
#define RW            DMABUFD_READ_WRITE
#define RO            DMABUFD_READ_ONLY

static struct names names;
static struct quota quota;
static struct buffer *buffer;
static struct fault fault;
static uint32_t friends[] = { 50, 51 };
static const struct identity root = { .uid = 0, .gid = 0 };
static const struct identity alice = {
    .uid = 1000, .gid = 1000, .groups = friends, .group_count = 2
};
static const struct identity bob = { .uid = 1001, .gid = 50 };
static const struct identity carol = {
    .uid = 1002, .gid = 1002, .groups = friends + 1, .group_count = 1
};
static const struct identity eve = { .uid = 1003, .gid = 1003 };

static int setup(void **state)
{
    (void)state;
    names_init(&names, LIMIT);
    quota_init(&quota, &(struct quota_limits){ { [QUOTA_NAMES] = LIMIT_OF_USER } });
    buffer = buffer_new();
    return buffer ? 0 : -1;
}

static int teardown(void **state)
{
    bool empty;

    (void)state;
    names_forget(&names, buffer);
    empty = names.count == 0 && LIST_EMPTY(&buffer->names);
    /* Nobody is charged any more, or would still be there. */
    for (size_t i = 0; i < QUOTA_BUCKETS; i++)
        empty = empty && LIST_EMPTY(&quota.users[i]);
    buffer_free(buffer);
    names_deinit(&names);
    return empty ? 0 : -1;
}

static int publish_as(const struct identity *who, enum dmabufd_access access, const char *text,
                      uint32_t group, uint32_t mode)
{
    const struct names_publication publication = { .text = text, .group = group, .mode = mode };
    struct quota_user *user = quota_enter(&quota, who->uid);
    uint64_t charged = atomic_load(&user->used[QUOTA_NAMES]);
    uint32_t before = names.count;
    int r;

    fault = (struct fault){ 0 };
    r = names_publish(&names, who, user, buffer, access, &publication, &fault);
    assert_int_equal(atomic_load(&user->used[QUOTA_NAMES]), charged + (r == 0));
    quota_leave(user);
    assert_int_equal(r, -fault.error);
    assert_int_equal(names.count, before + (r == 0));
    return r;
}

static int publish(const char *text, uint32_t group, uint32_t mode)
{
    return publish_as(&alice, RW, text, group, mode);
}

static int open_as(const struct identity *who, const char *text, enum dmabufd_access access,
                   uint32_t owner)
{
    struct name *name = NULL;
    int r;

    fault = (struct fault){ 0 };
    r = names_open(&names, who, text, access, owner, &name, &fault);
    assert_int_equal(r, -fault.error);
    assert_int_equal(r == 0, name != NULL);
    if (name) {
        assert_string_equal(name->text, text);
        assert_ptr_equal(name->buffer, buffer);
    }
    return r;
}

static int withdraw(const struct identity *who, const char *text)
{
    fault = (struct fault){ 0 };
    return names_withdraw(&names, who, text, &fault);
}

static void texts(void **state)
{
    static const char *const good[] = {
        "a", "Z", "0", "._-", "a/b/c", "-", ".", "..", "a//b", "x/"
    };
    static const char *const bad[] = { "",      "/",   "/a",  " ",    "a b",   "a\n",     "\x01",
                                       "a\xc3", "a*b", "a:b", "a\\b", "a\x7f", "\xff\xff" };
    char text[PROTO_NAME_MAX + 2];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++)
        assert_int_equal(publish(good[i], OWN, 0600), 0);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        assert_int_equal(publish(bad[i], OWN, 0600), -EINVAL);
        assert_int_equal(fault.code, DMABUFD_CODE_INVALID);
        assert_int_equal(open_as(&root, bad[i], RW, ANYBODY), -ENOENT);
        assert_int_equal(withdraw(&root, bad[i]), -ENOENT);
    }
    memset(text, 'x', sizeof(text));
    text[PROTO_NAME_MAX + 1] = '\0';
    assert_int_equal(publish(text, OWN, 0600), -EINVAL);
    text[PROTO_NAME_MAX] = '\0';
    assert_int_equal(publish(text, OWN, 0600), 0);
    assert_int_equal(open_as(&alice, text, RW, ANYBODY), 0);
}

static void modes_and_groups(void **state)
{
    static const uint32_t bad_modes[] = { 0667, 0700, 0111, 01666, 04600, 0x80000000, UINT32_MAX };
    static const struct identity cut = { .uid = 1, .gid = 1, .cut = true };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_modes); i++)
        assert_int_equal(publish("x", OWN, bad_modes[i]), -EINVAL);
    assert_int_equal(publish("none", OWN, 0), 0);
    assert_int_equal(publish("all", OWN, 0666), 0);
    assert_int_equal(publish("own", 1000, 0660), 0);
    assert_int_equal(publish("friends", 51, 0660), 0);
    assert_int_equal(publish("x", 52, 0660), -EPERM);
    assert_int_equal(fault.code, DMABUFD_CODE_DENIED);
    assert_int_equal(publish("x", 0, 0660), -EPERM);
    /* Not known is not a member. */
    assert_int_equal(publish_as(&cut, RW, "x", 52, 0660), -EPERM);
    assert_int_equal(publish_as(&root, RW, "by-root", 52, 0660), 0);
}

/* Who may only read lets nobody write, and can let others read as it can pass its descriptor on. */
static void read_only_publishers(void **state)
{
    (void)state;
    assert_int_equal(publish_as(&alice, RO, "x", OWN, 0600), -EACCES);
    assert_int_equal(fault.code, DMABUFD_CODE_DENIED);
    assert_int_equal(publish_as(&alice, RO, "x", OWN, 0420), -EACCES);
    assert_int_equal(publish_as(&alice, RO, "x", OWN, 0402), -EACCES);
    assert_int_equal(publish_as(&root, RO, "x", OWN, 0600), -EACCES);
    assert_int_equal(publish_as(&alice, RO, "x", OWN, 0444), 0);
    assert_int_equal(open_as(&eve, "x", RO, ANYBODY), 0);
    assert_int_equal(open_as(&alice, "x", RW, ANYBODY), -EACCES);
}

static void registered_memory(void **state)
{
    (void)state;
    buffer->registered = true;
    assert_int_equal(publish("x", OWN, 0600), -EOPNOTSUPP);
    assert_int_equal(fault.code, DMABUFD_CODE_UNSUPPORTED);
    buffer->registered = false;
}

static void who_may_open(void **state)
{
    static const struct {
        const struct identity *who;
        const char *text;
        int read, write;
    } cases[] = {
        { &alice, "private", 0, 0 },
        { &bob, "private", -ENOENT, -ENOENT },
        { &root, "private", 0, 0 },
        { &alice, "group", 0, 0 },
        { &bob, "group", 0, 0 },
        { &carol, "group", -ENOENT, -ENOENT },
        { &eve, "group", -ENOENT, -ENOENT },
        { &carol, "second", 0, -EACCES },
        { &bob, "second", -ENOENT, -ENOENT },
        { &eve, "public", 0, -EACCES },
        { &bob, "not-group", -ENOENT, -ENOENT },
        { &eve, "not-group", 0, 0 },
        { &alice, "write-only", -ENOENT, -ENOENT },
        { &eve, "write-only", -ENOENT, -ENOENT },
    };

    (void)state;
    assert_int_equal(publish("private", OWN, 0600), 0);
    assert_int_equal(publish("group", 50, 0660), 0);
    assert_int_equal(publish("second", 51, 0640), 0);
    assert_int_equal(publish("public", OWN, 0644), 0);
    assert_int_equal(publish("not-group", 50, 0606), 0);
    assert_int_equal(publish("write-only", OWN, 0222), 0);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(open_as(cases[i].who, cases[i].text, RO, ANYBODY), cases[i].read);
        assert_int_equal(open_as(cases[i].who, cases[i].text, RW, ANYBODY), cases[i].write);
    }
}

/* Not to be allowed and not to exist are the same answer to the last byte. */
static void nothing_is_revealed(void **state)
{
    struct fault forbidden, missing;

    (void)state;
    memset(&forbidden, 0, sizeof(forbidden));
    memset(&missing, 0, sizeof(missing));
    assert_int_equal(publish("secret", OWN, 0600), 0);
    names_open(&names, &eve, "secret", RO, alice.uid, &(struct name *){ NULL }, &forbidden);
    names_open(&names, &eve, "nothing", RO, alice.uid, &(struct name *){ NULL }, &missing);
    assert_memory_equal(&forbidden, &missing, sizeof(missing));
    assert_int_equal(missing.code, DMABUFD_CODE_NO_NAME);
    names_open(&names, &eve, "secret", RW, eve.uid, &(struct name *){ NULL }, &forbidden);
    assert_memory_equal(&forbidden, &missing, sizeof(missing));
    names_withdraw(&names, &eve, "secret", &forbidden);
    assert_memory_equal(&forbidden, &missing, sizeof(missing));
    assert_null(names_next(&names, &eve, ""));
}

/* Who comes first has the name; who cares says whose it must be. */
static void squatting(void **state)
{
    (void)state;
    assert_int_equal(publish_as(&eve, RW, "stack/ring", OWN, 0666), 0);
    assert_int_equal(publish("stack/ring", OWN, 0666), -EEXIST);
    assert_int_equal(fault.code, DMABUFD_CODE_NAME_TAKEN);
    assert_int_equal(publish_as(&eve, RW, "stack/ring", OWN, 0600), -EEXIST);
    assert_int_equal(open_as(&bob, "stack/ring", RW, ANYBODY), 0);
    assert_int_equal(open_as(&bob, "stack/ring", RW, eve.uid), 0);
    assert_int_equal(open_as(&bob, "stack/ring", RW, alice.uid), -EPERM);
    assert_int_equal(open_as(&root, "stack/ring", RO, alice.uid), -EPERM);
    assert_int_equal(withdraw(&alice, "stack/ring"), -EPERM);
    assert_int_equal(withdraw(&root, "stack/ring"), 0);
    assert_int_equal(publish("stack/ring", OWN, 0666), 0);
    assert_int_equal(open_as(&bob, "stack/ring", RW, alice.uid), 0);
    assert_int_equal(withdraw(&alice, "stack/ring"), 0);
    assert_int_equal(withdraw(&alice, "stack/ring"), -ENOENT);
    assert_int_equal(open_as(&bob, "stack/ring", RW, ANYBODY), -ENOENT);
}

static void limits(void **state)
{
    char text[16];

    (void)state;
    for (int i = 0; i < LIMIT_OF_USER; i++) {
        snprintf(text, sizeof(text), "a%d", i);
        assert_int_equal(publish(text, OWN, 0600), 0);
    }
    assert_int_equal(publish("one-more", OWN, 0600), -EMFILE);
    assert_int_equal(fault.code, DMABUFD_CODE_LIMIT);
    /* At the limit nobody learns what is taken. */
    assert_int_equal(publish("a1", OWN, 0600), -EMFILE);
    for (int i = 0; i < LIMIT_OF_USER - 1; i++) {
        snprintf(text, sizeof(text), "b%d", i);
        assert_int_equal(publish_as(&bob, RW, text, OWN, 0600), 0);
    }
    assert_int_equal(publish_as(&eve, RW, "e", OWN, 0600), 0);
    assert_int_equal(publish_as(&eve, RW, "e2", OWN, 0600), -EMFILE);
    assert_int_equal(publish_as(&root, RW, "r", OWN, 0600), -EMFILE);
    assert_int_equal(withdraw(&alice, "a0"), 0);
    assert_int_equal(publish_as(&eve, RW, "e2", OWN, 0600), 0);
}

static void listed(const struct identity *who, const char *expected)
{
    const struct name *name;
    const char *after = "";
    char text[1024] = "";

    while ((name = names_next(&names, who, after))) {
        strcat(text, name->text);
        strcat(text, " ");
        after = name->text;
    }
    assert_string_equal(text, expected);
}

static void list(void **state)
{
    (void)state;
    listed(&root, "");
    assert_int_equal(publish("m", 50, 0640), 0);
    assert_int_equal(publish("z", OWN, 0600), 0);
    assert_int_equal(publish("a", OWN, 0644), 0);
    assert_int_equal(publish("none", OWN, 0), 0);
    assert_int_equal(publish("Z", OWN, 0622), 0);
    listed(&root, "Z a m none z ");
    listed(&alice, "Z a m none z ");
    listed(&bob, "a m ");
    listed(&eve, "a ");
    /* A cursor need not be a name. */
    assert_string_equal(names_next(&names, &root, "b")->text, "m");
    assert_string_equal(names_next(&names, &root, "m")->text, "none");
    assert_string_equal(names_next(&names, &bob, "Z")->text, "a");
    assert_null(names_next(&names, &root, "z"));
    assert_null(names_next(&names, &root, "zz"));
}

static void forgotten_with_the_buffer(void **state)
{
    struct buffer *mine = buffer, *other = buffer_new();

    (void)state;
    assert_int_equal(publish("one", OWN, 0600), 0);
    assert_int_equal(publish("three", OWN, 0600), 0);
    buffer = other;
    assert_int_equal(publish("two", OWN, 0600), 0);
    names_forget(&names, mine);
    listed(&alice, "two ");
    assert_int_equal(publish("one", OWN, 0600), 0);
    names_forget(&names, other);
    assert_int_equal(names.count, 0);
    names_forget(&names, other);
    buffer = mine;
    buffer_free(other);
}

/* Against an array that is searched from its beginning. */
static void random_operations(void **state)
{
    uint64_t random = support_seed();
    bool there[LIMIT_OF_USER] = { false };

    (void)state;
    for (int i = 0; i < 20000; i++) {
        uint64_t which = support_below(&random, LIMIT_OF_USER);
        char text[16], expected[256] = "";

        snprintf(text, sizeof(text), "n%02u", (unsigned int)which);
        if (support_below(&random, 2)) {
            assert_int_equal(publish(text, OWN, 0600) == 0, !there[which]);
            there[which] = true;
        } else {
            assert_int_equal(withdraw(&alice, text) == 0, there[which]);
            there[which] = false;
        }
        assert_int_equal(open_as(&alice, text, RW, ANYBODY) == 0, there[which]);
        for (unsigned int n = 0; i % 50 == 0 && n < LIMIT_OF_USER; n++) {
            if (there[n])
                snprintf(expected + strlen(expected), 16, "n%02u ", n);
        }
        if (i % 50 == 0)
            listed(&alice, expected);
    }
}

static void deinit_of_zeroed(void **state)
{
    struct names zeroed = { 0 };

    (void)state;
    names_deinit(&zeroed);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(texts),
        TEST(modes_and_groups),
        TEST(read_only_publishers),
        TEST(registered_memory),
        TEST(who_may_open),
        TEST(nothing_is_revealed),
        TEST(squatting),
        TEST(limits),
        TEST(list),
        TEST(forgotten_with_the_buffer),
        TEST(random_operations),
        cmocka_unit_test(deinit_of_zeroed),
    };

    return cmocka_run_group_tests_name("names", tests, NULL, NULL);
}
