/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Giving up privilege; see privilege.h and capabilities(7). */
#include "daemon/privilege.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#define BIT(cap) (UINT64_C(1) << (cap))

static const uint64_t keeper_needs = BIT(CAP_SYS_RAWIO) | BIT(CAP_IPC_LOCK) | BIT(CAP_SETUID) |
                                     BIT(CAP_SETGID) | BIT(CAP_SETPCAP) | BIT(CAP_KILL);

static int get_permitted(uint64_t *ret)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2];

    if (syscall(SYS_capget, &header, data) < 0)
        return -errno;
    *ret = (uint64_t)data[1].permitted << 32 | data[0].permitted;
    return 0;
}

static int set_all(uint64_t mask)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct data[2] = {
        { .effective = (uint32_t)mask, .permitted = (uint32_t)mask },
        { .effective = (uint32_t)(mask >> 32), .permitted = (uint32_t)(mask >> 32) },
    };

    return syscall(SYS_capset, &header, data) < 0 ? -errno : 0;
}

/* What an exec by root would give back. */
static int limit_bounding_set(uint64_t mask)
{
    for (unsigned int cap = 0; cap < 64; cap++) {
        int present = prctl(PR_CAPBSET_READ, cap, 0, 0, 0);

        if (present < 0)
            break; /* the kernel knows no more capabilities */
        if (present && !(mask & BIT(cap)) && prctl(PR_CAPBSET_DROP, cap, 0, 0, 0) < 0)
            return -errno;
    }
    return 0;
}

int privilege_keep_needed(struct fault *fault)
{
    uint64_t permitted;
    int r = get_permitted(&permitted);

    if (r == 0 && (permitted & BIT(CAP_SETPCAP)))
        r = limit_bounding_set(keeper_needs);
    if (r == 0)
        r = set_all(permitted & keeper_needs);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, -r, "cannot give up capabilities: %s",
                         strerror(-r));
    return 0;
}

static int become(uid_t uid, gid_t gid)
{
    uint64_t permitted;
    int r = get_permitted(&permitted);

    if (r == 0 && (permitted & BIT(CAP_SETPCAP)))
        r = limit_bounding_set(0);
    if (r < 0)
        return r;
    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    return 0;
}

int privilege_drop(uid_t uid, gid_t gid, struct fault *fault)
{
    uint64_t permitted;
    int r = uid == (uid_t)-1 ? 0 : become(uid, gid);

    if (r == 0)
        r = set_all(0);
    if (r == 0)
        r = get_permitted(&permitted);
    if (r == 0 && permitted != 0)
        r = -EPERM;
    if (r == 0 &&
        (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 ||
         prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0))
        r = -errno;
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, -r, "cannot become unprivileged: %s",
                         strerror(-r));
    return 0;
}
