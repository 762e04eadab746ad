/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The iommufd backend and its donor (daemon/keeper/donor.h) on a kernel of a few lines
 * (iommu-kernel.h), whose answers and errors are scripted: what is asked of it, in which pieces, what
 * is believed, and the sentence for each thing that can go wrong.
 *
 * That the real kernel answers like that is tests/vm/contract-*.c; the loop that asks for addresses
 * has test-resolve.c.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>

#include "daemon/keeper/buffer.h"
#include "daemon/keeper/build.h"
#include "daemon/keeper/pages.h"
#include "tests/unit/iommu-kernel.h"
#include "tests/unit/support.h"

#define SHARDS 8
#define MIB    (UINT64_C(1) << 20)

/* ---- the start ---- */

static void start_goes_the_whole_way_once(void **state)
{
    struct backend *backend = iommu_open();

    (void)state;
    assert_int_equal(kernel.binds, 1);
    assert_int_equal(kernel.ioas, SHARDS);
    assert_int_equal(kernel.hwpts, SHARDS);
    assert_int_equal(kernel.seen_count, 1);
    assert_int_equal(kernel.seen[0].length, PAGE_4K);
    assert_int_equal(kernel.map_count, 0);
    /* The context, and no device. */
    assert_int_equal(support_fds(), iommu_fds() + 1);
    backend_close(backend);
}

/* One page is compared with what another source says. */
static void answers_that_differ_are_not_trusted(void **state)
{
    (void)state;
    kernel.off_by = PAGE_4K;
    iommu_assert_refused(EIO, "the kernel's two answers for the address of a page differ "
                              "(IOMMU_IOAS_NOIOMMU_GET_PA and /proc/self/pagemap): not trusted");
    kernel.off_by = (uint64_t)-PAGE_4K;
    iommu_assert_refused(EIO, "two answers");
    kernel.off_by = UINT64_C(1) << 40;
    iommu_assert_refused(EIO, "two answers");
    kernel.off_by = 0;
    kernel.lacks_frame = true;
    iommu_assert_refused(EIO, "no frame number for a pinned page");
    kernel.lacks_frame = false;
    backend_close(iommu_open());
}

/* That is no reason not to serve: the kernel's answer is as good as it was. */
static void without_frame_numbers_nothing_is_compared(void **state)
{
    (void)state;
    kernel.has_frames = false;
    kernel.off_by = PAGE_4K;
    backend_close(iommu_open());
}

static void what_the_start_can_miss(void **state)
{
    (void)state;
    kernel.open_error = ENOENT;
    iommu_assert_refused(ENOENT, "cannot open /dev/iommu: No such file or directory (a kernel with "
                                 "CONFIG_IOMMUFD has it)");
    kernel.open_error = EACCES;
    iommu_assert_refused(EACCES, "cannot open /dev/iommu: Permission denied");
    kernel.open_error = 0;
    kernel.hwpt_error = EOPNOTSUPP;
    iommu_assert_refused(EOPNOTSUPP,
                         "cannot make a domain that pins without a device (IOMMU_HWPT_ALLOC: "
                         "Operation not supported): Linux 7.3 is the first that can");
    kernel.hwpt_error = 0;
    kernel.ioas = 0;
    kernel.get_pa_error = ENOTTY;
    iommu_assert_refused(ENOTTY,
                         "this kernel has no IOMMU_IOAS_NOIOMMU_GET_PA: Linux 7.3 is the first");
    kernel.get_pa_error = EPERM;
    iommu_assert_refused(EPERM, "only with CAP_SYS_RAWIO");
    kernel.get_pa_error = EOPNOTSUPP;
    iommu_assert_refused(EOPNOTSUPP,
                         "is behind a real IOMMU, or this kernel lacks CONFIG_VFIO_NOIOMMU");
}

