/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The command line of the daemon: what is wrong with it is said in words that name the option, and
 * the exit status tells wrong usage (2) from what this host cannot do (1). Nothing is left behind.
 *
 * What happens once it serves is test-startup.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define ARGS_MAX 24

struct outcome {
    int status; /* 128 + signal; SIGALRM if it went on to serve */
    char text[16384];
};

/* A command line as it stands, but for --user, which root cannot do without. */
static void run(const char *const *args, bool with_user, struct outcome *ret)
{
    const char *build = getenv("DMABUFD_BUILD_DIR");
    const char *argv[ARGS_MAX + 4];
    int pipe_fds[2];
    char path[512];
    size_t n = 0, used = 0;
    ssize_t r;
    pid_t pid;

    snprintf(path, sizeof(path), "%s/dmabufd", build ? build : ".");
    argv[n++] = "dmabufd";
    if (with_user) {
        argv[n++] = "--user";
        argv[n++] = "61901";
    }
    for (size_t i = 0; args[i]; i++)
        argv[n++] = args[i];
    argv[n] = NULL;
    assert_int_equal(pipe2(pipe_fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(pipe_fds[1], STDOUT_FILENO);
        dup2(pipe_fds[1], STDERR_FILENO);
        unsetenv("NOTIFY_SOCKET");
        alarm(20);
        execv(path, (char **)argv);
        _exit(127);
    }
    close(pipe_fds[1]);
    while ((r = read(pipe_fds[0], ret->text + used, sizeof(ret->text) - 1 - used)) > 0)
        used += (size_t)r;
    ret->text[used] = '\0';
    close(pipe_fds[0]);
    ret->status = join(pid);
}

struct example {
    const char *args[ARGS_MAX];
    const char *names; /* what the text must speak of */
};

static void check(const struct example *example, int status)
{
    static struct outcome outcome;

    run(example->args, true, &outcome);
    if (outcome.status != status || !strstr(outcome.text, example->names))
        fail_msg("%s %s: status %d and: %s", example->args[0],
                 example->args[1] ? example->args[1] : "", outcome.status, outcome.text);
}

static void wrong_usage(void **state)
{
    static const struct example table[] = {
        { { "--nonsense" }, "nonsense" },
        { { "-Z" }, "Z" },
        { { "--backend" }, "backend" },
        { { "extra" }, "unexpected argument: extra" },
        { { "--backend=vfio" }, "--backend=vfio: expected" },
        { { "--backend=" }, "--backend=: expected" },
        { { "--memory-limit=1X" }, "--memory-limit=1X: expected" },
        { { "--memory-limit=-1" }, "--memory-limit=-1: expected" },
        { { "--memory-limit=" }, "--memory-limit=: expected" },
        { { "--memory-limit=99999999999999999999" }, "--memory-limit=9" },
        { { "--memory-limit=16777216T" }, "--memory-limit=1" },
        { { "--memory-limit-per-user=1X" }, "--memory-limit-per-user=1X: expected" },
        { { "--memory-reserve=abc" }, "--memory-reserve=abc: expected" },
        { { "--memory-reserve= 1" }, "--memory-reserve= 1: expected" },
        { { "--max-clients=0" }, "--max-clients=0: expected" },
        { { "--max-clients=16385" }, "--max-clients=16385: expected" },
        { { "--max-clients=1.5" }, "--max-clients=1.5: expected" },
        { { "--max-clients-per-user=0" }, "--max-clients-per-user=0: expected" },
        { { "--max-clients-per-user=-1" }, "--max-clients-per-user=-1: expected" },
        { { "--max-buffers=0" }, "--max-buffers=0: expected" },
        { { "--max-buffers=0x10" }, "--max-buffers=0x10: expected" },
        { { "--hang-timeout=-1" }, "--hang-timeout=-1: expected" },
        { { "--hang-timeout=3601" }, "--hang-timeout=3601: expected a number from 0 to 3600" },
        { { "--hang-timeout=" }, "--hang-timeout=: expected" },
        { { "--device-timeout=-1" }, "--device-timeout=-1: expected" },
        { { "--device-timeout=86401" },
          "--device-timeout=86401: expected a number from 0 to 86400" },
        { { "--socket-mode=0999" }, "--socket-mode=0999: expected" },
        { { "--socket-mode=1777" }, "--socket-mode=1777: expected" },
        { { "--socket-mode=" }, "--socket-mode=: expected" },
        { { "--socket-mode=-1" }, "--socket-mode=-1: expected" },
        { { "--socket-group=no-such-group-here" }, "--socket-group=no-such-group-here: expected" },
        { { "--socket-group=-1" }, "--socket-group=-1: expected" },
        { { "--user=no-such-user-here" }, "--user=no-such-user-here: expected" },
        { { "--user=-5" }, "--user=-5: expected" },
        { { "--user=4294967295" }, "--user=4294967295: expected" },
        { { "--fake=delay=1" }, "--fake needs --backend=fake" },
        { { "--fake=delay=1", "--backend=pagemap" }, "--fake needs --backend=fake" },
        { { "--broker" }, "--broker is for the keeper to use" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        check(&table[i], 2);
}

static void too_many_devices(void **state)
{
    static char device[17][32];
    struct example example = { .names = "at most 16 devices" };

    (void)state;
    for (int i = 0; i < 17; i++) {
        snprintf(device[i], sizeof(device[i]), "--device=0000:00:%02x.0", i);
        example.args[i] = device[i];
    }
    check(&example, 2);
}

/* Understood, and refused by what comes after the command line. */
static void not_here(void **state)
{
    static const struct example table[] = {
        { { "--backend=fake", "--fake=layout=spiral" }, "'layout=spiral' is not understood" },
        { { "--backend=fake", "--fake=layout=run:3K" }, "'layout=run:3K' is not understood" },
        { { "--backend=fake", "--fake=layout=run:2G" }, "'layout=run:2G' is not understood" },
        { { "--backend=fake", "--fake=layout=reverse:1" }, "'layout=reverse:1'" },
        { { "--backend=fake", "--fake=fail=pin@0:EIO" }, "'fail=pin@0:EIO'" },
        { { "--backend=fake", "--fake=fail=pin@1:NOPE" }, "'fail=pin@1:NOPE'" },
        { { "--backend=fake", "--fake=fail=pin@1" }, "'fail=pin@1'" },
        { { "--backend=fake", "--fake=fail=resolve@x:EIO" }, "'fail=resolve@x:EIO'" },
        { { "--backend=fake", "--fake=layout=one,delay=-1" }, "'delay=-1'" },
        { { "--backend=fake", "--fake=delay=60001" }, "'delay=60001'" },
    };
    char directory[] = "/tmp/dmabufd-test-XXXXXX", option[64];

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(option, sizeof(option), "--socket=%s/socket", directory);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        struct example example = table[i];

        example.args[2] = option;
        check(&example, 1);
    }
    /* Not even the socket. */
    assert_int_equal(rmdir(directory), 0);
}

static void no_iommufd(void **state)
{
    char directory[] = "/tmp/dmabufd-test-XXXXXX", option[64];
    struct example example = { { "--backend=iommufd", option }, "backend iommufd: " };

    (void)state;
    if (access("/dev/iommu", F_OK) == 0) {
        print_message("this host has /dev/iommu\n");
        skip();
    }
    assert_non_null(mkdtemp(directory));
    snprintf(option, sizeof(option), "--socket=%s/socket", directory);
    check(&example, 1);
    assert_int_equal(rmdir(directory), 0);
}

static void socket_path_too_long(void **state)
{
    char option[200];
    struct example example = { { "--backend=fake", option }, "socket path has more than 107" };

    (void)state;
    snprintf(option, sizeof(option), "--socket=/tmp/%0120d", 0);
    check(&example, 1);
    snprintf(option, sizeof(option), "--socket=/no/such/directory/here");
    example.names = "/no/such/directory/here: No such file";
    check(&example, 1);
}

static void help_and_version(void **state)
{
    static const char *const help[] = { "--help", NULL }, *const version[] = { "-V", NULL };
    static const char *const options[] = {
        "--backend",        "--device",       "--device-timeout",
        "--socket",         "--socket-mode",  "--socket-group",
        "--user",           "--memory-limit", "--memory-limit-per-user",
        "--memory-reserve", "--max-clients",  "--max-clients-per-user",
        "--max-buffers",    "--fake",         "--hang-timeout",
        "--debug",          "--help",         "--version"
    };
    static struct outcome outcome;

    (void)state;
    run(help, false, &outcome);
    assert_int_equal(outcome.status, 0);
    assert_ptr_equal(strstr(outcome.text, "Usage: dmabufd "), outcome.text);
    for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
        assert_non_null(strstr(outcome.text, options[i]));
    /* Not for people. */
    assert_null(strstr(outcome.text, "--broker"));
    run(version, false, &outcome);
    assert_int_equal(outcome.status, 0);
    assert_ptr_equal(strstr(outcome.text, "dmabufd "), outcome.text);
    assert_int_equal(strcspn(outcome.text, "\n"), strlen(outcome.text) - 1);
}

/* Started as root it must become somebody else, and not root. */
static void root_needs_a_user(void **state)
{
    static const char *const none[] = { "--backend=fake", NULL };
    static const char *const root[] = { "--backend=fake", "--user=root", NULL };
    static const char *const zero[] = { "--backend=fake", "--user=0", NULL };
    static struct outcome outcome;

    (void)state;
    if (getuid() != 0) {
        print_message("needs root\n");
        skip();
    }
    run(root, false, &outcome);
    assert_int_equal(outcome.status, 2);
    assert_non_null(strstr(outcome.text, "--user"));
    run(zero, false, &outcome);
    assert_int_equal(outcome.status, 2);
    assert_non_null(strstr(outcome.text, "--user"));
    if (getpwnam("dmabufd"))
        return;
    run(none, false, &outcome);
    assert_int_equal(outcome.status, 2);
    assert_non_null(strstr(outcome.text, "there is no user dmabufd"));
    assert_non_null(strstr(outcome.text, "--user"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(wrong_usage),
        cmocka_unit_test(too_many_devices),
        cmocka_unit_test(not_here),
        cmocka_unit_test(no_iommufd),
        cmocka_unit_test(socket_path_too_long),
        cmocka_unit_test(help_and_version),
        cmocka_unit_test(root_needs_a_user),
    };

    return cmocka_run_group_tests_name("options", tests, NULL, NULL);
}
