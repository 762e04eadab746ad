/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Memory, counters and processes in the test guest; see guest.h. */
#include "tests/vm/guest.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

int write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int r = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, text, strlen(text)) < 0)
        r = -errno;
    close(fd);
    return r;
}

long number_in(const char *file, const char *key)
{
    int64_t value = counter_in(file, key);

    if (value < 0)
        fail_msg("%s has no %s", file, key);
    return value;
}

long kernel_taint(void)
{
    long value;
    FILE *f = fopen("/proc/sys/kernel/tainted", "re");

    assert_non_null(f);
    assert_int_equal(fscanf(f, "%ld", &value), 1);
    fclose(f);
    return value;
}

int memfd_sized(uint64_t size, unsigned int flags)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);

    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    return fd;
}

int memfd_filled(uint64_t size, unsigned int flags)
{
    int fd = memfd_sized(size, flags);

    assert_int_equal(fallocate(fd, 0, 0, (off_t)size), 0);
    return fd;
}

void *memory_of(int fd, uint64_t size)
{
    void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    assert_ptr_not_equal(memory, MAP_FAILED);
    return memory;
}

uint64_t pagemap(const void *address)
{
    uint64_t entry;

    assert_int_equal(pagemap_entry(0, (uintptr_t)address, &entry), 0);
    return entry;
}

uint64_t physical(const void *address)
{
    uint64_t entry = pagemap(address);

    assert_true(entry & PAGEMAP_PRESENT);
    assert_true(entry & PAGEMAP_FRAME);
    return (entry & PAGEMAP_FRAME) * GUEST_PAGE + (uintptr_t)address % GUEST_PAGE;
}

/* Leaves root for good: the change of all user ids clears every capability. */
static int become(uid_t uid)
{
    gid_t gid = (gid_t)uid;

    if (setgroups(0, NULL) < 0 || setresgid(gid, gid, gid) < 0 || setresuid(uid, uid, uid) < 0)
        return -errno;
    /* Otherwise /proc/self would still be root's. */
    return prctl(PR_SET_DUMPABLE, 1) < 0 ? -errno : 0;
}

static int child(uid_t uid, int (*function)(void *), void *arg)
{
    int status;
    pid_t pid;

    fflush(stdout);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        int r = uid ? become(uid) : 0;

        _exit(-(r < 0 ? r : function(arg)));
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return WIFEXITED(status) ? -WEXITSTATUS(status) : -ENOTRECOVERABLE;
}

int as_user(uid_t uid, int (*function)(void *), void *arg)
{
    return child(uid, function, arg);
}

int in_child(int (*function)(void *), void *arg)
{
    return child(0, function, arg);
}
