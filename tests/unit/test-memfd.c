/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/memfd.h: who can do what with an anonymous file of ours, and when two descriptors are one.
 * What must hold for another user is tried as another user, which takes root; else skipped.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kcmp.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/kernel-abi.h"
#include "common/memfd.h"
#include "tests/unit/support.h"

#define NOBODY 65534
#define PAGE   4096

static int make(void)
{
    int fd = -1;

    assert_int_equal(memfd_open("unit-test", 0, &fd), 0);
    assert_true(fd >= 0);
    return fd;
}

static void new_file(void **state)
{
    CLEANUP_FD int fd = make();
    struct stat st;

    (void)state;
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(st.st_size, 0);
    assert_int_equal(st.st_uid, geteuid());
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDWR);
}

/* No seal yet but that of the executable bit, where the kernel knows it; all can be added. */
static void seals_are_possible(void **state)
{
    CLEANUP_FD int fd = make();
    int all = F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

    (void)state;
    assert_int_equal(fcntl(fd, F_GET_SEALS) & ~ABI_F_SEAL_EXEC, 0);
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, all), 0);
    assert_int_equal(fcntl(fd, F_GET_SEALS) & ~ABI_F_SEAL_EXEC, all);
    assert_int_equal(ftruncate(fd, 2 * PAGE), -1);
    assert_int_equal(errno, EPERM);
}

/* On kernels with MFD_NOEXEC_SEAL (6.3) nobody can make it a program. */
static void not_executable(void **state)
{
    CLEANUP_FD int fd = make();
    int seals = fcntl(fd, F_GET_SEALS);

    (void)state;
    if (!(seals & ABI_F_SEAL_EXEC))
        skip();
    assert_int_equal(fchmod(fd, 0700), -1);
    assert_int_equal(errno, EPERM);
}

static void unknown_flags_are_refused(void **state)
{
    size_t before = support_fds();
    int fd = 77;

    (void)state;
    assert_int_equal(memfd_open("unit-test", 1U << 25, &fd), -EINVAL);
    assert_int_equal(fd, 77);
    assert_int_equal(support_fds(), before);
}

