/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what MAP_FILE, MAP, COPY and UNMAP accept and refuse, and when they pin. What the
 * resulting addresses are is in contract-getpa.c.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define MIB UINT64_C(0x100000)
#define KIB UINT64_C(0x400)

static blkcnt_t blocks(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return st.st_blocks;
}

static int try_map(const struct context *context, int fd, uint64_t start, uint64_t length)
{
    uint64_t iova = 0;

    return map_file(context->iommufd, context->ioas, fd, start, length, MAP_RW, &iova);
}

static int try_map_at(const struct context *context, int fd, uint64_t iova, uint64_t length)
{
    return map_file(context->iommufd, context->ioas, fd, 0, length, MAP_RW_FIXED, &iova);
}

static void row_12_map_without_domain_pins_nothing(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(MIB, 0);

    mapped(context, fd, MIB);
    assert_int_equal(blocks(fd), 0);
    assert_int_equal(new_pins(context), 0);
    close(fd);
}

static void row_13_attach_pins_what_is_mapped(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(MIB, 0);
    long pinned_kb = number_in("/proc/self/status", "VmPin");
    uint32_t hwpt = 0;

    mapped(context, fd, MIB);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, &hwpt), 0);
    assert_int_not_equal(hwpt, 0);
    assert_int_not_equal(hwpt, context->ioas);
    assert_int_equal(new_pins(context), 256);
    assert_int_equal(blocks(fd), 2048);
    assert_int_equal(number_in("/proc/self/status", "VmPin") - pinned_kb, 1024);
    /* pt_id came back as something else than went in: a domain, in use by the device */
    assert_int_equal(iommufd_destroy(context->iommufd, hwpt), -EBUSY);
    close(fd);
}

/* What tests of the daemon rest on: with a domain, each mapping is one of pinned pages, and until it is
 * gone it shows in two counts that are kept apart. */
static void mapping_shows_in_two_counts(void **state)
{
    struct context *context = *state;
    long charged = number_in("/proc/self/status", "VmPin");
    int fd = memfd_sized(2 * GUEST_PAGE, 0);
    uint64_t length = GUEST_PAGE, iova;

    mapped(context, fd, 2 * GUEST_PAGE);
    assert_int_equal(map_file(context->iommufd, context->ioas, fd, 0, GUEST_PAGE, MAP_RW, &iova),
                     0);
    close(fd);
    assert_int_equal(new_pins(context), 3);
    assert_int_equal(number_in("/proc/self/status", "VmPin"), charged + 12);
    assert_int_equal(unmap(context->iommufd, context->ioas, iova, &length), 0);
    assert_int_equal(new_pins(context), 2);
    assert_int_equal(number_in("/proc/self/status", "VmPin"), charged + 8);
    unmap_all(context);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(number_in("/proc/self/status", "VmPin"), charged);
}

static void row_14_wrong_file_shows_at_attach_only(void **state)
{
    struct context *context = *state;
    int fd = eventfd(0, EFD_CLOEXEC);

    assert_int_equal(try_map(context, fd, 0, GUEST_PAGE), 0);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), -EINVAL);
    unmap_all(context);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), 0);
    assert_int_equal(try_map(context, fd, 0, GUEST_PAGE), -EINVAL);
    close(fd);
}

static void row_15_area_of_less_than_a_page(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_PAGE, 0);

    assert_int_equal(try_map_at(context, fd, GUEST_2M, 2 * KIB), 0);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), -EADDRINUSE);
    unmap_all(context);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), 0);
    close(fd);
}

/* The daemon has to look at seals and at the way the file was opened; the kernel does not. */
static void row_26_seals_and_open_mode_are_not_looked_at(void **state)
{
    struct context *context = *state;
    int sealed = memfd_filled(GUEST_PAGE, 0);
    int made = open("/tmp/row-26", O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    int readonly = open("/tmp/row-26", O_RDONLY | O_CLOEXEC);

    unlink("/tmp/row-26");
    assert_int_equal(fcntl(sealed, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_SHRINK), 0);
    assert_int_equal(try_map(context, sealed, 0, GUEST_PAGE), 0);
    assert_int_equal(ftruncate(made, (off_t)GUEST_PAGE), 0);
    assert_int_equal(try_map(context, readonly, 0, GUEST_PAGE), 0);
    assert_int_equal(new_pins(context), 2);
    close(sealed);
    close(made);
    close(readonly);
}

static void row_27_files_that_are_not_memory(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(GUEST_PAGE, 0);
    struct udmabuf_create create = { .memfd = (uint32_t)fd, .size = GUEST_PAGE };
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
    char path[32];
    int other;

    snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    other = open(path, O_PATH | O_CLOEXEC);
    assert_true(other >= 0);
    assert_int_equal(try_map(context, other, 0, GUEST_PAGE), -EBADF);
    close(other);

    assert_true(device >= 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    other = ioctl(device, UDMABUF_CREATE, &create);
    assert_true(other >= 0);
    assert_int_equal(try_map(context, other, 0, GUEST_PAGE), -EOPNOTSUPP);
    close(other);
    close(device);

    other = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    assert_int_equal(try_map(context, other, 0, GUEST_PAGE), -EINVAL);
    close(other);
    assert_int_equal(try_map(context, other, 0, GUEST_PAGE), -EBADF);
    assert_int_equal(try_map(context, fd, 0, GUEST_PAGE), 0);
    close(fd);
}

static void row_27_secret_memory(void **state)
{
    struct context *context = *state;
    int fd = (int)syscall(SYS_memfd_secret, O_CLOEXEC);

    if (fd < 0 && errno == ENOSYS) {
        print_message("# skipped: this kernel has no memfd_secret\n");
        skip();
    }
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, (off_t)GUEST_PAGE), 0);
    assert_int_equal(try_map(context, fd, 0, GUEST_PAGE), -EINVAL);
    close(fd);
}

