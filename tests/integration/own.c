/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Making it; see own.h. */
#include "tests/integration/own.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

int own_memory(uint64_t size, unsigned int flags, int byte, unsigned char **ret)
{
    int fd = memfd_create("own", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
    unsigned char *memory;

    if (fd < 0 || ftruncate(fd, (off_t)size) < 0 || fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) < 0)
        return -1;
    memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory == MAP_FAILED)
        return -1;
    memset(memory, byte, size);
    if (ret)
        *ret = memory;
    else
        munmap(memory, size);
    return fd;
}
