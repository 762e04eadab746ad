/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What each of the two processes may do: the broker nothing, whichever broker it is; the keeper what
 * it needs and no more. Read from /proc. Whether they live is test-broker.c's.
 *
 * Against any backend.
 */
#include <dirent.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define MIB UINT64_C(1048576)

static struct daemon daemon_of_test;

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

/* The rest of the line of /proc/PID/status that begins with @field. */
static void status_field(pid_t pid, const char *field, char *out, size_t size)
{
    char path[64], line[256];
    FILE *file;

    *out = '\0';
    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0)
            snprintf(out, size, "%s", line + strlen(field) + strspn(line + strlen(field), " \t"));
    }
    fclose(file);
    out[strcspn(out, "\n")] = '\0';
    while (*out && out[strlen(out) - 1] == ' ')
        out[strlen(out) - 1] = '\0';
}

static void assert_field(pid_t pid, const char *field, const char *expected)
{
    char found[256];

    status_field(pid, field, found, sizeof(found));
    assert_string_equal(found, expected);
}

static uint64_t capabilities(pid_t pid, const char *field)
{
    char found[256];

    status_field(pid, field, found, sizeof(found));
    assert_int_equal(strlen(found), 16);
    return strtoull(found, NULL, 16);
}

/* No way to memory, devices or addresses is among its descriptors, but for the moment in which one
 * passes through. Only root may look. */
static bool has_no_power(void *data)
{
    static const char *const powers[] = { "memfd",    "iommu",   "vfio", "pagemap",
                                          "io_uring", "udmabuf", "/proc" };
    pid_t pid = *(pid_t *)data;
    struct dirent *entry;
    char path[300], target[256];
    bool found = false;
    DIR *dir;

    snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
    dir = opendir(path);
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        ssize_t n;

        snprintf(path, sizeof(path), "/proc/%d/fd/%s", (int)pid, entry->d_name);
        n = readlink(path, target, sizeof(target) - 1);
        target[n > 0 ? n : 0] = '\0';
        for (size_t i = 0; i < sizeof(powers) / sizeof(powers[0]); i++)
            found = found || strstr(target, powers[i]);
    }
    closedir(dir);
    return !found;
}

static void broker_has_no_privilege(void **state)
{
    dmabufd_buffer *buffer;
    pid_t broker;
    dmabufd *d;

    (void)state;
    /* One that is to be given up. */
    if (getuid() == 0)
        assert_int_equal(setgroups(1, &(gid_t){ TEST_CLIENT_UID }), 0);
    daemon_start(&daemon_of_test, NULL);
    if (getuid() == 0)
        assert_int_equal(setgroups(0, NULL), 0);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(dmabufd_connect(&d, NULL), 0);
        assert_int_equal(dmabufd_alloc(d, MIB, 4096, &buffer), 0);
        broker = daemon_broker(&daemon_of_test);
        assert_int_equal(capabilities(broker, "CapInh:"), 0);
        assert_int_equal(capabilities(broker, "CapPrm:"), 0);
        assert_int_equal(capabilities(broker, "CapEff:"), 0);
        assert_int_equal(capabilities(broker, "CapAmb:"), 0);
        assert_field(broker, "NoNewPrivs:", "1");
        if (getuid() == 0) {
            assert_int_equal(capabilities(broker, "CapBnd:"), 0);
            assert_field(broker, "Uid:", "61901\t61901\t61901\t61901");
            assert_field(broker, "Gid:", "61901\t61901\t61901\t61901");
            assert_field(broker, "Groups:", "");
            wait_until(has_no_power, &broker);
        }
        /* The one after it is no better. */
        assert_int_equal(kill(broker, SIGKILL), 0);
        daemon_next_broker(&daemon_of_test, broker);
        daemon_check_serves(&daemon_of_test);
        dmabufd_disconnect(d);
    }
    daemon_stop(&daemon_of_test);
}

/* CAP_KILL 5, CAP_SETGID 6, CAP_SETUID 7, CAP_SETPCAP 8, CAP_IPC_LOCK 14, CAP_SYS_RAWIO 17, and
 * nothing else: CAP_SYS_ADMIN is given back. */
static void keeper_has_what_it_needs(void **state)
{
    const uint64_t needs = 1 << 5 | 1 << 6 | 1 << 7 | 1 << 8 | 1 << 14 | 1 << 17;
    uint64_t permitted;

    (void)state;
    daemon_start(&daemon_of_test, NULL);
    permitted = capabilities(daemon_of_test.keeper, "CapPrm:");
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapEff:"), permitted);
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapInh:"), 0);
    assert_int_equal(capabilities(daemon_of_test.keeper, "CapAmb:"), 0);
    if (getuid() == 0) {
        assert_int_equal(permitted, needs & capabilities(getpid(), "CapPrm:"));
        assert_int_equal(capabilities(daemon_of_test.keeper, "CapBnd:") & ~needs, 0);
    } else {
        assert_int_equal(permitted, 0);
    }
    daemon_stop(&daemon_of_test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(broker_has_no_privilege, clean_up),
        cmocka_unit_test_teardown(keeper_has_what_it_needs, clean_up),
    };

    return cmocka_run_group_tests_name("privilege", tests, NULL, NULL);
}
