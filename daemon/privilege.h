/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Privilege: giving it up. Both functions are called once, before any thread is started. */
#ifndef DAEMON_PRIVILEGE_H
#define DAEMON_PRIVILEGE_H

#include <sys/types.h>

#include "common/fault.h"

/**
 * privilege_keep_needed() - the keeper keeps only the capabilities that it uses from now on
 *
 * CAP_SYS_RAWIO (GET_PA asks for it on every call), CAP_IPC_LOCK (pins beyond the memory lock
 * limit), CAP_SETUID, CAP_SETGID, CAP_SETPCAP (for a new broker to become its user), CAP_KILL (to end a
 * broker that hangs). In particular CAP_SYS_ADMIN goes, which only the opening of pagemap needs.
 *
 * Return: 0 or a negative errno with @fault. Nothing to do, and 0, when not root.
 */
int privilege_keep_needed(struct fault *fault);

/**
 * privilege_drop() - the broker becomes an unprivileged user for good
 * @uid: (uid_t)-1: stay who we are
 *
 * No groups, no capability in any set, no way to get one (no_new_privs), not traceable by processes
 * of the same user, killed with its parent. A parent that is dead already shows by the end of the
 * link.
 *
 * Return: 0, or a negative errno with @fault: then the process must end.
 */
int privilege_drop(uid_t uid, gid_t gid, struct fault *fault);

#endif
