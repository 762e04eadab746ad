/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what a pin does to memory and who pays for it: holes, seals and truncation under a pin,
 * migration, locked-memory limits, the huge page pool, control groups, and pagemap's view.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/memfd.h>
#include <linux/mempolicy.h>
#include <linux/udmabuf.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define KIB UINT64_C(0x400)

static void row_31_hole_under_a_pin(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(4 * GUEST_PAGE, 0);
    uint8_t *memory = memory_of(fd, 4 * GUEST_PAGE);
    uint64_t iova = mapped(context, fd, 4 * GUEST_PAGE);
    uint64_t pa = pa_of(context, iova);

    memory[0] = 'x';
    assert_int_equal(physical(memory), pa);
    assert_int_equal(
        fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, (off_t)GUEST_PAGE), 0);
    /* The device would go on with the orphan; the file has a new, empty page. */
    assert_int_equal(pa_of(context, iova), pa);
    assert_int_equal(new_pins(context), 4);
    assert_int_equal(memory[0], 0);
    memory[0] = 'y';
    assert_int_not_equal(physical(memory), pa);
    munmap(memory, 4 * GUEST_PAGE);
    close(fd);
}

static void row_32_write_seal_under_a_pin(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(GUEST_PAGE, 0);
    struct timespec begin, end;

    mapped(context, fd, GUEST_PAGE);
    clock_gettime(CLOCK_MONOTONIC, &begin);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EBUSY);
    clock_gettime(CLOCK_MONOTONIC, &end);
    /* It waits for the pin to go, for 150 ms at least. */
    assert_true((end.tv_sec - begin.tv_sec) * 1000 + (end.tv_nsec - begin.tv_nsec) / 1000000 >=
                100);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_FUTURE_WRITE), 0);
    unmap_all(context);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), 0);
    close(fd);
}

static void row_33_truncated_file_cannot_be_attached_again(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(4 * GUEST_PAGE, 0);
    uint64_t iova = mapped(context, fd, 4 * GUEST_PAGE);
    uint64_t pa = pa_of(context, iova);

    assert_int_equal(ftruncate(fd, 0), 0);
    assert_int_equal(pa_of(context, iova), pa);
    assert_int_equal(new_pins(context), 4);
    assert_int_equal(vfio_detach(context->cdev), 0);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), -EINVAL);
    unmap_all(context);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), 0);
    close(fd);
}

/* ---- rows 36 and 37: RLIMIT_MEMLOCK of a process without CAP_IPC_LOCK ---- */

struct limited {
    const struct context *context;
    int fd;
    uint64_t first;  /* to map, and then */
    uint64_t second; /* to map as well, both of the file's beginning */
    bool copy;       /* the second by COPY */
};

static int map_within_limit(void *arg)
{
    const struct limited *limited = arg;
    const struct rlimit limit = { .rlim_cur = 64 * KIB, .rlim_max = 64 * KIB };
    const int iommufd = limited->context->iommufd;
    const uint32_t ioas = limited->context->ioas;
    uint64_t iova = 0;
    uint64_t other = 0;
    int r;

    if (setrlimit(RLIMIT_MEMLOCK, &limit) < 0)
        return -errno;
    r = map_file(iommufd, ioas, limited->fd, 0, limited->first, MAP_RW, &iova);
    if (r < 0 || limited->second == 0)
        return r;
    if (limited->copy)
        r = copy_area(iommufd, ioas, iova, limited->second, MAP_RW, &other);
    else
        r = map_file(iommufd, ioas, limited->fd, 0, limited->second, MAP_RW, &other);
    /* So that it is told apart from the first one's. */
    return r == -ENOMEM ? -EDQUOT : r;
}

static int limited(const struct context *context, int fd, uint64_t first, uint64_t second,
                   bool copy)
{
    struct limited arg = {
        .context = context, .fd = fd, .first = first, .second = second, .copy = copy
    };

    return as_user(GUEST_UID_CLIENT, map_within_limit, &arg);
}

