/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Scope-bound release of memory and file descriptors, the one way of unwinding in this tree.
 *
 * Ownership leaves a scope by TAKE_FD()/TAKE_PTR(), which return the value and disarm the cleanup.
 */
#ifndef COMMON_CLEANUP_H
#define COMMON_CLEANUP_H

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define CLEANUP(fn)  __attribute__((cleanup(fn)))
#define CLEANUP_FREE CLEANUP(cleanup_free)
#define CLEANUP_FD   CLEANUP(cleanup_fd)

static inline void cleanup_free(void *pp)
{
    free(*(void **)pp);
}

/** Close *fd unless negative and set it to -1; errno is kept, a second call does nothing. */
static inline void fd_close(int *fd)
{
    int saved = errno;

    if (*fd >= 0)
        close(*fd);
    *fd = -1;
    errno = saved;
}

static inline void cleanup_fd(int *fd)
{
    fd_close(fd);
}

static inline int take_fd(int *fd)
{
    int value = *fd;

    *fd = -1;
    return value;
}

#define TAKE_FD(fd) take_fd(&(fd))
#define TAKE_PTR(p)                 \
    ({                              \
        __typeof__(p) taken_ = (p); \
        (p) = NULL;                 \
        taken_;                     \
    })

#define ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))

#endif
