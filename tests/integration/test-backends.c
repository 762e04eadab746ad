/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Which backend a host gets, and what is said of a host that can have none: exit status 1 and a
 * sentence that names what is missing and what to do, in the log and for systemd; the reason for a
 * choice in the log, in the status, and told to the clients.
 *
 * What is missing is taken from the daemon alone, so that the host stays as it is. Devices are
 * tests/vm/test-donor.c's.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/integration/harness.h"

static struct daemon daemon_of_test;

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    memset(&daemon_of_test, 0, sizeof(daemon_of_test));
    return 0;
}

static void need_root(void)
{
    if (getuid() == 0)
        return;
    print_message("needs root\n");
    skip();
}

/* A start that fails; @names is in the log and in what systemd is told. */
static void assert_refused(const char *backend, void (*prepare)(void), const char *names, int error)
{
    char number[32];

    daemon_of_test.prepare = prepare;
    assert_int_equal(daemon_try(&daemon_of_test, backend, NULL), 1);
    if (daemon_log_count(&daemon_of_test, names) != 1)
        fail_msg("not told: %s; but: %s", names, daemon_of_test.notify.text);
    assert_non_null(strstr(daemon_of_test.notify.text, "STATUS="));
    assert_non_null(strstr(daemon_of_test.notify.text, names));
    snprintf(number, sizeof(number), "\nERRNO=%d\n", error);
    assert_non_null(strstr(daemon_of_test.notify.text, number));
    assert_null(strstr(daemon_of_test.notify.text, "READY=1"));
    daemon_kill(&daemon_of_test);
}

/* ---- what can be missing ---- */

static void without_sys_admin(void)
{
    prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0);
}

static void lock_at_most(rlim_t bytes)
{
    struct rlimit limit = { bytes, bytes };

    prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
    setrlimit(RLIMIT_MEMLOCK, &limit);
}

static void without_locked_memory(void)
{
    lock_at_most(0);
}

/* These calls end with @error, as in a container whose filter knows no others. */
static void filter(unsigned int call, unsigned int opcode, int error)
{
    struct sock_filter code[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, call, 0, 3),
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, opcode, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned int)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

    prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static void with_io_uring_refused(void)
{
    filter(SYS_io_uring_setup, 0, EPERM);
}

static void with_io_uring_hidden(void)
{
    filter(SYS_io_uring_setup, 0, ENOSYS);
}

/* As before Linux 5.19. */
static void without_sparse_tables(void)
{
    filter(SYS_io_uring_register, 0, EINVAL);
}

/* IORING_REGISTER_BUFFERS_UPDATE, 16: rings can be made, but nothing can be pinned. */
static void without_pins(void)
{
    filter(SYS_io_uring_register, 16, ENOMEM);
}

static void no_frame_numbers(void **state)
{
    (void)state;
    assert_refused("pagemap", without_sys_admin,
                   "backend pagemap: /proc/self/pagemap shows no frame numbers: start dmabufd as "
                   "root or with CAP_SYS_ADMIN",
                   EPERM);
}

static void no_io_uring(void **state)
{
    (void)state;
    need_root();
    assert_refused("pagemap", with_io_uring_refused,
                   "io_uring is disabled: set the sysctl kernel.io_uring_disabled to 0", EPERM);
    assert_refused("pagemap", with_io_uring_hidden,
                   "this kernel has no io_uring (CONFIG_IO_URING), or a seccomp filter", ENOSYS);
    assert_refused("pagemap", without_sparse_tables,
                   "io_uring of this kernel has no sparse buffer tables: Linux 5.19", EOPNOTSUPP);
}

/* Some kernels count the rings themselves, all count what is pinned. */
static void no_locked_memory(void **state)
{
    (void)state;
    need_root();
    assert_refused("pagemap", without_locked_memory,
                   "the keeper needs CAP_IPC_LOCK or LimitMEMLOCK=infinity", ENOMEM);
    assert_refused("pagemap", without_pins,
                   "io_uring could not pin the memory: out of memory, or the memory lock limit "
                   "(the keeper needs CAP_IPC_LOCK or LimitMEMLOCK=infinity)",
                   ENOMEM);
}

/* ---- auto ---- */

static bool has_iommufd(void)
{
    return access("/dev/iommu", F_OK) == 0;
}

/* Without a device iommufd cannot serve, whatever the kernel. */
static const char *reason(void)
{
    return has_iommufd() ? "iommufd cannot serve: no device was named with --device"
                         : "iommufd cannot serve: cannot open /dev/iommu: No such file or "
                           "directory (a kernel "
                           "with CONFIG_IOMMUFD has it)";
}

static void auto_takes_pagemap(void **state)
{
    char line[200];
    dmabufd *d;

    (void)state;
    need_root();
    daemon_start_with(&daemon_of_test, "auto", NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_string_equal(dmabufd_get_info(d)->backend, "pagemap");
    assert_ptr_equal(strstr(dmabufd_get_info(d)->backend_reason, reason()),
                     dmabufd_get_info(d)->backend_reason);
    assert_int_equal(dmabufd_get_info(d)->pin, DMABUFD_PIN_LONGTERM);
    dmabufd_disconnect(d);
    snprintf(line, sizeof(line), "with backend pagemap: %s", reason());
    assert_int_equal(daemon_log_count(&daemon_of_test, line), 1);
    snprintf(line, sizeof(line), "STATUS=Backend pagemap: %s", reason());
    assert_true(daemon_notified(&daemon_of_test, line));
    daemon_check_serves(&daemon_of_test);
    daemon_stop(&daemon_of_test);
}

static void auto_refuses_and_names_both(void **state)
{
    (void)state;
    assert_refused("auto", without_sys_admin,
                   has_iommufd() ? "no backend can serve: iommufd: no device was named"
                                 : "no backend can serve: iommufd: cannot open /dev/iommu",
                   EPERM);
    assert_refused("auto", without_sys_admin,
                   "; pagemap: /proc/self/pagemap shows no frame numbers: start dmabufd as root or "
                   "with CAP_SYS_ADMIN",
                   EPERM);
}

/* It never takes the fake one, and never one that was not asked for. */
static void by_name_it_is_that_one(void **state)
{
    dmabufd *d;

    (void)state;
    daemon_start_with(&daemon_of_test, "fake", NULL);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_string_equal(dmabufd_get_info(d)->backend, "fake");
    assert_string_equal(dmabufd_get_info(d)->backend_reason, "asked for by name");
    dmabufd_disconnect(d);
    assert_true(daemon_notified(&daemon_of_test, "STATUS=Backend fake: asked for by name"));
    daemon_stop(&daemon_of_test);
    assert_refused("iommufd", NULL,
                   has_iommufd() ? "backend iommufd: no device was named with --device"
                                 : "backend iommufd: cannot open /dev/iommu: No such file or "
                                   "directory (a kernel with CONFIG_IOMMUFD has it)",
                   has_iommufd() ? ENODEV : ENOENT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(no_frame_numbers, clean_up),
        cmocka_unit_test_teardown(no_io_uring, clean_up),
        cmocka_unit_test_teardown(no_locked_memory, clean_up),
        cmocka_unit_test_teardown(auto_takes_pagemap, clean_up),
        cmocka_unit_test_teardown(auto_refuses_and_names_both, clean_up),
        cmocka_unit_test_teardown(by_name_it_is_that_one, clean_up),
    };

    return cmocka_run_group_tests_name("backends", tests, NULL, NULL);
}
