/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* daemon/keeper/identity.h: owner, group, others; and who is in a group. */
#include "tests/unit/cmocka-all.h"

#include <errno.h>

#include "common/cleanup.h"
#include "daemon/keeper/identity.h"
#include "daemon/link.h"

#define OWNER    1000U
#define GROUP    2000U
#define STRANGER 3000U
#define READ     IDENTITY_READ
#define WRITE    IDENTITY_WRITE

/* All modes against all kinds of users. */
static void every_mode(void **state)
{
    uint32_t groups[] = { 5, GROUP, 7 };
    static const struct {
        uint32_t uid, gid;
        bool in_group; /* by a supplementary one */
        int digit;     /* of the mode, from the right; -1: may do everything */
    } users[] = {
        { OWNER, 1, false, 2 },     { OWNER, GROUP, true, 2 }, { STRANGER, GROUP, false, 1 },
        { STRANGER, 1, true, 1 },   { STRANGER, 1, false, 0 }, { 0, 0, false, -1 },
        { GROUP, OWNER, false, 0 }, { 0, GROUP, true, -1 },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(users); i++) {
        const struct identity who = { .uid = users[i].uid,
                                      .gid = users[i].gid,
                                      .groups = groups,
                                      .group_count = users[i].in_group ? 3 : 1 };

        for (uint32_t mode = 0; mode <= 0777; mode++) {
            uint32_t digit = users[i].digit < 0 ? 6 : mode >> (3 * users[i].digit) & 6;

            assert_int_equal(identity_permissions(&who, OWNER, GROUP, mode), digit);
        }
    }
}

/* Nobody gains by having so many groups that not all are known. */
static void uncertain_members(void **state)
{
    uint32_t groups[] = { 5, 6 };
    const struct identity who = {
        .uid = STRANGER, .groups = groups, .group_count = 2, .cut = true
    };

    (void)state;
    assert_int_equal(identity_in_group(&who, 6), IDENTITY_INSIDE);
    assert_int_equal(identity_in_group(&who, GROUP), IDENTITY_UNCERTAIN);
    assert_int_equal(identity_permissions(&who, OWNER, 6, 0640), READ);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0640), 0);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0604), 0);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0644), READ);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0664), READ);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0646), READ);
    assert_int_equal(identity_permissions(&who, OWNER, GROUP, 0666), READ | WRITE);
    assert_int_equal(identity_permissions(&who, STRANGER, GROUP, 0600), READ | WRITE);
}

static void groups_in_pieces(void **state)
{
    struct identity who = { .uid = 1, .gid = 2 };
    uint32_t groups[LINK_GROUPS_MAX + 1];

    (void)state;
    for (uint32_t i = 0; i < ARRAY_LEN(groups); i++)
        groups[i] = 100 + i;
    assert_int_equal(identity_in_group(&who, 100), IDENTITY_OUTSIDE);
    assert_int_equal(identity_add_groups(&who, groups, 0, false), 0);
    assert_int_equal(identity_add_groups(&who, groups, LINK_GROUPS_MAX + 1, false), -EINVAL);
    assert_int_equal(identity_add_groups(&who, groups, 16, false), 0);
    assert_int_equal(identity_add_groups(&who, groups + 16, 16, false), 0);
    for (uint32_t i = 0; i < 32; i++)
        assert_int_equal(identity_in_group(&who, 100 + i), IDENTITY_INSIDE);
    assert_int_equal(identity_in_group(&who, 132), IDENTITY_OUTSIDE);
    assert_int_equal(identity_add_groups(&who, groups + 32, LINK_GROUPS_MAX - 32, false), 0);
    assert_int_equal(identity_add_groups(&who, groups, 1, false), -EINVAL);
    assert_int_equal(identity_add_groups(&who, groups, UINT32_MAX, false), -EINVAL);
    assert_int_equal(identity_in_group(&who, 99 + LINK_GROUPS_MAX), IDENTITY_INSIDE);
    assert_int_equal(identity_in_group(&who, 1), IDENTITY_OUTSIDE);
    assert_int_equal(identity_add_groups(&who, NULL, 0, true), 0);
    assert_int_equal(identity_in_group(&who, 1), IDENTITY_UNCERTAIN);
    /* What is cut stays so. */
    assert_int_equal(identity_add_groups(&who, NULL, 0, false), 0);
    assert_int_equal(identity_in_group(&who, 1), IDENTITY_UNCERTAIN);
    identity_deinit(&who);
    identity_deinit(&who);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_mode),
        cmocka_unit_test(uncertain_members),
        cmocka_unit_test(groups_in_pieces),
    };

    return cmocka_run_group_tests_name("identity", tests, NULL, NULL);
}
