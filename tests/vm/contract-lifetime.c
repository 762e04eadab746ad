/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what ends a pin and what outlives whom: domain, device, process, descriptor.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "proto/wire.h"

#define SIZE  (16 * GUEST_PAGE)
#define PAGES 16

static int ask(const struct context *context, uint64_t iova)
{
    uint64_t length = 1;
    uint64_t pa;

    return get_pa(context->iommufd, context->ioas, iova, &length, &pa);
}

static void close_device(struct context *context)
{
    close(context->cdev);
    context->cdev = -1;
}

static void row_22_detach_unpins(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    uint64_t iova = mapped(context, fd, SIZE);

    assert_int_equal(new_pins(context), PAGES);
    assert_int_equal(ask(context, iova), 0);
    assert_int_equal(vfio_detach(context->cdev), 0);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(ask(context, iova), -EOPNOTSUPP);
    assert_int_equal(vfio_detach(context->cdev), 0);
    /* The area is still there, for the next domain. */
    assert_int_equal(vfio_attach(context->cdev, context->ioas, NULL), 0);
    assert_int_equal(new_pins(context), PAGES);
    assert_int_equal(ask(context, iova), 0);
    close(fd);
}

/* The daemon's memory context rests on this: pins without any device. */
static void row_23_domain_without_attach(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    uint64_t iova = mapped(context, fd, SIZE);
    uint64_t pa = pa_of(context, iova);

    assert_int_equal(new_pins(context), PAGES);
    close_device(context);
    assert_int_equal(pa_of(context, iova), pa);
    assert_int_equal(new_pins(context), PAGES);
    iova = mapped(context, fd, SIZE);
    assert_int_equal(new_pins(context), 2 * PAGES);
    assert_int_equal(pa_of(context, iova), pa);
    assert_int_equal(iommufd_destroy(context->iommufd, context->hwpt), 0);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(ask(context, iova), -EOPNOTSUPP);
    close(fd);
}

/* No domain can be made any more when no device is bound. */
static void row_23_domain_needs_a_device_to_begin(void **state)
{
    struct context *context = *state;
    uint32_t ioas;

    close_device(context);
    assert_int_equal(ioas_alloc(context->iommufd, &ioas), 0);
    assert_int_equal(hwpt_alloc(context->iommufd, context->devid, ioas, 0, NULL), -ENOENT);
}

static void row_23_domain_outlives_driver_unbind(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    uint64_t iova;

    close_device(context);
    assert_int_equal(pci_unbind(&context->bdf), 0);
    iova = mapped(context, fd, SIZE);
    assert_int_equal(new_pins(context), PAGES);
    assert_int_equal(ask(context, iova), 0);
    assert_int_equal(pci_bind_vfio(&context->bdf), 0);
    assert_int_equal(ask(context, iova), 0);
    close(fd);
}

static void row_24_device_comes_back_to_the_domain(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    uint64_t iova = mapped(context, fd, SIZE);
    uint64_t pa = pa_of(context, iova);
    uint32_t hwpt = 0;

    close_device(context);
    context->cdev = vfio_open(&context->bdf);
    assert_true(context->cdev >= 0);
    assert_int_equal(vfio_bind(context->cdev, context->iommufd, &context->devid), 0);
    assert_int_equal(vfio_attach(context->cdev, context->hwpt, &hwpt), 0);
    assert_int_equal(hwpt, context->hwpt);
    assert_int_equal(pa_of(context, iova), pa);
    assert_int_equal(new_pins(context), PAGES);
    close(fd);
}

static void row_25_domain_flags_without_iommu(void **state)
{
    struct context *context = *state;
    const uint32_t flags[] = {
        ABI_IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
        ABI_IOMMU_HWPT_ALLOC_NEST_PARENT,
        ABI_IOMMU_HWPT_ALLOC_PASID,
    };

    for (size_t i = 0; i < sizeof(flags) / sizeof(flags[0]); i++)
        assert_int_equal(hwpt_alloc(context->iommufd, context->devid, context->ioas, flags[i],
                                    NULL),
                         -EOPNOTSUPP);
    assert_int_equal(hwpt_alloc(context->iommufd, context->devid, context->ioas, 0, NULL), 0);
}

