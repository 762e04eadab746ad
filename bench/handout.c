/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Processes that pass descriptors; see handout.h. */
#include "bench/handout.h"

#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

/* Of an answer; a question is the number of files. */
#define ANSWER_SIZE 64

union control {
    struct cmsghdr align;
    char bytes[CMSG_SPACE(sizeof(int) * HANDOUT_FILES_MAX)];
};

int shelf_fill(struct shelf *shelf, uint32_t count, uint64_t size)
{
    *shelf = (struct shelf){ .size = size };
    while (shelf->count < count) {
        int fd = memfd_create("bench", MFD_CLOEXEC | MFD_HUGETLB | MFD_HUGE_2MB);
        int r = fd < 0 ? -errno : 0;

        if (r == 0)
            shelf->fd[shelf->count++] = fd;
        if (r == 0 && (ftruncate(fd, (off_t)size) < 0 || fallocate(fd, 0, 0, (off_t)size) < 0))
            r = -errno;
        if (r < 0) {
            shelf_empty(shelf);
            return r;
        }
    }
    return 0;
}

void shelf_empty(struct shelf *shelf)
{
    while (shelf->count > 0)
        fd_close(&shelf->fd[--shelf->count]);
}

/* Return: whether it went. */
static bool pass(int socket, const int *fds, uint32_t count)
{
    unsigned char answer[ANSWER_SIZE] = { 0 };
    union control control = { 0 };
    struct iovec iov = { .iov_base = answer, .iov_len = sizeof(answer) };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = CMSG_SPACE(sizeof(int) * count) };

    control.align.cmsg_level = SOL_SOCKET;
    control.align.cmsg_type = SCM_RIGHTS;
    control.align.cmsg_len = CMSG_LEN(sizeof(int) * count);
    memcpy(CMSG_DATA(&control.align), fds, sizeof(int) * count);
    return sendmsg(socket, &msg, MSG_NOSIGNAL) == (ssize_t)sizeof(answer);
}

/* Return: how many descriptors came; 0: none, and that is the end. */
static uint32_t receive(int socket, int fds[HANDOUT_FILES_MAX])
{
    unsigned char answer[ANSWER_SIZE];
    union control control;
    struct iovec iov = { .iov_base = answer, .iov_len = sizeof(answer) };
    struct msghdr msg = { .msg_iov = &iov,
                          .msg_iovlen = 1,
                          .msg_control = control.bytes,
                          .msg_controllen = sizeof(control.bytes) };
    const struct cmsghdr *cmsg;
    size_t bytes;

    if (recvmsg(socket, &msg, MSG_CMSG_CLOEXEC) != (ssize_t)sizeof(answer))
        return 0;
    cmsg = CMSG_FIRSTHDR(&msg);
    if (!cmsg || cmsg->cmsg_type != SCM_RIGHTS || (msg.msg_flags & MSG_CTRUNC))
        return 0;
    bytes = cmsg->cmsg_len - CMSG_LEN(0);
    memcpy(fds, CMSG_DATA(cmsg), bytes);
    return (uint32_t)(bytes / sizeof(int));
}

static void relay(int previous, int next)
{
    int fds[HANDOUT_FILES_MAX];
    uint32_t wanted, count;

    while (recv(previous, &wanted, sizeof(wanted), 0) == sizeof(wanted)) {
        bool passed;

        if (send(next, &wanted, sizeof(wanted), MSG_NOSIGNAL) != sizeof(wanted))
            break;
        count = receive(next, fds);
        passed = count > 0 && pass(previous, fds, count);
        while (count > 0)
            fd_close(&fds[--count]);
        if (!passed)
            break;
    }
}

static void serve(int previous, const struct shelf *shelf)
{
    uint32_t wanted, at = 0;

    while (recv(previous, &wanted, sizeof(wanted), 0) == sizeof(wanted)) {
        if (at + wanted > shelf->count)
            at = 0;
        if (wanted > shelf->count || !pass(previous, shelf->fd + at, wanted))
            break;
        at += wanted;
    }
}

void handout_serve(const void *data, int previous, int next)
{
    if (next >= 0)
        relay(previous, next);
    else
        serve(previous, data);
}

/* Several need a place first that is large enough, at a huge page's address. */
static unsigned char *find_place(uint64_t size, struct handed *handed)
{
    uint64_t page = UINT64_C(2) << 20;

    handed->place_size = size + page;
    handed->place = mmap(NULL, size + page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (handed->place == MAP_FAILED)
        err(1, "mmap");
    return (unsigned char *)(((uintptr_t)handed->place + page - 1) & ~(page - 1));
}

static unsigned char *map(int fd, void *at, uint64_t size)
{
    void *data = mmap(at, size, PROT_READ | PROT_WRITE, MAP_SHARED | (at ? MAP_FIXED : 0), fd, 0);

    if (data == MAP_FAILED)
        err(1, "mmap");
    return data;
}

void handout_take(const struct chain *chain, uint32_t count, uint64_t size, struct handed *ret)
{
    if (send(chain->socket, &count, sizeof(count), MSG_NOSIGNAL) != sizeof(count))
        err(1, "a process that passes files");
    ret->count = receive(chain->socket, ret->fd);
    if (ret->count != count)
        errx(1, "a process that passes files passed %u of %u", ret->count, count);
    if (count == 1) {
        ret->data = map(ret->fd[0], NULL, size);
        ret->place = ret->data;
        ret->place_size = size;
        return;
    }
    ret->data = find_place(count * size, ret);
    for (uint32_t i = 0; i < count; i++)
        map(ret->fd[i], ret->data + i * size, size);
}

void handed_drop(struct handed *handed)
{
    if (handed->place)
        munmap(handed->place, handed->place_size);
    while (handed->count > 0)
        fd_close(&handed->fd[--handed->count]);
    handed->place = NULL;
}
