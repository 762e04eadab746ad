/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: the same calls where there is an IOMMU: addresses are IOVAs, GET_PA is refused, and
 * unmapping stops the device. Needs a machine with one.
 */
#include "tests/vm/contract.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define MSI_WINDOW    UINT64_C(0xfee00000)
#define HW_INFO_INTEL 1

static void row_54_node_and_hardware(void **state)
{
    struct context *context = *state;
    struct abi_iommu_hw_info info = { .size = sizeof(info), .dev_id = context->devid };
    char path[300];

    /* noiommu mode is on, and makes no difference */
    assert_true(noiommu_mode(true));
    assert_int_equal(vfio_path(&context->bdf, path, sizeof(path)), 0);
    assert_memory_equal(path, "/dev/vfio/devices/vfio", 22);
    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_GET_HW_INFO, &info), 0);
    assert_int_equal(info.out_data_type, HW_INFO_INTEL);
    assert_int_equal(kernel_taint(), 0);
}

static void row_54_get_pa_is_refused(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_PAGE, 0);
    uint64_t iova = mapped(context, fd, GUEST_PAGE);
    uint64_t length = GUEST_PAGE;
    uint64_t pa;

    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), -EOPNOTSUPP);
    close(fd);
}

static void row_54_reserved_addresses(void **state)
{
    struct context *context = *state;
    struct abi_iommu_iova_range ranges[16];
    struct abi_iommu_ioas_iova_ranges arg = {
        .size = sizeof(arg),
        .ioas_id = context->ioas,
        .num_iovas = 16,
        .allowed_iovas = (uintptr_t)ranges,
    };
    int fd = memfd_sized(GUEST_PAGE, 0);
    uint64_t iova = MSI_WINDOW;

    assert_int_equal(
        map_file(context->iommufd, context->ioas, fd, 0, GUEST_PAGE, MAP_RW_FIXED, &iova), -EINVAL);
    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_IOAS_IOVA_RANGES, &arg), 0);
    assert_in_range(arg.num_iovas, 2, 16);
    assert_int_equal(arg.out_iova_alignment, GUEST_PAGE);
    for (uint32_t i = 0; i < arg.num_iovas; i++)
        assert_true(ranges[i].last < MSI_WINDOW || ranges[i].start > MSI_WINDOW);
    close(fd);
}

static void row_54_reserved_address_bars_attach(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_PAGE, 0);
    uint64_t iova = MSI_WINDOW;

    assert_int_equal(
        map_file(context->iommufd, context->ioas, fd, 0, GUEST_PAGE, MAP_RW_FIXED, &iova), 0);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), -EADDRINUSE);
    close(fd);
}

/* Once there and back, then unmap under the device: its next write reaches nothing. */
static void row_54_dma_by_iova_until_unmap(void **state)
{
    struct context *context = *state;
    const uint64_t size = 2 * GUEST_PAGE;
    int fd = memfd_sized(size, 0);
    uint8_t *memory = memory_of(fd, size);
    uint64_t iova = mapped(context, fd, size);
    struct edu edu;

    memset(memory, 'a', GUEST_PAGE);
    memset(memory + GUEST_PAGE, 'b', GUEST_PAGE);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_copy(&edu, iova, iova + GUEST_PAGE, 1000), 0);
    assert_memory_equal(memory + GUEST_PAGE, memory, 1000);
    assert_int_equal(memory[GUEST_PAGE + 1000], 'b');

    memset(memory + GUEST_PAGE, 'b', GUEST_PAGE);
    unmap_all(context);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(edu_start(&edu, true, iova + GUEST_PAGE, 1000), 0);
    assert_int_equal(edu_wait(&edu), 0);
    assert_int_equal(memory[GUEST_PAGE], 'b');
    edu_close(&edu);
    munmap(memory, size);
    close(fd);
}

/* ---- row 56: a device that the IOMMU does not translate, beside one that it does ---- */

static void row_56_device_without_iommu_joins(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_PAGE, 0), iommufd = iommufd_open(), cdev;
    uint64_t iova = mapped(context, fd, GUEST_PAGE), length = GUEST_PAGE, pa;
    uint32_t devid, ioas, hwpt = 0;
    struct bdf bypassing;
    char path[300];

    assert_int_equal(pci_find(PCI_ID_EDU, 1, &bypassing), 0);
    noiommu_mode(true);
    assert_int_equal(pci_bind_vfio(&bypassing), 0);
    assert_int_equal(vfio_path(&bypassing, path, sizeof(path)), 0);
    assert_memory_equal(path, "/dev/vfio/devices/noiommu-vfio", 30);
    cdev = vfio_open(&bypassing);
    assert_true(cdev >= 0);
    assert_int_equal(vfio_bind(cdev, context->iommufd, &devid), 0);
    assert_int_equal(vfio_attach(cdev, context->ioas, &hwpt), 0);
    /* It is in the other device's domain, and there the addresses are that one's. */
    assert_int_equal(hwpt, context->hwpt);
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), -EOPNOTSUPP);
    close(cdev);
    /* By itself it has physical ones, also on this machine. */
    cdev = vfio_open(&bypassing);
    assert_int_equal(vfio_bind(cdev, iommufd, &devid), 0);
    assert_int_equal(ioas_alloc(iommufd, &ioas), 0);
    assert_int_equal(vfio_attach(cdev, ioas, NULL), 0);
    assert_int_equal(map_file(iommufd, ioas, fd, 0, GUEST_PAGE, MAP_RW, &iova), 0);
    length = GUEST_PAGE;
    assert_int_equal(get_pa(iommufd, ioas, iova, &length, &pa), 0);
    close(cdev);
    close(iommufd);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOUND(row_54_node_and_hardware),          ATTACHED(row_54_get_pa_is_refused),
        ATTACHED(row_54_reserved_addresses),      BOUND(row_54_reserved_address_bars_attach),
        ATTACHED(row_54_dma_by_iova_until_unmap), ATTACHED(row_56_device_without_iommu_joins),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
