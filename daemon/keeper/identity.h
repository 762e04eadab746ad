/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Identity: the user and the groups of a client, as the kernel vouched for them to the broker, and
 * what owner, group and mode of something permit them. The rules are those of files.
 */
#ifndef KEEPER_IDENTITY_H
#define KEEPER_IDENTITY_H

#include <stdbool.h>
#include <stdint.h>

/** Permissions, as in one digit of a mode. */
#define IDENTITY_READ  4U
#define IDENTITY_WRITE 2U

struct identity {
    uint32_t uid;
    uint32_t gid;
    uint32_t *groups; /* supplementary */
    uint32_t group_count;
    bool cut; /* it has more groups than these */
};

enum identity_member { IDENTITY_OUTSIDE, IDENTITY_INSIDE, IDENTITY_UNCERTAIN };

/**
 * identity_add_groups() - it is a member of these, too
 * @cut: there are more that will not be told
 * Return: 0; -EINVAL: more than LINK_GROUPS_MAX; -ENOMEM.
 */
int identity_add_groups(struct identity *identity, const uint32_t *groups, uint32_t count,
                        bool cut);

/** identity_deinit() - forget the groups. */
void identity_deinit(struct identity *identity);

/** identity_in_group() - whether it is a member; uncertain if its groups are cut. */
enum identity_member identity_in_group(const struct identity *identity, uint32_t group);

/**
 * identity_permissions() - what a mode permits it
 *
 * The owner's digit counts for the owner, else the group's for members, else that of others. Where
 * membership is uncertain, only what group and others have in common. User 0 may do everything.
 *
 * Return: IDENTITY_READ | IDENTITY_WRITE, one of them, or 0.
 */
uint32_t identity_permissions(const struct identity *identity, uint32_t owner, uint32_t group,
                              uint32_t mode);

#endif
