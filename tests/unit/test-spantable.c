/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * proto/spantable.h: a scatter list on its way, and what is not one. The rules of the list itself
 * are test-spans.c's; here one example of a bad one is enough.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "proto/spantable.h"
#include "tests/unit/support.h"

#define MANY  5000
#define SEALS (F_SEAL_WRITE | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct dmabufd_span many[MANY];
static size_t fds;

static int setup(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < MANY; i++)
        many[i] = (struct dmabufd_span){ i * 4096, (MANY - i) << 20, 4096 };
    fds = support_fds();
    return 0;
}

/* After each test: no list, no descriptor was left behind. */
static int teardown(void **state)
{
    (void)state;
    return support_fds() == fds ? 0 : -1;
}

static int seal(size_t count)
{
    int fd = -1;

    assert_int_equal(spantable_seal(many, count, &fd), 0);
    assert_true(fd >= 0);
    return fd;
}

static void assert_refused(int fd, size_t count, uint64_t size, int error)
{
    struct dmabufd_span *list = (struct dmabufd_span *)77;

    assert_int_equal(spantable_open(fd, count, size, &list), error);
    assert_ptr_equal(list, (struct dmabufd_span *)77);
}

static void seal_and_open(void **state)
{
    static const size_t counts[] = { 1, 2, 170, 171, MANY };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(counts); i++) {
        CLEANUP_FD int fd = seal(counts[i]);
        CLEANUP_FREE struct dmabufd_span *list = NULL;
        CLEANUP_FREE struct dmabufd_span *again = NULL;

        assert_int_equal(spantable_open(fd, counts[i], counts[i] * 4096, &list), 0);
        assert_memory_equal(list, many, counts[i] * sizeof(many[0]));
        /* It is still there for the next reader: the position is not used. */
        assert_int_equal(spantable_open(fd, counts[i], counts[i] * 4096, &again), 0);
        assert_memory_equal(again, many, counts[i] * sizeof(many[0]));
    }
}

static void sealed_is_what_it_should_be(void **state)
{
    CLEANUP_FD int fd = seal(MANY);
    struct stat st;

    (void)state;
    assert_int_equal(fcntl(fd, F_GET_SEALS) & SEALS, SEALS);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(st.st_size, 24 * MANY);
}

