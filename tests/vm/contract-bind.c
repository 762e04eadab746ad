/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: how a device becomes a VFIO device without an IOMMU, who may open it, and what BIND
 * refuses. Must be the first program of its boot: rows 1 and 2 see a kernel that has not done this.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define TAINT_USER 64

static struct bdf edu;
static struct bdf nvme;

static void row_01_bind_without_noiommu_mode(void **state)
{
    char path[300];

    (void)state;
    noiommu_mode(false);
    assert_int_equal(kernel_taint(), 0);
    assert_int_equal(pci_bind_vfio(&edu), -EINVAL);
    assert_int_equal(vfio_path(&edu, path, sizeof(path)), -ENOENT);
    assert_int_equal(kernel_taint(), 0);
}

static void row_02_bind_in_noiommu_mode(void **state)
{
    char path[300];
    char group[64];

    (void)state;
    assert_int_equal(pci_attribute(&edu, "iommu_group/name", group, sizeof(group)), -ENOENT);
    noiommu_mode(true);
    assert_int_equal(pci_bind_vfio(&edu), 0);
    assert_int_equal(vfio_path(&edu, path, sizeof(path)), 0);
    assert_memory_equal(path, "/dev/vfio/devices/noiommu-vfio", 30);
    assert_int_equal(kernel_taint(), TAINT_USER);
    assert_int_equal(pci_attribute(&edu, "iommu_group/name", group, sizeof(group)), 0);
    assert_string_equal(group, "vfio-noiommu");
}

static void row_03_open_after_noiommu_mode_ended(void **state)
{
    int cdev;

    (void)state;
    assert_true(noiommu_mode(false));
    cdev = vfio_open(&edu);
    assert_true(cdev >= 0);
    close(cdev);
    assert_false(noiommu_mode(true));
}

static int try_open(void *arg)
{
    int fd = vfio_open(arg);

    return fd < 0 ? fd : 0;
}

static void row_04_open_without_capability(void **state)
{
    char path[300];

    (void)state;
    assert_int_equal(vfio_path(&edu, path, sizeof(path)), 0);
    assert_int_equal(as_user(GUEST_UID_CLIENT, try_open, &edu), -EACCES);
    assert_int_equal(chmod(path, 0666), 0);
    assert_int_equal(as_user(GUEST_UID_CLIENT, try_open, &edu), -EPERM);
    assert_int_equal(chmod(path, 0600), 0);
    assert_int_equal(in_child(try_open, &edu), 0);
}

