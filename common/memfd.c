/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Anonymous files; see memfd.h. */
#include "common/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kcmp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "common/cleanup.h"
#include "common/kernel-abi.h"

int memfd_open(const char *name, unsigned int flags, int *ret_fd)
{
    unsigned int base = MFD_CLOEXEC | MFD_ALLOW_SEALING | flags;
    CLEANUP_FD int fd = memfd_create(name, base | ABI_MFD_NOEXEC_SEAL);

    /* Linux before 6.3 does not know MFD_NOEXEC_SEAL. */
    if (fd < 0 && errno == EINVAL)
        fd = memfd_create(name, base);
    if (fd < 0)
        return -errno;
    if (fchmod(fd, 0600) < 0)
        return -errno;
    *ret_fd = TAKE_FD(fd);
    return 0;
}

bool memfd_is_memory(int fd)
{
    return fcntl(fd, F_GET_SEALS) >= 0;
}

int memfd_reopen_readonly(int fd, int *ret_fd)
{
    char path[32];
    int readonly;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    readonly = open(path, O_RDONLY | O_CLOEXEC);
    if (readonly < 0)
        return -errno;
    *ret_fd = readonly;
    return 0;
}

int memfd_same(int a, int b)
{
    int r = fcntl(a, ABI_F_DUPFD_QUERY, b);
    long order;

    if (r >= 0)
        return r;
    order = syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, a, b);
    if (order < 0)
        return -EOPNOTSUPP;
    return order == 0;
}