static void row_36_locked_memory_limit(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(256 * GUEST_PAGE, 0);

    assert_int_equal(limited(context, fd, 256 * GUEST_PAGE, 0, false), -ENOMEM);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(limited(context, fd, 32 * KIB, 0, false), 0);
    assert_int_equal(new_pins(context), 8);
    /* That is charged to the user until it is unmapped, though its process has ended. */
    assert_int_equal(limited(context, fd, 36 * KIB, 0, false), -ENOMEM);
    assert_int_equal(new_pins(context), 8);
    assert_int_equal(limited(context, fd, 32 * KIB, 0, false), 0);
    unmap_all(context);
    assert_int_equal(limited(context, fd, 64 * KIB, 0, false), 0);
    close(fd);
}

static void row_37_second_map_is_charged_and_copy_is_not(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(64 * KIB, 0);

    assert_int_equal(limited(context, fd, 64 * KIB, 64 * KIB, false), -EDQUOT);
    unmap_all(context);
    assert_int_equal(limited(context, fd, 64 * KIB, 64 * KIB, true), 0);
    assert_int_equal(new_pins(context), 16);
    close(fd);
}

static void row_39_huge_page_pool_exhausted(void **state)
{
    struct context *context = *state;
    long before = number_in("/proc/meminfo", "HugePages_Free");
    uint64_t size = (uint64_t)(before + 1) * GUEST_2M;
    int fd = memfd_sized(size, MFD_HUGETLB);
    uint64_t iova = 0;

    assert_true(before > 0);
    assert_int_equal(map_file(context->iommufd, context->ioas, fd, 0, size, MAP_RW, &iova),
                     -ENOMEM);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(
        map_file(context->iommufd, context->ioas, fd, 0, size - GUEST_2M, MAP_RW, &iova), 0);
    assert_int_equal(number_in("/proc/meminfo", "HugePages_Free"), 0);
    unmap_all(context);
    close(fd);
    assert_int_equal(number_in("/proc/meminfo", "HugePages_Free"), before);
}

/* ---- row 49: what keeps a page where it is ---- */

/* Asks the kernel to move the page to the other node; returns whether it went. */
static bool moves(void *page)
{
    uint64_t before = physical(page);
    int node = -1;
    int status = -1;
    long r;

    assert_int_equal(syscall(SYS_move_pages, 0, 1L, &page, NULL, &status, 0), 0);
    assert_in_range(status, 0, 1);
    node = !status;
    r = syscall(SYS_move_pages, 0, 1L, &page, &node, &status, MPOL_MF_MOVE);
    print_message("# move_pages %ld, status %d, wanted node %d\n", r, status, node);
    if (physical(page) == before)
        return false;
    assert_int_equal(status, node);
    return true;
}

static void *page_of(int fd)
{
    uint8_t *page = memory_of(fd, GUEST_PAGE);

    *page = 1;
    return page;
}

static void row_49_locked_page_moves(void **state)
{
    int fd = memfd_filled(GUEST_PAGE, 0);
    void *page = page_of(fd);

    (void)state;
    assert_int_equal(mlock(page, GUEST_PAGE), 0);
    assert_true(moves(page));
    munmap(page, GUEST_PAGE);
    close(fd);
}

static void row_49_page_pinned_by_iommufd_stays(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(GUEST_PAGE, 0);
    void *page = page_of(fd);
    uint64_t iova = mapped(context, fd, GUEST_PAGE);

    assert_false(moves(page));
    assert_int_equal(pa_of(context, iova), physical(page));
    unmap_all(context);
    assert_true(moves(page));
    munmap(page, GUEST_PAGE);
    close(fd);
}

static void row_49_page_pinned_by_io_uring_stays(void **state)
{
    struct io_uring_params params = { 0 };
    int fd = memfd_filled(GUEST_PAGE, 0);
    void *page = page_of(fd);
    struct iovec iov = { .iov_base = page, .iov_len = GUEST_PAGE };
    int ring = (int)syscall(SYS_io_uring_setup, 1, &params);

    (void)state;
    assert_true(ring >= 0);
    assert_int_equal(syscall(SYS_io_uring_register, ring, IORING_REGISTER_BUFFERS, &iov, 1), 0);
    assert_false(moves(page));
    assert_int_equal(syscall(SYS_io_uring_register, ring, IORING_UNREGISTER_BUFFERS, NULL, 0), 0);
    assert_true(moves(page));
    close(ring);
    munmap(page, GUEST_PAGE);
    close(fd);
}