static void readonly_sees_and_cannot_write(void **state)
{
    CLEANUP_FD int fd = make();
    CLEANUP_FD int readonly = -1;
    char byte = 0;

    (void)state;
    assert_int_equal(pwrite(fd, "x", 1, 0), 1);
    assert_int_equal(memfd_reopen_readonly(fd, &readonly), 0);
    assert_int_equal(fcntl(readonly, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(readonly, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(pread(readonly, &byte, 1, 0), 1);
    assert_int_equal(byte, 'x');
    assert_int_equal(pwrite(readonly, "y", 1, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(ftruncate(readonly, 0), -1);
    assert_ptr_equal(mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_SHARED, readonly, 0), MAP_FAILED);
    assert_int_equal(errno, EACCES);
    assert_int_equal(fallocate(readonly, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), -1);
    assert_int_equal(errno, EBADF);
}

static void reopen_of_nothing(void **state)
{
    size_t before = support_fds();
    int readonly = 77;

    (void)state;
    assert_int_equal(memfd_reopen_readonly(1000000, &readonly), -ENOENT);
    assert_int_equal(readonly, 77);
    assert_int_equal(support_fds(), before);
}

/* As a user that is not the owner: which step was possible that must not be, or 0. */
static int try_as_nobody(int readonly)
{
    char path[32];
    void *p;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", readonly);
    if (setgid(NOBODY) < 0 || setuid(NOBODY) < 0)
        return 10;
    /* Changing users hides /proc/self/fd; a client started as nobody has it. */
    if (prctl(PR_SET_DUMPABLE, 1) < 0 || access("/proc/self/fd", X_OK) < 0)
        return 11;
    if (open(path, O_RDWR) >= 0 || errno != EACCES)
        return 1;
    if (open(path, O_WRONLY) >= 0 || errno != EACCES)
        return 2;
    if (open(path, O_RDONLY | O_TRUNC) >= 0 || errno != EACCES)
        return 3;
    if (fchmod(readonly, 0666) == 0 || errno != EPERM)
        return 4;
    if (write(readonly, "y", 1) >= 0 || errno != EBADF)
        return 5;
    p = mmap(NULL, PAGE, PROT_READ, MAP_SHARED, readonly, 0);
    if (p == MAP_FAILED)
        return 12;
    if (mprotect(p, PAGE, PROT_READ | PROT_WRITE) == 0 || errno != EACCES)
        return 6;
    return 0;
}

static void readonly_stays_so_for_others(void **state)
{
    CLEANUP_FD int fd = make();
    CLEANUP_FD int readonly = -1;
    int status = -1;
    pid_t pid;

    (void)state;
    if (geteuid() != 0)
        skip();
    assert_int_equal(ftruncate(fd, PAGE), 0);
    assert_int_equal(memfd_reopen_readonly(fd, &readonly), 0);
    pid = fork();
    if (pid == 0)
        _exit(try_as_nobody(readonly));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void same_for_dups_only(void **state)
{
    CLEANUP_FD int fd = make();
    CLEANUP_FD int other = make();
    CLEANUP_FD int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    CLEANUP_FD int readonly = -1;
    CLEANUP_FD int again = -1;

    (void)state;
    assert_true(copy >= 0);
    assert_int_equal(memfd_reopen_readonly(fd, &readonly), 0);
    assert_int_equal(memfd_reopen_readonly(fd, &again), 0);
    if (memfd_same(fd, fd) == -EOPNOTSUPP)
        skip();
    assert_int_equal(memfd_same(fd, fd), 1);
    assert_int_equal(memfd_same(fd, copy), 1);
    assert_int_equal(memfd_same(copy, fd), 1);
    /* The same file, opened again. */
    assert_int_equal(memfd_same(fd, readonly), 0);
    assert_int_equal(memfd_same(readonly, fd), 0);
    assert_int_equal(memfd_same(readonly, again), 0);
    assert_int_equal(memfd_same(fd, other), 0);
    assert_int_equal(memfd_same(other, copy), 0);
}

/* As a kernel before 6.10 answers F_DUPFD_QUERY, and, with @kcmp, as one without kcmp(2). */
static int refuse_comparing(bool kcmp)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kcmp, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, kcmp ? SECCOMP_RET_ERRNO | EPERM : SECCOMP_RET_ALLOW),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ABI_F_DUPFD_QUERY, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EINVAL),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { .len = ARRAY_LEN(code), .filter = code };

    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        return -1;
    return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static int same_on_an_old_kernel(bool kcmp_refused)
{
    CLEANUP_FD int fd = make();
    CLEANUP_FD int other = make();
    CLEANUP_FD int copy = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    int yes = 1, no = 0;

    if (refuse_comparing(kcmp_refused) < 0)
        return 77;
    if (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, fd, fd) < 0)
        yes = no = -EOPNOTSUPP;
    if (!kcmp_refused && yes < 0)
        return 77;
    if (memfd_same(fd, copy) != yes)
        return 1;
    return memfd_same(fd, other) != no ? 2 : 0;
}

/* The filter stays until the process ends, so in a child. */
static void check_old_kernel(bool kcmp_refused)
{
    int status = -1;
    pid_t pid = fork();

    if (pid == 0)
        _exit(same_on_an_old_kernel(kcmp_refused));
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void same_by_kcmp(void **state)
{
    (void)state;
    check_old_kernel(false);
}

static void same_where_it_is_forbidden(void **state)
{
    (void)state;
    check_old_kernel(true);
}

/* A descriptor with the same number in another life is another file. */
static void same_after_reuse_of_the_number(void **state)
{
    CLEANUP_FD int fd = make();
    int other = make();
    int number = other;

    (void)state;
    if (memfd_same(fd, fd) == -EOPNOTSUPP)
        skip();
    assert_int_equal(memfd_same(fd, other), 0);
    fd_close(&other);
    other = fcntl(fd, F_DUPFD_CLOEXEC, 0);
    assert_int_equal(other, number);
    assert_int_equal(memfd_same(fd, other), 1);
    fd_close(&other);
}

static void same_of_a_closed_one(void **state)
{
    CLEANUP_FD int fd = make();

    (void)state;
    assert_true(memfd_same(fd, 1000000) < 0);
    assert_true(memfd_same(1000000, fd) < 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(new_file),
        cmocka_unit_test(seals_are_possible),
        cmocka_unit_test(not_executable),
        cmocka_unit_test(unknown_flags_are_refused),
        cmocka_unit_test(readonly_sees_and_cannot_write),
        cmocka_unit_test(reopen_of_nothing),
        cmocka_unit_test(readonly_stays_so_for_others),
        cmocka_unit_test(same_for_dups_only),
        cmocka_unit_test(same_by_kcmp),
        cmocka_unit_test(same_where_it_is_forbidden),
        cmocka_unit_test(same_after_reuse_of_the_number),
        cmocka_unit_test(same_of_a_closed_one),
    };

    return cmocka_run_group_tests_name("memfd", tests, NULL, NULL);
}
