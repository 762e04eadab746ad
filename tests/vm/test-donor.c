/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The devices that the daemon is named at its start, and what it says of one that it cannot use: exit
 * status 1 and a sentence with what to do. One that is only in use is waited for, by "auto" too, which
 * takes pagemap for other reasons only and tells them.
 *
 * Needs two edu devices on vfio-pci without an IOMMU, and a kernel of our own: it sets
 * kernel.io_uring_disabled, and puts it back. Other reasons to refuse are test-backends.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/vm/guest.h"

/* On every q35: the controller of its disks, for which this kernel has no driver. */
#define NOT_VFIO "0000:00:1f.2"

#define IO_URING_DISABLED "/proc/sys/kernel/io_uring_disabled"

static struct daemon daemon_of_test;
static struct bdf first, second;
/* Of a device that this test has: -1 if it has none. */
static int held = -1, context = -1;

static int find_devices(void **state)
{
    (void)state;
    assert_int_equal(pci_find(PCI_ID_EDU, 0, &first), 0);
    assert_int_equal(pci_find(PCI_ID_EDU, 1, &second), 0);
    return 0;
}

static void release(void)
{
    if (held >= 0)
        close(held);
    if (context >= 0)
        close(context);
    held = context = -1;
}

static int clean_up(void **state)
{
    (void)state;
    release();
    write_file(IO_URING_DISABLED, "0");
    pci_bind_vfio(&first);
    pci_bind_vfio(&second);
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    memset(&daemon_of_test, 0, sizeof(daemon_of_test));
    return 0;
}

static void hold(const struct bdf *bdf)
{
    context = iommufd_open();
    held = vfio_open(bdf);
    assert_true(context >= 0 && held >= 0);
    assert_int_equal(vfio_bind(held, context, NULL), 0);
}

/* The old way to a device. */
static void hold_group(const struct bdf *bdf)
{
    char link[300], target[300], path[320];
    ssize_t n;

    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", bdf->name);
    n = readlink(link, target, sizeof(target) - 1);
    assert_true(n > 0);
    target[n] = '\0';
    snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", strrchr(target, '/') + 1);
    held = open(path, O_RDWR | O_CLOEXEC);
    assert_true(held >= 0);
}

static void assert_logged(const char *text)
{
    if (daemon_log_count(&daemon_of_test, text) != 1)
        fail_msg("not told once: %s; but: %s", text, daemon_of_test.notify.text);
}

/* A start that fails. */
static void assert_refused(const char *backend, const char *const *args, const char *names)
{
    assert_int_equal(daemon_try(&daemon_of_test, backend, args), 1);
    assert_logged(names);
    assert_non_null(strstr(daemon_of_test.notify.text, names));
    assert_non_null(strstr(daemon_of_test.notify.text, "ERRNO="));
    daemon_kill(&daemon_of_test);
}

/* Who serves now, and why: to the clients and in the log. */
static void assert_serves(const char *backend, const char *reason)
{
    char line[400];
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, daemon_of_test.socket), 0);
    assert_string_equal(dmabufd_get_info(d)->backend, backend);
    assert_string_equal(dmabufd_get_info(d)->backend_reason, reason);
    dmabufd_disconnect(d);
    snprintf(line, sizeof(line), "with backend %s: %s", backend, reason);
    assert_logged(line);
    daemon_check_serves(&daemon_of_test);
}

/* ---- devices that are none for us ---- */

static void wrong_devices(void **state)
{
    static const char *const absent[] = { "--device", "0000:00:1e.7", NULL };
    static const char *const word[] = { "--device", "edu", NULL };
    static const char *const foreign[] = { "--device", NOT_VFIO, NULL };

    (void)state;
    assert_refused("iommufd", absent, "backend iommufd: no PCI device 0000:00:1e.7 on this host");
    assert_refused("iommufd", word, "backend iommufd: 'edu' is not a PCI address such as");
    assert_refused("iommufd", foreign,
                   "device " NOT_VFIO " is bound to no driver, not to vfio-pci: 'dmabufctl device "
                   "bind " NOT_VFIO "' does it, or says what stands in the way");
    assert_refused("iommufd", NULL, "no device was named with --device; possible here: 0000:");
    assert_int_equal(pci_unbind(&first), 0);
    assert_int_equal(pci_unbind(&second), 0);
    assert_refused("iommufd", NULL,
                   "no device was named with --device, and none is bound to vfio-pci in no-IOMMU "
                   "mode: 'dmabufctl device list' shows what there is");
}