static void row_49_page_pinned_by_udmabuf_stays(void **state)
{
    int fd = memfd_filled(GUEST_PAGE, 0);
    struct udmabuf_create create = { .memfd = (uint32_t)fd, .size = GUEST_PAGE };
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    void *page = page_of(fd);
    int buffer;

    (void)state;
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    buffer = ioctl(device, UDMABUF_CREATE, &create);
    assert_true(buffer >= 0);
    assert_false(moves(page));
    close(buffer);
    assert_true(moves(page));
    close(device);
    munmap(page, GUEST_PAGE);
    close(fd);
}

static int read_own_pagemap(void *arg)
{
    volatile uint8_t *page = arg;
    uint64_t entry;
    int r;

    *page = 2;
    r = pagemap_entry(0, (uintptr_t)page, &entry);
    if (r < 0)
        return r;
    if (!(entry & PAGEMAP_PRESENT))
        return -ENXIO;
    return entry & PAGEMAP_FRAME ? -EEXIST : 0;
}

static void row_50_pagemap_without_capability(void **state)
{
    int fd = memfd_filled(GUEST_PAGE, 0);
    void *page = page_of(fd);

    (void)state;
    assert_int_equal(in_child(read_own_pagemap, page), -EEXIST);
    assert_int_equal(as_user(GUEST_UID_CLIENT, read_own_pagemap, page), 0);
    munmap(page, GUEST_PAGE);
    close(fd);
}

/* ---- row 51: who is charged for pages that come into being when they are pinned ---- */

#define CGROUP "/sys/fs/cgroup/"

static void enter_cgroup(const char *name)
{
    char path[64];

    snprintf(path, sizeof(path), CGROUP "%s/cgroup.procs", name);
    assert_int_equal(write_file(path, "0"), 0);
}

static void row_51_pinning_process_is_charged(void **state)
{
    struct context *context = *state;
    const uint64_t size = 4 * GUEST_2M;
    int fd;

    assert_int_equal(write_file(CGROUP "cgroup.subtree_control", "+memory"), 0);
    assert_int_equal(mkdir(CGROUP "client", 0755), 0);
    assert_int_equal(mkdir(CGROUP "daemon", 0755), 0);
    enter_cgroup("client");
    fd = memfd_sized(size, 0);
    enter_cgroup("daemon");
    mapped(context, fd, size);
    enter_cgroup("");
    assert_int_equal(number_in(CGROUP "client/memory.stat", "shmem"), 0);
    assert_int_equal(number_in(CGROUP "daemon/memory.stat", "shmem"), size);
    close(fd);
    unmap_all(context);
    assert_int_equal(number_in(CGROUP "daemon/memory.stat", "shmem"), 0);
    assert_int_equal(rmdir(CGROUP "client"), 0);
    assert_int_equal(rmdir(CGROUP "daemon"), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(row_31_hole_under_a_pin),
        ATTACHED(row_32_write_seal_under_a_pin),
        ATTACHED(row_33_truncated_file_cannot_be_attached_again),
        ATTACHED(row_36_locked_memory_limit),
        ATTACHED(row_37_second_map_is_charged_and_copy_is_not),
        ATTACHED(row_39_huge_page_pool_exhausted),
        cmocka_unit_test(row_49_locked_page_moves),
        ATTACHED(row_49_page_pinned_by_iommufd_stays),
        cmocka_unit_test(row_49_page_pinned_by_io_uring_stays),
        cmocka_unit_test(row_49_page_pinned_by_udmabuf_stays),
        cmocka_unit_test(row_50_pagemap_without_capability),
        ATTACHED(row_51_pinning_process_is_charged),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
