/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Holding the lock of a file; see locked.h. */
#include "tests/integration/locked.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE       4096
#define PATIENCE_S 10

#ifndef USERFAULTFD_IOC_NEW
#define USERFAULTFD_IOC_NEW _IO(0xAA, 0x00)
#endif

struct lock {
    int fd;
    void *withheld;
};

static int device = -1;

bool locked_prepare(void)
{
    if (device < 0)
        device = open("/dev/userfaultfd", O_RDWR | O_CLOEXEC);
    return device >= 0;
}

static void *write_for_ever(void *data)
{
    const struct lock *lock = data;
    ssize_t n = pwrite(lock->fd, lock->withheld, PAGE, 0);

    (void)n;
    return NULL;
}

/* Return: a userfaultfd that tells when somebody wants the page, and says nothing else. */
static int withhold(void *page)
{
    struct uffdio_api api = { .api = UFFD_API };
    struct uffdio_register range = { .range = { .start = (uintptr_t)page, .len = PAGE },
                                     .mode = UFFDIO_REGISTER_MODE_MISSING };
    int fault_fd = ioctl(device, USERFAULTFD_IOC_NEW, O_CLOEXEC | O_NONBLOCK);

    if (fault_fd < 0 || ioctl(fault_fd, UFFDIO_API, &api) < 0 ||
        ioctl(fault_fd, UFFDIO_REGISTER, &range) < 0)
        return -1;
    return fault_fd;
}

int locked_begin(int fd)
{
    static struct lock lock;
    struct pollfd wanted = { .events = POLLIN };
    pthread_t writer;

    lock.fd = fd;
    lock.withheld = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (lock.withheld == MAP_FAILED)
        return -1;
    wanted.fd = withhold(lock.withheld);
    if (wanted.fd < 0)
        return -1;
    errno = pthread_create(&writer, NULL, write_for_ever, &lock);
    if (errno)
        return -1;
    pthread_detach(writer);
    /* write(2) asks for the page when it has the lock. */
    errno = ETIMEDOUT;
    return poll(&wanted, 1, PATIENCE_S * 1000) == 1 ? 0 : -1;
}
