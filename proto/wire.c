/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One datagram with its descriptors; see wire.h. */
#include "proto/wire.h"

#include <errno.h>
#include <linux/sockios.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/uio.h>

/* The most descriptors Linux puts in one message (SCM_MAX_FD, unix(7)): with room for all of them a
 * sender can never make the kernel install some that we then do not see. */
#define KERNEL_FDS_MAX 253

static void (*close_function)(int fd, uint32_t owner);

void wire_close_with(void (*function)(int fd, uint32_t owner))
{
    close_function = function;
}

static void close_one(int fd, uint32_t owner)
{
    int saved = errno;

    if (fd >= 0 && close_function)
        close_function(fd, owner);
    else if (fd >= 0)
        close(fd);
    errno = saved;
}

void wire_fds_close(struct wire_fds *fds)
{
    for (size_t i = 0; i < fds->count; i++) {
        if (fds->ours)
            fd_close(&fds->fd[i]);
        else
            close_one(TAKE_FD(fds->fd[i]), fds->owner);
    }
    fds->count = 0;
}

int wire_fds_take(struct wire_fds *fds, size_t index)
{
    return index < fds->count ? TAKE_FD(fds->fd[index]) : -1;
}

int wire_fds_put(struct wire_fds *fds, int fd)
{
    if (fds->count == PROTO_FDS_MAX) {
        close_one(fd, fds->owner);
        return -EMFILE;
    }
    fds->fd[fds->count++] = fd;
    return 0;
}

int wire_send(int sock, const void *data, size_t size, const struct wire_fds *fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * PROTO_FDS_MAX)];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)data, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
    ssize_t n;

    if (fds && fds->count > 0) {
        struct cmsghdr *cmsg = &control.align;

        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(sizeof(int) * fds->count);
        memcpy(CMSG_DATA(cmsg), fds->fd, sizeof(int) * fds->count);
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fds->count);
    }
    do {
        n = sendmsg(sock, &msg, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    return n < 0 ? -errno : 0;
}

/* Collects every descriptor the kernel installed; the ones beyond our limit are closed. */
static int collect_fds(struct msghdr *msg, struct wire_fds *fds)
{
    int r = 0;

    for (struct cmsghdr *cmsg = CMSG_FIRSTHDR(msg); cmsg; cmsg = CMSG_NXTHDR(msg, cmsg)) {
        size_t n;

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
            continue;
        n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < n; i++) {
            int fd;

            memcpy(&fd, CMSG_DATA(cmsg) + i * sizeof(int), sizeof(fd));
            if (wire_fds_put(fds, fd) < 0)
                r = -EMSGSIZE;
        }
    }
    return r;
}

static ssize_t receive(int sock, void *data, size_t capacity, int flags, struct wire_fds *ret_fds)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * KERNEL_FDS_MAX)];
    } control;
    struct iovec iov = { .iov_base = data, .iov_len = capacity };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_OF(ret_fds->owner);
    ssize_t n;

    do {
        n = recvmsg(sock, &msg, MSG_CMSG_CLOEXEC | flags);
    } while (n < 0 && errno == EINTR);
    if (n < 0)
        return -errno;
    if (collect_fds(&msg, &fds) < 0 || (msg.msg_flags & MSG_TRUNC))
        return -EMSGSIZE;
    /* MSG_CTRUNC: our own table of descriptors is full, some were lost in the kernel. */
    if (msg.msg_flags & MSG_CTRUNC) {
        wire_fds_close(&fds);
        fds.lost = true;
    }
    if (n == 0)
        return fds.count || fds.lost ? -EBADMSG : 0;
    *ret_fds = fds;
    fds.count = 0;
    return n;
}

ssize_t wire_recv_lossy(int sock, void *data, size_t capacity, struct wire_fds *ret_fds)
{
    return receive(sock, data, capacity, 0, ret_fds);
}

ssize_t wire_try_recv_lossy(int sock, void *data, size_t capacity, struct wire_fds *ret_fds)
{
    return receive(sock, data, capacity, MSG_DONTWAIT, ret_fds);
}

ssize_t wire_recv(int sock, void *data, size_t capacity, struct wire_fds *ret_fds)
{
    ssize_t n = wire_recv_lossy(sock, data, capacity, ret_fds);

    return n > 0 && ret_fds->lost ? -EMSGSIZE : n;
}

int wire_unread(int sock)
{
    int unread;

    if (ioctl(sock, SIOCOUTQ, &unread) < 0)
        return -errno;
    return unread;
}