static void hw_info_tells_that_there_is_no_iommu(void **state)
{
    struct context *context = *state;
    struct abi_iommu_hw_info info = { .size = sizeof(info), .dev_id = context->devid };

    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_GET_HW_INFO, &info), -1);
    assert_int_equal(errno, EOPNOTSUPP);
    info.dev_id = context->devid + 100;
    assert_int_equal(ioctl(context->iommufd, ABI_IOMMU_GET_HW_INFO, &info), -1);
    assert_int_equal(errno, ENOENT);
}

/* ---- row 40 and 41: the process that made it all is gone ---- */

struct estate {
    uint32_t ioas;
    uint64_t file_iova;
    uint64_t file_pa;
    uint64_t memory_iova;
};

/* In a process of its own: an area of a file, one of its memory; hands the descriptors over. */
static int live_and_die(void *arg)
{
    int to = *(const int *)arg;
    struct estate estate = { 0 };
    uint64_t length = GUEST_PAGE;
    uint32_t devid;
    const struct wire_fds fds = { .fd = { iommufd_open(), vfio_open(&contract_edu) }, .count = 2 };
    int file = memfd_create("file", MFD_CLOEXEC);
    void *memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    int r = ftruncate(file, (off_t)SIZE);

    if (r == 0)
        r = vfio_bind(fds.fd[1], fds.fd[0], &devid);
    if (r == 0)
        r = ioas_alloc(fds.fd[0], &estate.ioas);
    if (r == 0)
        r = vfio_attach(fds.fd[1], estate.ioas, NULL);
    if (r == 0)
        r = map_file(fds.fd[0], estate.ioas, file, 0, SIZE, MAP_RW, &estate.file_iova);
    if (r == 0)
        r = map_memory(fds.fd[0], estate.ioas, memory, SIZE, MAP_RW, &estate.memory_iova);
    if (r == 0)
        r = get_pa(fds.fd[0], estate.ioas, estate.file_iova, &length, &estate.file_pa);
    return r ? r : wire_send(to, &estate, sizeof(estate), &fds);
}

struct inheritance {
    struct context context;
    struct estate estate;
};

static void inherit(struct inheritance *to)
{
    struct wire_fds fds = WIRE_FDS_NONE;
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    to->context.pins_before = pinned_pages();
    assert_int_equal(in_child(live_and_die, &pair[1]), 0);
    assert_int_equal(wire_recv(pair[0], &to->estate, sizeof(to->estate), &fds), sizeof(to->estate));
    assert_int_equal(fds.count, 2);
    close(pair[0]);
    close(pair[1]);
    to->context.iommufd = wire_fds_take(&fds, 0);
    to->context.cdev = wire_fds_take(&fds, 1);
    to->context.ioas = to->estate.ioas;
    assert_int_equal(new_pins(&to->context), 2 * PAGES);
}

static void disinherit(struct inheritance *from)
{
    close(from->context.cdev);
    close(from->context.iommufd);
    assert_int_equal(new_pins(&from->context), 0);
}

static void row_40_kept_descriptors_outlive_the_process(void **state)
{
    struct inheritance got;
    uint64_t length = SIZE;

    (void)state;
    inherit(&got);
    assert_int_equal(pa_of(&got.context, got.estate.file_iova), got.estate.file_pa);
    assert_int_equal(ask(&got.context, got.estate.memory_iova), 0);
    assert_int_equal(unmap(got.context.iommufd, got.context.ioas, got.estate.file_iova, &length),
                     0);
    assert_int_equal(new_pins(&got.context), PAGES);
    length = SIZE;
    assert_int_equal(unmap(got.context.iommufd, got.context.ioas, got.estate.memory_iova, &length),
                     0);
    assert_int_equal(new_pins(&got.context), 0);
    disinherit(&got);
}

