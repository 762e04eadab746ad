/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Users, groups and modes; see identity.h. */
#include "daemon/keeper/identity.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "daemon/link.h"

#define BOTH (IDENTITY_READ | IDENTITY_WRITE)

int identity_add_groups(struct identity *identity, const uint32_t *groups, uint32_t count, bool cut)
{
    uint32_t *grown;

    if (count > LINK_GROUPS_MAX - identity->group_count)
        return -EINVAL;
    if (count > 0) {
        grown = reallocarray(identity->groups, identity->group_count + count, sizeof(*grown));
        if (!grown)
            return -ENOMEM;
        memcpy(grown + identity->group_count, groups, count * sizeof(*grown));
        identity->groups = grown;
        identity->group_count += count;
    }
    identity->cut |= cut;
    return 0;
}

void identity_deinit(struct identity *identity)
{
    free(identity->groups);
    identity->groups = NULL;
    identity->group_count = 0;
}

enum identity_member identity_in_group(const struct identity *identity, uint32_t group)
{
    if (identity->gid == group)
        return IDENTITY_INSIDE;
    for (uint32_t i = 0; i < identity->group_count; i++) {
        if (identity->groups[i] == group)
            return IDENTITY_INSIDE;
    }
    return identity->cut ? IDENTITY_UNCERTAIN : IDENTITY_OUTSIDE;
}

uint32_t identity_permissions(const struct identity *identity, uint32_t owner, uint32_t group,
                              uint32_t mode)
{
    if (identity->uid == 0)
        return BOTH;
    if (identity->uid == owner)
        return mode >> 6 & BOTH;
    switch (identity_in_group(identity, group)) {
    case IDENTITY_INSIDE:
        return mode >> 3 & BOTH;
    case IDENTITY_UNCERTAIN:
        return mode >> 3 & mode & BOTH;
    default:
        return mode & BOTH;
    }
}