/* ---- devices that are in use ---- */

#define IN_USE "is in use: another process has it bound (see /proc/*/fdinfo"

static void check_busy(const char *backend)
{
    const char *args[] = { "--device", first.name, "--device-timeout", "1", NULL };
    const char *at_once[] = { "--device", first.name, "--device-timeout", "0", NULL };
    char text[200];

    snprintf(text, sizeof(text), "waiting for 1 s at most: device %s is in use", first.name);
    assert_int_equal(daemon_try(&daemon_of_test, backend, args), 1);
    assert_logged(text);
    snprintf(text, sizeof(text), "error: backend iommufd: device %s " IN_USE, first.name);
    assert_logged(text);
    assert_logged("waited for 1 s (--device-timeout)");
    assert_int_equal(daemon_log_count(&daemon_of_test, "pagemap"), 0);
    assert_true(daemon_notified(&daemon_of_test, "STATUS=Waiting for 1 s at most: device "));
    assert_true(daemon_notified(&daemon_of_test, "EXTEND_TIMEOUT_USEC="));
    assert_true(daemon_notified(&daemon_of_test, "ERRNO=16"));
    daemon_kill(&daemon_of_test);
    assert_refused(backend, at_once, IN_USE);
}

static void in_use_is_a_failure_in_the_end(void **state)
{
    (void)state;
    hold(&first);
    check_busy("iommufd");
    check_busy("auto");
}

static void in_use_through_its_group(void **state)
{
    const char *args[] = { "--device", first.name, "--device-timeout", "0", NULL };

    (void)state;
    hold_group(&first);
    assert_refused("iommufd", args, "is in use through its VFIO group");
    assert_refused("auto", args, "is in use through its VFIO group");
}

static bool is_waiting(void *data)
{
    (void)data;
    return daemon_log_count(&daemon_of_test, "waiting for 60 s at most: device ") == 1;
}

static void it_serves_once_the_device_is_free(void **state)
{
    const char *args[] = { "--device", first.name, NULL };

    (void)state;
    hold(&first);
    daemon_launch(&daemon_of_test, "auto", args);
    wait_until(is_waiting, NULL);
    assert_false(daemon_notified(&daemon_of_test, "READY=1"));
    assert_true(daemon_notified(&daemon_of_test, "STATUS=Waiting for 60 s at most: device "));
    release();
    assert_int_equal(daemon_await(&daemon_of_test), -1);
    assert_serves("iommufd", "iommufd pins and resolves without an IOMMU on this kernel");
    daemon_stop(&daemon_of_test);
}

static void it_can_be_ended_while_it_waits(void **state)
{
    const char *args[] = { "--device", first.name, NULL };

    (void)state;
    hold(&first);
    daemon_launch(&daemon_of_test, "auto", args);
    wait_until(is_waiting, NULL);
    /* Status 0, STOPPING=1, and no socket left. */
    daemon_stop(&daemon_of_test);
}

/* Whatever else is wrong with the others. */
static void another_device_will_do(void **state)
{
    const char *free_one[] = { "--device", first.name, "--device", second.name, NULL };
    const char *absent[] = { "--device",         first.name, "--device", "0000:00:1e.7",
                             "--device-timeout", "0",        NULL };

    (void)state;
    hold(&first);
    daemon_start_with(&daemon_of_test, "auto", free_one);
    assert_int_equal(daemon_log_count(&daemon_of_test, "waiting"), 0);
    assert_logged("lent its domain type and was closed again");
    daemon_check_serves(&daemon_of_test);
    daemon_stop(&daemon_of_test);
    assert_refused("auto", absent, IN_USE);
}

