/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what stops a device's DMA without an IOMMU, and what only looks as if it did: bus
 * mastering, reset, closing, and binding again.
 */
#include "tests/vm/contract.h"

#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static struct bdf nvme;

/* Two pages of one file with their addresses, mapped in the test's IOAS. */
struct pages {
    uint8_t *from;
    uint8_t *to;
    uint64_t from_pa;
    uint64_t to_pa;
};

static void make_pages(const struct context *context, struct pages *pages)
{
    int fd = memfd_sized(2 * GUEST_PAGE, 0);
    uint64_t iova = mapped(context, fd, 2 * GUEST_PAGE);

    pages->from = memory_of(fd, 2 * GUEST_PAGE);
    pages->to = pages->from + GUEST_PAGE;
    memset(pages->from, 'a', GUEST_PAGE);
    memset(pages->to, 'b', GUEST_PAGE);
    pages->from_pa = pa_of(context, iova);
    pages->to_pa = pa_of(context, iova + GUEST_PAGE);
    close(fd);
}

static void drop_pages(struct pages *pages)
{
    munmap(pages->from, 2 * GUEST_PAGE);
}

static void row_45_reset_restores_bus_master(void **state)
{
    int iommufd = iommufd_open();
    int cdev = vfio_open(&nvme);
    char methods[64] = "";
    uint32_t flags = 0;
    uint16_t command = 0;

    (void)state;
    assert_int_equal(vfio_bind(cdev, iommufd, NULL), 0);
    assert_int_equal(pci_attribute(&nvme, "reset_method", methods, sizeof(methods)), 0);
    assert_memory_equal(methods, "flr", 3);
    assert_int_equal(vfio_info_flags(cdev, &flags), 0);
    assert_true(flags & ABI_VFIO_DEVICE_FLAGS_RESET);
    /* BIND takes bus mastering away, */
    assert_int_equal(vfio_command(cdev, &command), 0);
    assert_false(command & ABI_PCI_COMMAND_MASTER);
    /* but a reset leaves it as it was. */
    assert_int_equal(vfio_set_bus_master(cdev, true), 0);
    assert_int_equal(vfio_reset(cdev), 0);
    assert_int_equal(vfio_command(cdev, &command), 0);
    assert_true(command & ABI_PCI_COMMAND_MASTER);
    assert_true(pci_command(&nvme) & ABI_PCI_COMMAND_MASTER);
    close(cdev);
    assert_false(pci_command(&nvme) & ABI_PCI_COMMAND_MASTER);
    close(iommufd);
}

static void row_46_device_without_reset(void **state)
{
    struct context *context = *state;
    char methods[64] = "";
    uint32_t flags = ABI_VFIO_DEVICE_FLAGS_RESET;

    assert_int_equal(pci_attribute(&context->bdf, "reset_method", methods, sizeof(methods)),
                     -ENOENT);
    assert_int_equal(vfio_info_flags(context->cdev, &flags), 0);
    assert_true(flags & ABI_VFIO_DEVICE_FLAGS_PCI);
    assert_false(flags & ABI_VFIO_DEVICE_FLAGS_RESET);
    assert_int_equal(vfio_reset(context->cdev), -EINVAL);
}

static void row_47_dma_goes_where_get_pa_says(void **state)
{
    struct context *context = *state;
    struct pages pages;
    struct edu edu;

    make_pages(context, &pages);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_copy(&edu, pages.from_pa + 16, pages.to_pa + 32, 1000), 0);
    assert_memory_equal(pages.to + 32, pages.from + 16, 1000);
    assert_int_equal(pages.to[31], 'b');
    assert_int_equal(pages.to[32 + 1000], 'b');

    memset(pages.to, 'b', GUEST_PAGE);
    assert_int_equal(vfio_set_bus_master(context->cdev, false), 0);
    assert_int_equal(edu_copy(&edu, pages.from_pa, pages.to_pa, GUEST_PAGE), 0);
    assert_int_equal(pages.to[0], 'b');
    assert_int_equal(pages.to[GUEST_PAGE - 1], 'b');
    edu_close(&edu);
    drop_pages(&pages);
}

/* A device without an IOMMU goes on with the physical address, whatever is detached or unmapped. */
static void row_47_unmap_does_not_stop_dma(void **state)
{
    struct context *context = *state;
    struct pages pages;
    struct edu edu;

    make_pages(context, &pages);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_start(&edu, false, pages.from_pa, EDU_TRANSFER_MAX), 0);
    assert_int_equal(edu_wait(&edu), 0);
    assert_int_equal(vfio_detach(context->cdev), 0);
    unmap_all(context);
    assert_int_equal(new_pins(context), 0);
    /* This process still maps the file, so the page is nobody else's. */
    assert_int_equal(edu_start(&edu, true, pages.to_pa, EDU_TRANSFER_MAX), 0);
    assert_int_equal(edu_wait(&edu), 0);
    assert_int_equal(pages.to[0], 'a');
    edu_close(&edu);
    drop_pages(&pages);
}

/*
 * Why a successful BIND is no proof of quiet: a device that no reset reaches keeps its transfer in
 * mind, and carries it out when the next holder lets it master the bus.
 */
static void bind_does_not_stop_a_transfer(void **state)
{
    struct context *context = *state;
    struct pages pages;
    struct edu edu;
    int next;

    make_pages(context, &pages);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_start(&edu, false, pages.from_pa, EDU_TRANSFER_MAX), 0);
    assert_int_equal(edu_wait(&edu), 0);
    next = vfio_open(&context->bdf);
    assert_int_equal(edu_start(&edu, true, pages.to_pa, EDU_TRANSFER_MAX), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, false), 0);
    edu_close(&edu);
    close(context->cdev);
    context->cdev = next;
    assert_int_equal(vfio_bind(context->cdev, context->iommufd, NULL), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    assert_int_equal(pages.to[0], 'b'); /* it has not happened yet */
    assert_int_equal(edu_wait(&edu), 0);
    assert_int_equal(pages.to[0], 'a');
    edu_close(&edu);
    drop_pages(&pages);
}

static int setup(void **state)
{
    if (contract_group_setup(state) < 0 || pci_find(PCI_ID_NVME, 0, &nvme) < 0)
        return -1;
    return pci_bind_vfio(&nvme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_45_reset_restores_bus_master),
        BOUND(row_46_device_without_reset),
        WITH_HWPT(row_47_dma_goes_where_get_pa_says),
        ATTACHED(row_47_unmap_does_not_stop_dma),
        WITH_HWPT(bind_does_not_stop_a_transfer),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
