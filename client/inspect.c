/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What may be mapped or kept; see inspect.h. */
#include "client/inspect.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "client/call.h"

#define TOKEN_SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL)

static int look(dmabufd *d, const dmabufd_buffer *buffer, int fd, struct stat *ret,
                struct fault *fault)
{
    if (fstat(fd, ret) < 0)
        return fault_set(fault, DMABUFD_CODE_OK, errno, "cannot look at the buffer: %s",
                         strerror(errno));
    if ((fcntl(fd, F_GETFL) & O_ACCMODE) !=
        (buffer->access == DMABUFD_READ_ONLY ? O_RDONLY : O_RDWR))
        return call_violation(d, "a buffer with another right than its descriptor has", fault);
    return 0;
}

/*
 * The memory must be there in full: a page that is missing, or that a co-holder could cut off,
 * would be a SIGBUS for the program, or another page than the one whose address was given out.
 */
static int check_pages(dmabufd *d, int fd, const struct stat *st, bool is_new, struct fault *fault)
{
    int seals = fcntl(fd, F_GET_SEALS);

    if (seals < 0 || !(seals & F_SEAL_SHRINK) || (seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE)))
        return call_violation(d, "a buffer that is not sealed as it has to be", fault);
    if ((uint64_t)st->st_blocks >= (uint64_t)st->st_size / 512)
        return 0;
    if (is_new)
        return call_violation(d, "a buffer whose pages are not all there", fault);
    return fault_set(fault, DMABUFD_CODE_OK, ENXIO,
                     "pages of the buffer are missing: somebody who holds it punched a hole into "
                     "its memory");
}

int inspect_memory(dmabufd *d, const dmabufd_buffer *buffer, bool is_new, struct fault *fault)
{
    struct stat st;
    int r = look(d, buffer, buffer->fd, &st, fault);

    /* What the program made, it made as the daemon demands, or would not have been granted. */
    if (r < 0 || buffer->registered)
        return r;
    if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != buffer->size)
        return call_violation(d, "a buffer whose memory has another size", fault);
    return check_pages(d, buffer->fd, &st, is_new, fault);
}

int inspect_chunk(dmabufd *d, const dmabufd_buffer *buffer, int fd, uint64_t left, bool is_new,
                  uint64_t *ret_size, struct fault *fault)
{
    struct stat st;
    int r = look(d, buffer, fd, &st, fault);

    if (r < 0)
        return r;
    if (!S_ISREG(st.st_mode) || st.st_size <= 0 || (uint64_t)st.st_size % buffer->page_size ||
        (uint64_t)st.st_size > left)
        return call_violation(d, "a chunk of a size that its buffer cannot have", fault);
    r = check_pages(d, fd, &st, is_new, fault);
    if (r == 0)
        *ret_size = (uint64_t)st.st_size;
    return r;
}

int inspect_token(dmabufd *d, const dmabufd_buffer *buffer, struct fault *fault)
{
    struct stat st;
    int r = look(d, buffer, buffer->fd, &st, fault);
    int seals;

    if (r < 0)
        return r;
    seals = fcntl(buffer->fd, F_GET_SEALS);
    if (!S_ISREG(st.st_mode) || seals < 0 || (seals & TOKEN_SEALS) != TOKEN_SEALS)
        return call_violation(d, "a token that is not sealed as it has to be", fault);
    return 0;
}
