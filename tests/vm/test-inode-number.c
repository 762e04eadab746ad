/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A memory file of another file system that has the inode number of somebody's buffer is no buffer. The
 * number is reached by making files, as a tmpfs counts them from 1: in a virtual machine, where few were
 * made before.
 *
 * Not shown here: two files of one file system with one number. Where memfds are the kernel counts in 64
 * bits, so that takes a test that says what is not true: tests/unit/test-store-find.c.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"

static struct daemon daemon_of_group;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_group, NULL);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_group);
    return 0;
}

/* On a file system of our own. It answers for seals, as memfds do. */
static int file_with_number(const char *directory, ino_t number)
{
    char path[128];

    snprintf(path, sizeof(path), "%s/file", directory);
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
        struct stat st;

        unlink(path);
        if (fd < 0 || fstat(fd, &st) < 0 || st.st_ino > number)
            return -1;
        if (st.st_ino == number)
            return fd;
        close(fd);
    }
}

static int present_namesake(void *data)
{
    const char *directory = data;
    dmabufd_buffer *buffer, *found;
    struct stat st;
    dmabufd *d;
    int fd;

    CHECK(dmabufd_connect(&d, NULL) == 0 && dmabufd_alloc(d, 8192, 4096, &buffer) == 0);
    CHECK(fstat(dmabufd_buffer_fd(buffer), &st) == 0);
    CHECK(unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
    CHECK(mount("namesakes", directory, "tmpfs", 0, NULL) == 0);
    fd = file_with_number(directory, st.st_ino);
    CHECK(fd >= 0 && ftruncate(fd, 8192) == 0 && fcntl(fd, F_GET_SEALS) >= 0);
    CHECK(dmabufd_lookup(d, fd, &found) == -ENXIO);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_NOT_A_BUFFER);
    dmabufd_disconnect(d);
    return 0;
}

static void number_of_another_file_system(void **state)
{
    char directory[128];
    int status;

    (void)state;
    snprintf(directory, sizeof(directory), "%s/mount", daemon_of_group.directory);
    assert_int_equal(mkdir(directory, 0755), 0);
    status = join(spawn_as(0, present_namesake, directory));
    rmdir(directory);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = { cmocka_unit_test(number_of_another_file_system) };

    return cmocka_run_group_tests_name("inode number", tests, start, stop);
}