static int change_process(int iommufd)
{
    struct abi_iommu_ioas_change_process change = { .size = sizeof(change) };

    return ioctl(iommufd, ABI_IOMMU_IOAS_CHANGE_PROCESS, &change) < 0 ? -errno : 0;
}

static void row_41_memory_of_a_dead_process(void **state)
{
    struct inheritance got;
    uint64_t length = SIZE;

    (void)state;
    inherit(&got);
    assert_int_equal(change_process(got.context.iommufd), -EINVAL);
    assert_int_equal(vfio_detach(got.context.cdev), 0);
    assert_int_equal(vfio_attach(got.context.cdev, got.context.ioas, NULL), -EFAULT);
    assert_int_equal(unmap(got.context.iommufd, got.context.ioas, got.estate.memory_iova, &length),
                     0);
    assert_int_equal(vfio_attach(got.context.cdev, got.context.ioas, NULL), 0);
    assert_int_equal(change_process(got.context.iommufd), 0);
    disinherit(&got);
}

/* ---- row 43: who holds the device when everybody dies ---- */

static int wait_for_signal(void *arg)
{
    (void)arg;
    pause();
    return 0;
}

static pid_t spawn(int (*function)(void *), void *arg)
{
    pid_t pid = fork();

    assert_true(pid >= 0);
    if (pid == 0) {
        function(arg);
        _exit(0);
    }
    return pid;
}

static void kill_and_wait(pid_t pid)
{
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void row_43_whoever_holds_the_device_holds_the_pins(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    pid_t daemon;
    pid_t client;

    mapped(context, fd, SIZE);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    daemon = spawn(wait_for_signal, NULL);
    close(context->iommufd);
    context->iommufd = -1;
    client = spawn(wait_for_signal, NULL);
    close_device(context);
    close(fd);
    assert_int_equal(new_pins(context), PAGES);
    kill_and_wait(daemon); /* the last holder of the iommufd descriptor */
    assert_int_equal(new_pins(context), PAGES);
    assert_true(pci_command(&context->bdf) & ABI_PCI_COMMAND_MASTER);
    kill_and_wait(client);
    assert_int_equal(new_pins(context), 0);
    assert_false(pci_command(&context->bdf) & ABI_PCI_COMMAND_MASTER);
}

static void row_44_a_bar_mapping_holds_everything(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(SIZE, 0);
    struct edu edu;

    mapped(context, fd, SIZE);
    close(fd);
    assert_int_equal(vfio_set_bus_master(context->cdev, true), 0);
    assert_int_equal(edu_init(&edu, context->cdev), 0);
    close(context->iommufd);
    context->iommufd = -1;
    assert_int_equal(new_pins(context), PAGES);
    close_device(context);
    assert_int_equal(new_pins(context), PAGES);
    assert_true(pci_command(&context->bdf) & ABI_PCI_COMMAND_MASTER);
    edu_close(&edu);
    assert_int_equal(new_pins(context), 0);
    assert_false(pci_command(&context->bdf) & ABI_PCI_COMMAND_MASTER);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(row_22_detach_unpins),
        WITH_HWPT(row_23_domain_without_attach),
        WITH_HWPT(row_23_domain_needs_a_device_to_begin),
        WITH_HWPT(row_23_domain_outlives_driver_unbind),
        WITH_HWPT(row_24_device_comes_back_to_the_domain),
        BOUND(row_25_domain_flags_without_iommu),
        BOUND(hw_info_tells_that_there_is_no_iommu),
        cmocka_unit_test(row_40_kept_descriptors_outlive_the_process),
        cmocka_unit_test(row_41_memory_of_a_dead_process),
        ATTACHED(row_43_whoever_holds_the_device_holds_the_pins),
        ATTACHED(row_44_a_bar_mapping_holds_everything),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
