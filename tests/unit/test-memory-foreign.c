/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/memory.h on memory that a client made: everything that must hold before it can be
 * pinned, each broken once.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/keeper/memory.h"
#include "daemon/presented.h"
#include "tests/unit/rig.h"
#include "tests/unit/support.h"

#define K4    PAGE_4K
#define PAGES 8

static void assert_refused(int fd, uint64_t offset, uint64_t size, int error)
{
    uint64_t page_size = 77;
    struct fault fault = { 0 };

    assert_int_equal(memory_check_foreign(fd, offset, size, &page_size, &fault), -error);
    assert_int_equal(fault.error, error);
    assert_int_equal(fault.code, DMABUFD_CODE_INVALID);
    assert_true(strlen(fault.text) > 20);
    assert_int_equal(page_size, 77);
}

static void assert_taken(int fd, uint64_t offset, uint64_t size)
{
    uint64_t page_size = 77;
    struct fault fault = { 0 };

    if (memory_check_foreign(fd, offset, size, &page_size, &fault) != 0)
        fail_msg("%s", fault.text);
    assert_int_equal(page_size, K4);
}

static void whole_and_parts(void **state)
{
    CLEANUP_FD int fd = rig_memory(PAGES * K4);

    (void)state;
    assert_int_equal(presented_as_memory(fd, NULL), 0);
    assert_taken(fd, 0, PAGES * K4);
    assert_taken(fd, 0, K4);
    assert_taken(fd, 3 * K4, 2 * K4);
    assert_taken(fd, (PAGES - 1) * K4, K4);
}

static void sizes_that_do_not_fit(void **state)
{
    CLEANUP_FD int fd = rig_memory(PAGES * K4);

    (void)state;
    assert_refused(fd, 0, 0, EINVAL);
    assert_refused(fd, 0, 1, EINVAL);
    assert_refused(fd, 0, K4 + 1, EINVAL);
    assert_refused(fd, 1, K4, EINVAL);
    assert_refused(fd, 0, (PAGES + 1) * K4, EINVAL);
    assert_refused(fd, PAGES * K4, K4, EINVAL);
    assert_refused(fd, K4, PAGES * K4, EINVAL);
    assert_refused(fd, K4, -K4, EINVAL);
    assert_refused(fd, -K4, 2 * K4, EINVAL);
    assert_refused(fd, -K4, K4, EINVAL);
}

static void what_is_no_memory_file(void **state)
{
    CLEANUP_FD int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    CLEANUP_FD int program = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
    CLEANUP_FD int memory = rig_memory(K4);
    CLEANUP_FD int path = -1;
    struct fault fault = { 0 };
    char name[32];

    (void)state;
    snprintf(name, sizeof(name), "/proc/self/fd/%d", memory);
    path = open(name, O_PATH | O_CLOEXEC);
    assert_true(path >= 0);
    assert_refused(null, 0, K4, EOPNOTSUPP);
    assert_refused(program, 0, K4, EOPNOTSUPP);
    assert_refused(path, 0, K4, EOPNOTSUPP);
    assert_refused(-1, 0, K4, EOPNOTSUPP);
    assert_int_equal(presented_as_memory(null, &fault), -EOPNOTSUPP);
    assert_int_equal(fault.error, EOPNOTSUPP);
    assert_int_equal(presented_as_memory(program, NULL), -EOPNOTSUPP);
    assert_int_equal(presented_as_memory(-1, NULL), -EOPNOTSUPP);
}

static void open_for_reading_only(void **state)
{
    CLEANUP_FD int fd = rig_memory(K4);
    CLEANUP_FD int readonly = -1;

    (void)state;
    assert_int_equal(memfd_reopen_readonly(fd, &readonly), 0);
    assert_refused(readonly, 0, K4, EACCES);
}

static void seals(void **state)
{
    CLEANUP_FD int none = -1;
    CLEANUP_FD int write = rig_memory(K4);
    CLEANUP_FD int future = rig_memory(K4);
    CLEANUP_FD int more = rig_memory(K4);
    char page[K4] = { 0 };

    (void)state;
    assert_int_equal(memfd_open("client", 0, &none), 0);
    assert_int_equal(pwrite(none, page, sizeof(page), 0), sizeof(page));
    assert_refused(none, 0, K4, EPERM);
    assert_int_equal(fcntl(none, F_ADD_SEALS, F_SEAL_GROW), 0);
    assert_refused(none, 0, K4, EPERM);
    assert_int_equal(fcntl(write, F_ADD_SEALS, F_SEAL_WRITE), 0);
    assert_refused(write, 0, K4, EPERM);
    assert_int_equal(fcntl(future, F_ADD_SEALS, F_SEAL_FUTURE_WRITE), 0);
    assert_refused(future, 0, K4, EPERM);
    assert_int_equal(fcntl(more, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SEAL), 0);
    assert_taken(more, 0, K4);
}

static void punch(int fd, uint64_t page)
{
    assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)(page * K4),
                               (off_t)K4),
                     0);
}

/* A hole is only in the way where it is. */
static void missing_pages(void **state)
{
    static const uint64_t holes[] = { 0, 3, PAGES - 1 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(holes); i++) {
        CLEANUP_FD int fd = rig_memory(PAGES * K4);

        punch(fd, holes[i]);
        assert_refused(fd, 0, PAGES * K4, ENXIO);
        for (uint64_t page = 0; page < PAGES; page++) {
            if (page == holes[i])
                assert_refused(fd, page * K4, K4, ENXIO);
            else
                assert_taken(fd, page * K4, K4);
        }
    }
}

/* The kernel zeroes such pages at their first use, which could be after a device has written. */
static void pages_that_were_never_touched(void **state)
{
    CLEANUP_FD int fd = -1;
    char *p;

    (void)state;
    assert_int_equal(memfd_open("client", 0, &fd), 0);
    assert_int_equal(ftruncate(fd, (off_t)(2 * K4)), 0);
    assert_int_equal(fallocate(fd, 0, 0, (off_t)(2 * K4)), 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    assert_refused(fd, 0, 2 * K4, ENXIO);
    p = mmap(NULL, 2 * K4, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(p, MAP_FAILED);
    p[0] = 1;
    assert_taken(fd, 0, K4);
    assert_refused(fd, 0, 2 * K4, ENXIO);
    p[K4] = 1;
    assert_taken(fd, 0, 2 * K4);
    munmap(p, 2 * K4);
}

/* The open file is the client's too. */
static void position_stays(void **state)
{
    CLEANUP_FD int fd = rig_memory(PAGES * K4);

    (void)state;
    assert_int_equal(lseek(fd, 12345, SEEK_SET), 12345);
    assert_taken(fd, 0, PAGES * K4);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 12345);
    punch(fd, 0);
    assert_refused(fd, 0, K4, ENXIO);
    assert_int_equal(lseek(fd, 0, SEEK_CUR), 12345);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_and_parts),
        cmocka_unit_test(sizes_that_do_not_fit),
        cmocka_unit_test(what_is_no_memory_file),
        cmocka_unit_test(open_for_reading_only),
        cmocka_unit_test(seals),
        cmocka_unit_test(missing_pages),
        cmocka_unit_test(pages_that_were_never_touched),
        cmocka_unit_test(position_stays),
    };

    return cmocka_run_group_tests_name("memory foreign", tests, NULL, NULL);
}
