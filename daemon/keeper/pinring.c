/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pins by io_uring; see pinring.h and io_uring_register(2). */
#include "daemon/keeper/pinring.h"

#include <errno.h>
#include <linux/io_uring.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "common/cleanup.h"

static int explain_setup(int error, struct fault *fault)
{
    switch (error) {
    case ENOSYS:
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, ENOSYS,
                         "this kernel has no io_uring (CONFIG_IO_URING), or a seccomp filter such "
                         "as a container's hides it");
    case EPERM:
        return fault_set(
            fault, DMABUFD_CODE_UNSUPPORTED, EPERM,
            "io_uring is disabled: set the sysctl kernel.io_uring_disabled to 0 (or to "
            "1 with CAP_SYS_ADMIN), or allow it in the container's seccomp filter");
    case ENOMEM:
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, ENOMEM,
                         "io_uring hit the memory lock limit: the keeper needs CAP_IPC_LOCK or "
                         "LimitMEMLOCK=infinity");
    default:
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, error, "cannot set up an io_uring: %s",
                         strerror(error));
    }
}

int pinring_open(int *ret_fd, struct fault *fault)
{
    struct io_uring_params params = { 0 };
    struct io_uring_rsrc_register table = { .nr = PINRING_SLOTS,
                                            .flags = IORING_RSRC_REGISTER_SPARSE };
    CLEANUP_FD int fd = (int)syscall(SYS_io_uring_setup, 1, &params);

    if (fd < 0)
        return explain_setup(errno, fault);
    if (syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS2, &table, sizeof(table)) < 0) {
        if (errno == EINVAL)
            return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                             "io_uring of this kernel has no sparse buffer tables: Linux 5.19 is "
                             "the first with them");
        return explain_setup(errno, fault);
    }
    *ret_fd = TAKE_FD(fd);
    return 0;
}

static int update(int fd, uint32_t slot, struct iovec *iov)
{
    struct io_uring_rsrc_update2 update = { .offset = slot,
                                            .data = (uint64_t)(uintptr_t)iov,
                                            .nr = 1 };
    long n;

    do {
        n = syscall(SYS_io_uring_register, fd, IORING_REGISTER_BUFFERS_UPDATE, &update,
                    sizeof(update));
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    return n == 1 ? 0 : -EIO;
}

int pinring_pin(int fd, uint32_t slot, void *address, size_t length, struct fault *fault)
{
    struct iovec iov = { .iov_base = address, .iov_len = length };
    int r = update(fd, slot, &iov);

    if (r == -ENOMEM)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM,
                         "io_uring could not pin the memory: out of memory, or the memory lock "
                         "limit (the keeper needs CAP_IPC_LOCK or LimitMEMLOCK=infinity)");
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_BACKEND, -r, "io_uring could not pin the memory: %s",
                         strerror(-r));
    return 0;
}

int pinring_unpin(int fd, uint32_t slot, struct fault *fault)
{
    struct iovec none = { 0 };
    int r = update(fd, slot, &none);

    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_BACKEND, -r, "io_uring could not unpin: %s",
                         strerror(-r));
    return 0;
}