/* ---- auto, where a device is there ---- */

static void auto_takes_pagemap_and_says_why(void **state)
{
    const char *absent[] = { "--device", "0000:00:1e.7", NULL };
    char reason[200];

    (void)state;
    daemon_start_with(&daemon_of_test, "auto", NULL);
    snprintf(reason, sizeof(reason),
             "iommufd cannot serve: no device was named with --device; possible here: %s, %s",
             first.name, second.name);
    assert_serves("pagemap", reason);
    daemon_stop(&daemon_of_test);
    /* Somebody who named one expects to be told. */
    daemon_start_with(&daemon_of_test, "auto", absent);
    assert_serves("pagemap", "iommufd cannot serve: no PCI device 0000:00:1e.7 on this host");
    assert_logged(
        "warning: a device was named, but backend pagemap is taken: iommufd cannot serve");
    daemon_stop(&daemon_of_test);
}

/* ---- privilege and limits ---- */

static void without_sys_rawio(void)
{
    prctl(PR_CAPBSET_DROP, CAP_SYS_RAWIO, 0, 0, 0);
}

static void without_sys_admin(void)
{
    prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN, 0, 0, 0);
}

static void without_locked_memory(void)
{
    struct rlimit none = { 0, 0 };

    prctl(PR_CAPBSET_DROP, CAP_IPC_LOCK, 0, 0, 0);
    setrlimit(RLIMIT_MEMLOCK, &none);
}

static void missing_privilege(void **state)
{
    const char *args[] = { "--device", first.name, NULL };
    char text[200];

    (void)state;
    snprintf(text, sizeof(text), "(device %s) needs CAP_SYS_RAWIO", first.name);
    daemon_of_test.prepare = without_sys_rawio;
    assert_refused("iommufd", args, text);
    daemon_of_test.prepare = without_locked_memory;
    assert_refused("iommufd", args,
                   "the kernel could not pin the memory: out of memory, pages that cannot be moved "
                   "out of a movable zone, or the memory lock limit (the keeper needs CAP_IPC_LOCK "
                   "or LimitMEMLOCK=infinity)");
    assert_refused("pagemap", NULL, "the keeper needs CAP_IPC_LOCK or LimitMEMLOCK=infinity");
    /* Only the second opinion is missing. */
    daemon_of_test.prepare = without_sys_admin;
    daemon_start_with(&daemon_of_test, "iommufd", args);
    assert_logged("addresses are not checked against /proc/self/pagemap: no CAP_SYS_ADMIN");
    assert_serves("iommufd", "asked for by name");
    daemon_stop(&daemon_of_test);
}

static void io_uring_is_disabled(void **state)
{
    (void)state;
    assert_int_equal(write_file(IO_URING_DISABLED, "2"), 0);
    assert_refused("pagemap", NULL,
                   "backend pagemap: io_uring is disabled: set the sysctl kernel.io_uring_disabled "
                   "to 0 (or to 1 with CAP_SYS_ADMIN)");
    /* What it says is true, and it needs the capability for it at the start only. */
    assert_int_equal(write_file(IO_URING_DISABLED, "1"), 0);
    daemon_start_with(&daemon_of_test, "pagemap", NULL);
    daemon_check_serves(&daemon_of_test);
    daemon_stop(&daemon_of_test);
    assert_int_equal(write_file(IO_URING_DISABLED, "0"), 0);
}

#define TEST(function) cmocka_unit_test_teardown(function, clean_up)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(wrong_devices),
        TEST(in_use_is_a_failure_in_the_end),
        TEST(in_use_through_its_group),
        TEST(it_serves_once_the_device_is_free),
        TEST(it_can_be_ended_while_it_waits),
        TEST(another_device_will_do),
        TEST(auto_takes_pagemap_and_says_why),
        TEST(missing_privilege),
        TEST(io_uring_is_disabled),
    };

    return cmocka_run_group_tests_name("donor", tests, find_devices, NULL);
}