/* Also not by the user who made it, root included: seals bind everybody. */
static void sealed_cannot_be_changed(void **state)
{
    CLEANUP_FD int fd = seal(10);
    CLEANUP_FD int again = -1;
    char path[32];

    (void)state;
    assert_int_equal(pwrite(fd, "x", 1, 0), -1);
    assert_int_equal(errno, EBADF);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EINVAL);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    again = open(path, O_RDWR | O_CLOEXEC);
    assert_true(again >= 0);
    assert_int_equal(pwrite(again, "x", 1, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(again, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(ftruncate(again, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fallocate(again, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(again, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), -1);
    assert_int_equal(errno, EPERM);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, again, 0), MAP_FAILED);
    assert_int_equal(errno, EPERM);
}

static void wrong_numbers(void **state)
{
    CLEANUP_FD int fd = seal(10);
    CLEANUP_FREE struct dmabufd_span *list = NULL;

    (void)state;
    assert_refused(fd, 0, 10 * 4096, -EBADMSG);
    assert_refused(fd, 9, 9 * 4096, -EBADMSG);
    assert_refused(fd, 11, 11 * 4096, -EBADMSG);
    assert_refused(fd, SPANTABLE_MAX, 10 * 4096, -EBADMSG);
    assert_refused(fd, SPANTABLE_MAX + 1, 10 * 4096, -EBADMSG);
    /* A product that wraps to the right size. */
    assert_refused(fd, (UINT64_C(1) << 61) + 10, 10 * 4096, -EBADMSG);
    assert_refused(fd, SIZE_MAX, 10 * 4096, -EBADMSG);
    /* Of another buffer. */
    assert_refused(fd, 10, 10 * 4096 - 1, -EBADMSG);
    assert_refused(fd, 10, 10 * 4096 + 1, -EBADMSG);
    assert_refused(fd, 10, 0, -EBADMSG);
    assert_int_equal(spantable_open(fd, 10, 10 * 4096, &list), 0);
}

/* A memfd with @size bytes of the list and these seals. */
static int made_by_hand(const struct dmabufd_span *list, size_t size, int seals)
{
    int fd = -1;

    assert_int_equal(memfd_open("unit-test", 0, &fd), 0);
    assert_int_equal(write(fd, list, size), (ssize_t)size);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void every_seal_is_needed(void **state)
{
    static const int seals[] = { F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW, F_SEAL_SEAL };
    CLEANUP_FD int all = made_by_hand(many, 240, SEALS);
    CLEANUP_FREE struct dmabufd_span *list = NULL;

    (void)state;
    assert_int_equal(spantable_open(all, 10, 10 * 4096, &list), 0);
    for (size_t i = 0; i < ARRAY_LEN(seals); i++) {
        CLEANUP_FD int fd = made_by_hand(many, 240, SEALS & ~seals[i]);

        assert_refused(fd, 10, 10 * 4096, -EBADMSG);
    }
}

static void no_memfd_at_all(void **state)
{
    CLEANUP_FD int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int pipes[2];

    (void)state;
    assert_int_equal(pipe(pipes), 0);
    assert_refused(file, 10, 10 * 4096, -EBADMSG);
    assert_refused(null, 10, 10 * 4096, -EBADMSG);
    assert_refused(pipes[0], 10, 10 * 4096, -EBADMSG);
    assert_refused(-1, 10, 10 * 4096, -EBADMSG);
    fd_close(&pipes[0]);
    fd_close(&pipes[1]);
}

static void sizes_beside_the_table(void **state)
{
    static const size_t sizes[] = { 239, 216, 1, 241, 264 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        CLEANUP_FD int fd = made_by_hand(many, sizes[i], SEALS);

        assert_refused(fd, 10, 10 * 4096, -EBADMSG);
    }
}

static void bad_list_in_a_good_file(void **state)
{
    struct dmabufd_span bad[10];
    CLEANUP_FD int fd = -1;

    (void)state;
    memcpy(bad, many, sizeof(bad));
    bad[5].offset++;
    fd = made_by_hand(bad, sizeof(bad), SEALS);
    assert_refused(fd, 10, 10 * 4096, -EBADMSG);
}

static void decode_inside_a_message(void **state)
{
    unsigned char bytes[1 + 240];
    CLEANUP_FREE struct dmabufd_span *list = NULL;

    (void)state;
    /* A message aligns nothing. */
    memcpy(bytes + 1, many, 240);
    assert_int_equal(spantable_decode(bytes + 1, 240, 10, 10 * 4096, &list), 0);
    assert_memory_equal(list, many, 240);
}

static void decode_refuses(void **state)
{
    struct dmabufd_span bad[10], *list = (struct dmabufd_span *)77;

    (void)state;
    assert_int_equal(spantable_decode(many, 0, 0, 0, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, 0, 10 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 239, 10, 10 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 241, 10, 10 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, 9, 10 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, 11, 10 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, (UINT64_C(1) << 61) + 10, 10 * 4096, &list),
                     -EBADMSG);
    assert_int_equal(
        spantable_decode(many, (SPANTABLE_MAX + 1) * 24, SPANTABLE_MAX + 1, 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, 10, 9 * 4096, &list), -EBADMSG);
    assert_int_equal(spantable_decode(many, 240, 10, 11 * 4096, &list), -EBADMSG);
    memcpy(bad, many, sizeof(bad));
    bad[9].length--;
    assert_int_equal(spantable_decode(bad, 240, 10, 10 * 4096, &list), -EBADMSG);
    assert_ptr_equal(list, (struct dmabufd_span *)77);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(seal_and_open),
        TEST(sealed_is_what_it_should_be),
        TEST(sealed_cannot_be_changed),
        TEST(wrong_numbers),
        TEST(every_seal_is_needed),
        TEST(no_memfd_at_all),
        TEST(sizes_beside_the_table),
        TEST(bad_list_in_a_good_file),
        TEST(decode_inside_a_message),
        TEST(decode_refuses),
    };

    return cmocka_run_group_tests_name("spantable", tests, NULL, NULL);
}
