/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Scatter lists on their way; see spantable.h. */
#include "proto/spantable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "common/spans.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "struct dmabufd_span is sent as it lies in memory: a big-endian host needs a conversion here"
#endif
_Static_assert(sizeof(struct dmabufd_span) == 24, "wire layout of a span");

#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int write_all(int fd, const void *data, size_t size)
{
    const char *p = data;

    while (size > 0) {
        ssize_t n = write(fd, p, size);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        p += n;
        size -= (size_t)n;
    }
    return 0;
}

int spantable_seal(const struct dmabufd_span *list, size_t count, int *ret_fd)
{
    CLEANUP_FD int fd = -1;
    CLEANUP_FD int readonly = -1;
    int r;

    r = memfd_open("dmabufd-spans", 0, &fd);
    if (r < 0)
        return r;
    r = write_all(fd, list, count * sizeof(*list));
    if (r < 0)
        return r;
    r = memfd_reopen_readonly(fd, &readonly);
    if (r < 0)
        return r;
    if (fcntl(fd, F_ADD_SEALS, SEALS) < 0)
        return -errno;
    *ret_fd = TAKE_FD(readonly);
    return 0;
}

static int read_all(int fd, void *data, size_t size)
{
    char *p = data;
    size_t done = 0;

    while (done < size) {
        ssize_t n = pread(fd, p + done, size - done, (off_t)done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -errno;
        if (n == 0)
            return -EBADMSG;
        done += (size_t)n;
    }
    return 0;
}

int spantable_open(int fd, size_t count, uint64_t size, struct dmabufd_span **ret_list)
{
    CLEANUP_FREE struct dmabufd_span *list = NULL;
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    int r;

    if (seals < 0 || (seals & SEALS) != SEALS || count == 0 || count > SPANTABLE_MAX)
        return -EBADMSG;
    if (fstat(fd, &st) < 0)
        return -errno;
    if ((uint64_t)st.st_size != count * sizeof(*list))
        return -EBADMSG;
    list = calloc(count, sizeof(*list));
    if (!list)
        return -ENOMEM;
    r = read_all(fd, list, count * sizeof(*list));
    if (r < 0)
        return r;
    r = spans_check(list, count, size);
    if (r < 0)
        return r;
    *ret_list = TAKE_PTR(list);
    return 0;
}

int spantable_decode(const void *data, size_t length, size_t count, uint64_t size,
                     struct dmabufd_span **ret_list)
{
    CLEANUP_FREE struct dmabufd_span *list = NULL;
    int r;

    if (count == 0 || count > SPANTABLE_MAX || length != count * sizeof(*list))
        return -EBADMSG;
    list = malloc(length);
    if (!list)
        return -ENOMEM;
    memcpy(list, data, length);
    r = spans_check(list, count, size);
    if (r < 0)
        return r;
    *ret_list = TAKE_PTR(list);
    return 0;
}