/* Each error of IOMMU_IOAS_MAP_FILE has a sentence of its own, that says what to do. */
static void what_a_mapping_can_miss(void **state)
{
    static const struct {
        int error;
        const char *names;
    } table[] = {
        { ENOMEM,
          "the kernel could not pin the memory: out of memory, pages that cannot be moved "
          "out of a movable zone, or the memory lock limit (the keeper needs CAP_IPC_LOCK or "
          "LimitMEMLOCK=infinity)" },
        { EEXIST, "the place chosen for the mapping is taken" },
        { ENOTTY, "this kernel has no IOMMU_IOAS_MAP_FILE: Linux 6.13 is the first with it" },
        { EFAULT, "the kernel could not map: Bad address" },
        { EINVAL, "the kernel could not map: Invalid argument" },
    };

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        kernel.map_error = table[i].error;
        iommu_assert_refused(table[i].error, table[i].names);
    }
}

static void what_an_unmapping_can_miss(void **state)
{
    struct backend *backend = NULL;
    struct fault fault;

    (void)state;
    kernel.unmap_error = EBUSY;
    assert_int_equal(iommu_try("iommufd", NULL, &backend, &fault), -EBUSY);
    assert_non_null(strstr(fault.text, "the kernel could not unmap: Device or resource busy"));
    kernel.map_count = 0;
}

/* ---- the donor ---- */

static void what_a_device_can_miss(void **state)
{
    (void)state;
    kernel.node_error = EPERM;
    iommu_assert_refused(EPERM, "opening /dev/vfio/devices/noiommu-vfio0 (device " DEVICE
                                ") needs CAP_SYS_RAWIO");
    kernel.node_error = EACCES;
    iommu_assert_refused(EACCES, "cannot open /dev/vfio/devices/noiommu-vfio0 (device " DEVICE
                                 "): Permission denied");
    kernel.node_error = 0;
    kernel.bind_error = EINVAL;
    iommu_assert_refused(EBUSY, "device " DEVICE " is in use: another process has it bound");
    kernel.bind_error = EBUSY;
    iommu_assert_refused(EBUSY, "device " DEVICE " is in use through its VFIO group");
    kernel.bind_error = EAGAIN;
    iommu_assert_refused(EBUSY, "device " DEVICE " is in use: its lock is held");
    kernel.bind_error = ENODEV;
    iommu_assert_refused(ENODEV, "cannot bind device " DEVICE ": No such device");
    iommu_shell("mv vfio-dev/noiommu-vfio0 vfio-dev/vfio0");
    iommu_assert_refused(EOPNOTSUPP, "device " DEVICE " is behind an IOMMU (vfio0)");
    iommu_shell("rmdir vfio-dev/vfio0");
    iommu_assert_refused(EOPNOTSUPP, "the kernel lacks CONFIG_VFIO_DEVICE_CDEV");
    iommu_shell("ln -sfn ../../drivers/nic driver");
    iommu_assert_refused(ENODEV, "device " DEVICE " is bound to nic, not to vfio-pci");
    iommu_shell("rm driver");
    iommu_assert_refused(ENODEV, "device " DEVICE " is bound to no driver, not to vfio-pci");
    iommu_shell("rm -r ../" DEVICE);
    iommu_assert_refused(ENODEV, "no PCI device " DEVICE " on this host");
}

static int go_on(void *data, struct fault *fault)
{
    (void)data;
    assert_int_equal(fault->error, EBUSY);
    assert_non_null(strstr(fault->text, "is in use"));
    return 0;
}

static int give_up(void *data, struct fault *fault)
{
    (void)data;
    return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY, "waited for long enough");
}

static int be_told_to_end(void *data, struct fault *fault)
{
    (void)data;
    return fault_set(fault, DMABUFD_CODE_INTERNAL, ECANCELED, "told to end");
}

