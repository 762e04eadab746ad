/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what stops a device's DMA without an IOMMU, and what only looks as if it did: bus
 * mastering, reset, closing, binding again, and taking its driver away.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
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

/* ---- row 52: the driver is taken away from under an open device ---- */

static int unbind_driver(void *arg)
{
    struct context *context = arg;

    close(context->cdev);
    close(context->iommufd);
    return pci_unbind(&context->bdf);
}

static bool has_ended(pid_t pid, int *ret_status)
{
    pid_t r = waitpid(pid, ret_status, WNOHANG);

    assert_true(r == 0 || r == pid);
    return r == pid;
}

static void pause_ms(long ms)
{
    const struct timespec pause = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

    nanosleep(&pause, NULL);
}

static pid_t start_unbinding(struct context *context)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0)
        _exit(-unbind_driver(context));
    return pid;
}

/* "dmabufctl device unbind --force" waits because of it. */
static void row_52_unbind_waits_for_the_last_descriptor(void **state)
{
    struct context *context = *state;
    uint32_t flags;
    char path[300], gone[300];
    int status = -1;
    pid_t pid;

    assert_int_equal(vfio_path(&context->bdf, path, sizeof(path)), 0);
    pid = start_unbinding(context);
    for (int i = 0; i < 500 && vfio_path(&context->bdf, gone, sizeof(gone)) == 0; i++)
        pause_ms(10);
    assert_int_equal(vfio_open(&context->bdf), -ENOENT);
    assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
    assert_int_equal(errno, ENOENT);
    pause_ms(1000);
    assert_false(has_ended(pid, &status));
    /* Whoever has it open goes on, with all it can do. */
    assert_int_equal(vfio_info_flags(context->cdev, &flags), 0);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), 0);
    close(context->cdev);
    context->cdev = -1;
    for (int i = 0; i < 500 && !has_ended(pid, &status); i++)
        pause_ms(10);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    assert_false(pci_command(&context->bdf) & ABI_PCI_COMMAND_MASTER);
    assert_int_equal(pci_bind_vfio(&context->bdf), 0);
}

/* ---- row 53: a device's own memory, given to another one ---- */

#define VFIO_FEATURE         _IO(ABI_VFIO_TYPE, 117)
#define VFIO_FEATURE_GET     (UINT32_C(1) << 16)
#define VFIO_FEATURE_DMA_BUF UINT32_C(11)

/* A dma-buf of the first page of BAR 0; or a negative errno. */
static int export_bar(int cdev)
{
    struct {
        uint32_t argsz, flags;
        uint32_t region, open_flags, buffer_flags, ranges;
        uint64_t offset, length;
    } feature = {
        .argsz = sizeof(feature),
        .flags = VFIO_FEATURE_GET | VFIO_FEATURE_DMA_BUF,
        .region = ABI_VFIO_PCI_BAR0_REGION_INDEX,
        .open_flags = O_RDWR | O_CLOEXEC,
        .ranges = 1,
        .length = GUEST_PAGE,
    };
    int fd = ioctl(cdev, VFIO_FEATURE, &feature);

    return fd < 0 ? -errno : fd;
}

/* The daemon's sentence about EINVAL of GET_PA rests on it. */
static void row_53_reset_revokes_memory_of_the_device(void **state)
{
    struct context context = { .bdf = nvme, .pins_before = pinned_pages() };
    uint64_t iova, length = GUEST_PAGE, pa = 0;
    char resource[128];
    int fd;

    (void)state;
    context.iommufd = iommufd_open();
    context.cdev = vfio_open(&nvme);
    assert_int_equal(vfio_bind(context.cdev, context.iommufd, &context.devid), 0);
    assert_int_equal(ioas_alloc(context.iommufd, &context.ioas), 0);
    assert_int_equal(hwpt_alloc(context.iommufd, context.devid, context.ioas, 0, &context.hwpt), 0);
    assert_int_equal(pci_attribute(&nvme, "resource", resource, sizeof(resource)), 0);
    fd = export_bar(context.cdev);
    assert_true(fd >= 0);

    iova = mapped(&context, fd, GUEST_PAGE);
    assert_int_equal(pa_of(&context, iova), strtoull(resource, NULL, 16));
    assert_int_equal(new_pins(&context), 0);
    assert_int_equal(vfio_reset(context.cdev), 0);
    assert_int_equal(get_pa(context.iommufd, context.ioas, iova, &length, &pa), -EINVAL);
    /* For good: only another mapping has the address again. */
    length = GUEST_PAGE;
    assert_int_equal(get_pa(context.iommufd, context.ioas, iova, &length, &pa), -EINVAL);
    length = GUEST_PAGE;
    assert_int_equal(unmap(context.iommufd, context.ioas, iova, &length), 0);
    iova = mapped(&context, fd, GUEST_PAGE);
    assert_int_equal(pa_of(&context, iova), strtoull(resource, NULL, 16));
    close(fd);
    close(context.cdev);
    length = GUEST_PAGE;
    assert_int_equal(get_pa(context.iommufd, context.ioas, iova, &length, &pa), -EINVAL);
    close(context.iommufd);
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
        BOUND(row_52_unbind_waits_for_the_last_descriptor),
        cmocka_unit_test(row_53_reset_revokes_memory_of_the_device),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