static void row_05_use_before_bind(void **state)
{
    int cdev = vfio_open(&edu);
    uint32_t flags;
    char byte = 0;
    uint64_t offset;
    uint64_t size;

    (void)state;
    assert_true(cdev >= 0);
    assert_int_equal(vfio_info_flags(cdev, &flags), -EINVAL);
    assert_int_equal(vfio_region(cdev, 0, &offset, &size), -EINVAL);
    assert_int_equal(vfio_reset(cdev), -EINVAL);
    assert_int_equal(vfio_attach(cdev, 1, NULL), -EINVAL);
    assert_int_equal(vfio_detach(cdev), -EINVAL);
    assert_int_equal(pread(cdev, &byte, 1, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_int_equal(pwrite(cdev, &byte, 1, 0), -1);
    assert_int_equal(errno, EINVAL);
    assert_ptr_equal(mmap(NULL, 4096, PROT_READ, MAP_SHARED, cdev, 0), MAP_FAILED);
    assert_int_equal(errno, EINVAL);
    close(cdev);
}

static void row_06_bind_to_what_is_no_iommufd(void **state)
{
    struct abi_vfio_device_bind_iommufd bind = { .argsz = 8 };
    int iommufd = iommufd_open();
    int cdev = vfio_open(&edu);
    int other = open("/dev/null", O_RDWR | O_CLOEXEC);

    (void)state;
    assert_true(iommufd >= 0);
    assert_true(cdev >= 0);
    assert_int_equal(vfio_bind(cdev, other, NULL), -EBADFD);
    close(other);
    assert_int_equal(vfio_bind(cdev, other, NULL), -EBADF);
    assert_int_equal(vfio_bind(cdev, -1, NULL), -EINVAL);
    bind.iommufd = iommufd;
    assert_int_equal(ioctl(cdev, ABI_VFIO_DEVICE_BIND_IOMMUFD, &bind), -1);
    assert_int_equal(errno, EINVAL);
    /* and that nothing but the size was wrong with it: */
    bind.argsz = sizeof(bind);
    assert_int_equal(ioctl(cdev, ABI_VFIO_DEVICE_BIND_IOMMUFD, &bind), 0);
    close(cdev);
    close(iommufd);
}

static void row_07_bind_twice(void **state)
{
    int iommufd = iommufd_open();
    int first = vfio_open(&edu);
    int second = vfio_open(&edu);

    (void)state;
    assert_true(first >= 0);
    assert_true(second >= 0);
    assert_int_equal(vfio_bind(first, iommufd, NULL), 0);
    assert_int_equal(vfio_bind(first, iommufd, NULL), -EINVAL);
    assert_int_equal(vfio_bind(second, iommufd, NULL), -EINVAL);
    close(first);
    assert_int_equal(vfio_bind(second, iommufd, NULL), 0);
    close(second);
    close(iommufd);
}

static void row_08_legacy_group_excludes_bind(void **state)
{
    char link[128];
    char target[256] = "";
    char path[300];
    int iommufd = iommufd_open();
    int cdev = vfio_open(&edu);
    int group;

    (void)state;
    snprintf(link, sizeof(link), "/sys/bus/pci/devices/%s/iommu_group", edu.name);
    assert_true(readlink(link, target, sizeof(target) - 1) > 0);
    snprintf(path, sizeof(path), "/dev/vfio/noiommu-%s", strrchr(target, '/') + 1);
    group = open(path, O_RDWR | O_CLOEXEC);
    assert_true(group >= 0);
    assert_int_equal(vfio_bind(cdev, iommufd, NULL), -EBUSY);
    close(group);
    assert_int_equal(vfio_bind(cdev, iommufd, NULL), 0);
    assert_int_equal(open(path, O_RDWR | O_CLOEXEC), -1);
    assert_int_equal(errno, EBUSY);
    close(cdev);
    close(iommufd);
}

struct passed {
    int cdev;
    int iommufd;
};

static int drive(void *arg)
{
    const struct passed *passed = arg;
    uint16_t command = 0;
    int r = vfio_bind(passed->cdev, passed->iommufd, NULL);

    if (r == 0)
        r = vfio_set_bus_master(passed->cdev, true);
    if (r == 0)
        r = vfio_command(passed->cdev, &command);
    if (r == 0 && !(command & ABI_PCI_COMMAND_MASTER))
        r = -ENOTSUP;
    if (r == 0)
        r = vfio_reset(passed->cdev);
    return r;
}

static void row_09_passed_descriptor_is_all_it_takes(void **state)
{
    struct passed passed = { .cdev = vfio_open(&nvme), .iommufd = iommufd_open() };

    (void)state;
    assert_true(passed.cdev >= 0);
    assert_true(passed.iommufd >= 0);
    assert_int_equal(as_user(GUEST_UID_CLIENT, drive, &passed), 0);
    assert_true(pci_command(&nvme) & ABI_PCI_COMMAND_MASTER);
    close(passed.cdev);
    close(passed.iommufd);
}

static int find_devices(void **state)
{
    (void)state;
    if (pci_find(PCI_ID_EDU, 0, &edu) < 0 || pci_find(PCI_ID_NVME, 0, &nvme) < 0)
        return -1;
    return 0;
}

static int bind_nvme(void **state)
{
    (void)state;
    return pci_bind_vfio(&nvme);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(row_01_bind_without_noiommu_mode),
        cmocka_unit_test(row_02_bind_in_noiommu_mode),
        cmocka_unit_test(row_03_open_after_noiommu_mode_ended),
        cmocka_unit_test(row_04_open_without_capability),
        cmocka_unit_test(row_05_use_before_bind),
        cmocka_unit_test(row_06_bind_to_what_is_no_iommufd),
        cmocka_unit_test(row_07_bind_twice),
        cmocka_unit_test(row_08_legacy_group_excludes_bind),
        cmocka_unit_test_setup(row_09_passed_descriptor_is_all_it_takes, bind_nvme),
    };

    return cmocka_run_group_tests(tests, find_devices, NULL);
}