static void device_in_use_is_waited_for(void **state)
{
    struct backend *backend = NULL;
    struct fault fault;

    (void)state;
    kernel.bind_error = EINVAL;
    kernel.binds_refused = 3;
    assert_int_equal(iommu_try("auto", go_on, &backend, &fault), 0);
    assert_int_equal(kernel.binds, 4);
    assert_string_equal(backend->name, "iommufd");
    backend_close(backend);
}

/* Not even "auto" takes another backend then. */
static void and_is_a_failure_in_the_end(void **state)
{
    struct backend *backend = NULL;
    struct fault fault;

    (void)state;
    kernel.bind_error = EINVAL;
    assert_int_equal(iommu_try("auto", give_up, &backend, &fault), -EBUSY);
    assert_string_equal(fault.text, "backend iommufd: waited for long enough");
    assert_int_equal(iommu_try("auto", be_told_to_end, &backend, &fault), -ECANCELED);
    assert_string_equal(fault.text, "backend iommufd: told to end");
    assert_null(backend);
    /* Nothing else of a device is waited for. */
    kernel.bind_error = ENODEV;
    kernel.binds = 0;
    assert_int_equal(iommu_try("iommufd", go_on, &backend, &fault), -ENODEV);
    assert_int_equal(kernel.binds, 1);
}

/* ---- buffers ---- */

/* Builds a buffer of small pages and looks at the calls that it took. */
static void check_pieces(uint64_t size)
{
    struct build work = { .asked = size, .wanted = PAGE_4K };
    struct backend *backend = iommu_open();
    struct buffer *buffer = buffer_new();
    enum build_result result = BUILD_MORE;
    struct fault fault = { 0 };
    struct memory memory;
    uint64_t at = 0;

    assert_int_equal(memory_init(&memory, UINT64_C(1) << 40, 0, NULL), 0);
    kernel.seen_count = 0;
    while (result == BUILD_MORE)
        result = build_step(buffer, &work, &memory, backend, &support_no, &fault);
    if (result != BUILD_DONE)
        fail_msg("%s", fault.text);
    for (size_t i = 0; i < kernel.seen_count; i++) {
        const struct map *map = &kernel.seen[i];

        /* More than 8192 pages in one call, and the kernel can lose count of its pins. */
        assert_true(map->length > 0 && map->length <= 32 * MIB);
        assert_int_equal(map->start, at);
        assert_int_equal(map->iova, kernel.seen[0].iova + at);
        assert_int_equal(map->ioas, kernel.seen[0].ioas);
        at += map->length;
    }
    assert_int_equal(at, size);
    assert_int_equal(kernel.seen_count, (size + 32 * MIB - 1) / (32 * MIB));
    while (buffer_teardown_step(buffer, &memory, backend, NULL) == 1)
        continue;
    assert_int_equal(kernel.map_count, 0);
    buffer_free(buffer);
    memory_deinit(&memory);
    backend_close(backend);
    kernel.ioas = 0;
}

static void pieces_of_small_pages_are_short(void **state)
{
    (void)state;
    check_pieces(PAGE_4K);
    check_pieces(32 * MIB - PAGE_4K);
    check_pieces(32 * MIB);
    check_pieces(32 * MIB + PAGE_4K);
    check_pieces(100 * MIB + 3 * PAGE_4K);
}

#define TEST(function) cmocka_unit_test_setup_teardown(function, iommu_set_up, iommu_tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(start_goes_the_whole_way_once),
        TEST(answers_that_differ_are_not_trusted),
        TEST(without_frame_numbers_nothing_is_compared),
        TEST(what_the_start_can_miss),
        TEST(what_a_mapping_can_miss),
        TEST(what_an_unmapping_can_miss),
        TEST(what_a_device_can_miss),
        TEST(device_in_use_is_waited_for),
        TEST(and_is_a_failure_in_the_end),
        TEST(pieces_of_small_pages_are_short),
    };

    return cmocka_run_group_tests_name("iommufd", tests, NULL, NULL);
}