static void row_28_ranges_of_the_file(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(4 * GUEST_PAGE, 0);
    int odd = memfd_sized(10000, 0);

    assert_int_equal(try_map(context, fd, 4 * GUEST_PAGE, GUEST_PAGE), -EINVAL);
    assert_int_equal(try_map(context, fd, 0, 5 * GUEST_PAGE), -EINVAL);
    assert_int_equal(try_map(context, fd, 0x800, GUEST_PAGE), -EINVAL);
    assert_int_equal(try_map(context, fd, 0, 2 * KIB), -EINVAL);
    assert_int_equal(try_map(context, fd, 0, 0), -EINVAL);
    /* The last page must be inside the file as a whole. */
    assert_int_equal(try_map(context, odd, 0, 12 * KIB), -EINVAL);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(try_map(context, odd, 0, 8 * KIB), 0);
    assert_int_equal(try_map(context, fd, 3 * GUEST_PAGE, GUEST_PAGE), 0);
    close(odd);
    close(fd);
}

static void row_29_fixed_addresses(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(16 * GUEST_PAGE, 0);
    uint64_t iova;

    assert_int_equal(try_map_at(context, fd, GUEST_2M, 4 * GUEST_PAGE), 0);
    assert_int_equal(try_map_at(context, fd, GUEST_2M, GUEST_PAGE), -EEXIST);
    assert_int_equal(try_map_at(context, fd, GUEST_2M + 3 * GUEST_PAGE, 4 * GUEST_PAGE), -EEXIST);
    assert_int_equal(try_map_at(context, fd, GUEST_2M + 4 * GUEST_PAGE, 4 * GUEST_PAGE), 0);
    assert_int_equal(try_map_at(context, fd, 0, GUEST_PAGE), 0);
    assert_int_equal(try_map_at(context, fd, -GUEST_PAGE, GUEST_PAGE), 0);
    assert_int_equal(try_map_at(context, fd, -GUEST_PAGE, 2 * GUEST_PAGE), -EOVERFLOW);
    /* Where the kernel chooses, it is never 0, which could pass for "none". */
    iova = 0;
    assert_int_equal(map_file(context->iommufd, context->ioas, fd, 0, GUEST_PAGE, MAP_RW, &iova),
                     0);
    assert_int_not_equal(iova, 0);
    close(fd);
}

