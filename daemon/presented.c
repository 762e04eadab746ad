/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Descriptors that clients present; see presented.h. */
#include "daemon/presented.h"

#include <errno.h>

#include "common/memfd.h"

int presented_as_memory(int fd, struct fault *fault)
{
    if (!memfd_is_memory(fd))
        return fault_set(fault, DMABUFD_CODE_INVALID, EOPNOTSUPP,
                         "this memory cannot be registered: it is not a memfd");
    return 0;
}

int presented_no_buffer(struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_NOT_A_BUFFER, ENXIO,
                     "the descriptor is not a buffer of this daemon: pass the one of "
                     "dmabufd_buffer_fd() or dmabufd_share() itself or a dup of it, of a buffer "
                     "that is still held");
}

int presented_as_buffer(int fd, struct fault *fault)
{
    return memfd_is_memory(fd) ? 0 : presented_no_buffer(fault);
}