static void row_30_memory_that_cannot_be_pinned(void **state)
{
    struct context *context = *state;
    void *readonly = mmap(NULL, GUEST_PAGE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void *bar;
    uint64_t iova = 0;
    struct edu edu;

    assert_int_equal(edu_init(&edu, context->cdev), 0);
    bar = (void *)(uintptr_t)edu.registers;
    assert_int_equal(map_memory(context->iommufd, context->ioas, bar, GUEST_PAGE, MAP_RW, &iova),
                     -EFAULT);
    assert_int_equal(map_memory(context->iommufd, context->ioas, NULL, GUEST_PAGE, MAP_RW, &iova),
                     -EFAULT);
    assert_int_equal(
        map_memory(context->iommufd, context->ioas, readonly, GUEST_PAGE, MAP_RW, &iova), -EFAULT);
    assert_int_equal(map_memory(context->iommufd, context->ioas, readonly, GUEST_PAGE,
                                ABI_IOMMU_MAP_READABLE, &iova),
                     0);
    munmap(readonly, GUEST_PAGE);
    edu_close(&edu);
}

static int try_unmap(const struct context *context, uint64_t iova, uint64_t length,
                     uint64_t *ret_done)
{
    *ret_done = length;
    return unmap(context->iommufd, context->ioas, iova, ret_done);
}

static void row_34_unmap_takes_whole_areas(void **state)
{
    struct context *context = *state;
    const uint64_t at = GUEST_2M;
    int fd = memfd_sized(64 * KIB, 0);
    uint64_t done;

    assert_int_equal(try_map_at(context, fd, at, 64 * KIB), 0);
    assert_int_equal(try_unmap(context, at, GUEST_PAGE, &done), -ENOENT);
    assert_int_equal(new_pins(context), 16);
    assert_int_equal(try_map_at(context, fd, at + 64 * KIB, 64 * KIB), 0);
    assert_int_equal(new_pins(context), 32);
    /* Not atomic: the first area is gone although the call failed. */
    assert_int_equal(try_unmap(context, at, 96 * KIB, &done), -ENOENT);
    assert_int_equal(new_pins(context), 16);
    assert_int_equal(try_map_at(context, fd, at, 64 * KIB), 0);
    assert_int_equal(try_unmap(context, 0, GUEST_1G, &done), 0);
    assert_int_equal(done, 128 * KIB);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(try_unmap(context, at, 64 * KIB, &done), -ENOENT);
    assert_int_equal(try_unmap(context, at, 0, &done), -EINVAL);
    assert_int_equal(try_unmap(context, 0, UINT64_MAX, &done), 0);
    assert_int_equal(done, 0);
    close(fd);
}

static void row_35_copy_shares_the_pin(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(64 * KIB, 0);
    uint64_t from = mapped(context, fd, 64 * KIB);
    uint64_t readable = 0;
    uint64_t to = 0;

    assert_int_equal(new_pins(context), 16);
    assert_int_equal(
        copy_area(context->iommufd, context->ioas, from + 8 * KIB, 8 * KIB, MAP_RW, &to), 0);
    assert_int_equal(new_pins(context), 16);
    assert_int_equal(pa_of(context, to), pa_of(context, from + 8 * KIB));
    assert_int_equal(
        copy_area(context->iommufd, context->ioas, from + 60 * KIB, 8 * KIB, MAP_RW, &to), -ENOENT);
    assert_int_equal(map_file(context->iommufd, context->ioas, fd, 0, 64 * KIB,
                              ABI_IOMMU_MAP_READABLE, &readable),
                     0);
    assert_int_equal(copy_area(context->iommufd, context->ioas, readable, 8 * KIB, MAP_RW, &to),
                     -EPERM);
    close(fd);
}

static int set_rlimit_mode(int iommufd, uint64_t value)
{
    struct abi_iommu_option option = {
        .size = sizeof(option),
        .option_id = ABI_IOMMU_OPTION_RLIMIT_MODE,
        .op = ABI_IOMMU_OPTION_OP_SET,
        .val64 = value,
    };

    return ioctl(iommufd, ABI_IOMMU_OPTION, &option) < 0 ? -errno : 0;
}

static int set_rlimit_mode_of(void *arg)
{
    return set_rlimit_mode(*(const int *)arg, 1);
}

static void row_38_rlimit_mode(void **state)
{
    struct context *context = *state;
    struct abi_iommu_option option = {
        .size = sizeof(option),
        .option_id = ABI_IOMMU_OPTION_RLIMIT_MODE,
        .op = ABI_IOMMU_OPTION_OP_GET,
    };
    int fresh = iommufd_open();

    assert_int_equal(set_rlimit_mode(context->iommufd, 1), -EBUSY);
    assert_int_equal(set_rlimit_mode(fresh, 7), -EINVAL);
    assert_int_equal(as_user(GUEST_UID_CLIENT, set_rlimit_mode_of, &fresh), -EPERM);
    assert_int_equal(set_rlimit_mode(fresh, 1), 0);
    assert_int_equal(ioctl(fresh, ABI_IOMMU_OPTION, &option), 0);
    assert_int_equal(option.val64, 1);
    close(fresh);
}

static void iova_ranges_without_iommu(void **state)
{
    struct context *context = *state;
    struct abi_iommu_iova_range range = { .start = 1 };
    struct abi_iommu_ioas_iova_ranges arg = {
        .size = sizeof(arg),
        .ioas_id = context->ioas,
        .allowed_iovas = (uintptr_t)&range,
    };

    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_IOAS_IOVA_RANGES, &arg), -1);
    assert_int_equal(errno, EMSGSIZE);
    assert_int_equal(arg.num_iovas, 1);
    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_IOAS_IOVA_RANGES, &arg), 0);
    assert_int_equal(arg.num_iovas, 1);
    assert_int_equal(range.start, 0);
    assert_int_equal(range.last, UINT64_MAX);
    assert_int_equal(arg.out_iova_alignment, GUEST_PAGE);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOUND(row_12_map_without_domain_pins_nothing),
        BOUND(row_13_attach_pins_what_is_mapped),
        ATTACHED(mapping_shows_in_two_counts),
        BOUND(row_14_wrong_file_shows_at_attach_only),
        BOUND(row_15_area_of_less_than_a_page),
        ATTACHED(row_26_seals_and_open_mode_are_not_looked_at),
        ATTACHED(row_27_files_that_are_not_memory),
        ATTACHED(row_27_secret_memory),
        ATTACHED(row_28_ranges_of_the_file),
        ATTACHED(row_29_fixed_addresses),
        ATTACHED(row_30_memory_that_cannot_be_pinned),
        ATTACHED(row_34_unmap_takes_whole_areas),
        ATTACHED(row_35_copy_shares_the_pin),
        BOUND(row_38_rlimit_mode),
        ATTACHED(iova_ranges_without_iommu),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
