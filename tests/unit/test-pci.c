/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * common/pci.h and what client/binding.h refuses, on a sysfs of our own: a tree of files in a temporary
 * folder. That a real kernel does what is asked for is tests/vm/test-device.sh.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "client/binding.h"
#include "common/cleanup.h"
#include "common/pci.h"

static char root[32];

__attribute__((format(printf, 1, 2))) static void shell(const char *format, ...)
{
    char command[1024];
    va_list args;

    va_start(args, format);
    vsnprintf(command, sizeof(command), format, args);
    va_end(args);
    assert_int_equal(system(command), 0);
}

static int make_tree(void **state)
{
    (void)state;
    strcpy(root, "/tmp/dmabufd-pci-XXXXXX");
    assert_non_null(mkdtemp(root));
    pci_sysfs = root;
    shell("mkdir -p %s/bus/pci/devices %s/bus/pci/drivers/vfio-pci %s/bus/pci/drivers/nic "
          "%s/kernel/iommu_groups",
          root, root, root, root);
    return 0;
}

static int remove_tree(void **state)
{
    (void)state;
    shell("rm -rf %s", root);
    return 0;
}

/* @group: "" for none. */
static struct pci_address add_device(const char *address, unsigned int class, const char *driver,
                                     const char *group)
{
    struct pci_address ret;

    shell("cd %s/bus/pci/devices && mkdir %s && cd %s && echo 0x%06x >class && : >driver_override",
          root, address, address, class);
    if (*driver)
        shell("ln -s ../../drivers/%s %s/bus/pci/devices/%s/driver", driver, root, address);
    if (*group)
        shell("cd %s && mkdir -p kernel/iommu_groups/%s/devices/%s && "
              "ln -s ../../../../kernel/iommu_groups/%s bus/pci/devices/%s/iommu_group",
              root, group, address, group, address);
    assert_int_equal(pci_parse(address, &ret), 0);
    return ret;
}

static void addresses(void **state)
{
    static const struct {
        const char *text;
        const char *parsed; /* NULL: refused */
    } samples[] = {
        { "0000:00:04.0", "0000:00:04.0" },
        { "00:04.0", "0000:00:04.0" },
        { "1f:1f.7", "0000:1f:1f.7" },
        { "ABCD:EF:1F.7", "abcd:ef:1f.7" },
        { "00:20.0", NULL },
        { "00:04.8", NULL },
        { "00:04", NULL },
        { "", NULL },
        { " 00:04.0", NULL },
        { "00:04.0 ", NULL },
        { "00: 4.0", NULL },
        { "00:+4.0", NULL },
        { "00:04.0/../..", NULL },
        { "10000:00:04.0", NULL },
        { "vfio0", NULL },
    };
    struct pci_address address;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        int r = pci_parse(samples[i].text, &address);

        if (!samples[i].parsed) {
            assert_int_equal(r, -EINVAL);
            continue;
        }
        assert_int_equal(r, 0);
        assert_string_equal(address.text, samples[i].parsed);
    }
}

static void list_in_order(void **state)
{
    CLEANUP_FREE struct pci_address *list = NULL;
    size_t count;

    (void)state;
    add_device("0000:03:00.0", 0x020000, "nic", "");
    add_device("0000:01:00.0", 0x010802, "", "");
    add_device("0001:00:00.0", 0x010802, "", "");
    assert_int_equal(pci_list(&list, &count), 0);
    assert_int_equal(count, 3);
    assert_string_equal(list[0].text, "0000:01:00.0");
    assert_string_equal(list[1].text, "0000:03:00.0");
    assert_string_equal(list[2].text, "0001:00:00.0");
}

static void what_a_device_has(void **state)
{
    struct pci_address nic = add_device("0000:03:00.0", 0x020000, "nic", "7");
    struct pci_address bare = add_device("0000:04:00.0", 0x120000, "", "");
    char name[PCI_NAME_MAX];
    uint32_t number;

    (void)state;
    pci_driver(&nic, name, sizeof(name));
    assert_string_equal(name, "nic");
    pci_iommu_group(&nic, name, sizeof(name));
    assert_string_equal(name, "7");
    assert_int_equal(pci_number(&nic, "class", &number), 0);
    assert_int_equal(number, 0x020000);
    assert_int_equal(pci_number(&nic, "vendor", &number), -ENOENT);
    assert_int_equal(pci_vfio_node(&nic, name, sizeof(name)), -ENOENT);
    pci_driver(&bare, name, sizeof(name));
    assert_string_equal(name, "");
    pci_iommu_group(&bare, name, sizeof(name));
    assert_string_equal(name, "");
    shell("mkdir -p %s/bus/pci/devices/%s/vfio-dev/noiommu-vfio3", root, bare.text);
    assert_int_equal(pci_vfio_node(&bare, name, sizeof(name)), 0);
    assert_string_equal(name, "noiommu-vfio3");
}

/* VFIO's own group of a device without an IOMMU says nothing of an IOMMU. */
static void made_up_group(void **state)
{
    struct pci_address address = add_device("0000:04:00.0", 0x120000, "vfio-pci", "0");
    char name[PCI_NAME_MAX];

    (void)state;
    shell("echo vfio-noiommu >%s/kernel/iommu_groups/0/name", root);
    pci_iommu_group(&address, name, sizeof(name));
    assert_string_equal(name, "");
    shell("echo other >%s/kernel/iommu_groups/0/name", root);
    pci_iommu_group(&address, name, sizeof(name));
    assert_string_equal(name, "0");
}

static void refuses(const struct pci_address *address, int error, const char *says)
{
    struct binding_options options = { 0 };
    struct fault fault = { 0 };
    char path[512];
    struct stat st;

    assert_int_equal(binding_take(address, &options, &fault), -error);
    assert_int_equal(fault.error, error);
    assert_non_null(strstr(fault.text, says));
    /* Nothing was changed on the way. */
    pci_path(address, "driver_override", path, sizeof(path));
    if (stat(path, &st) == 0)
        assert_int_equal(st.st_size, 0);
}

static void shared_group(void **state)
{
    struct pci_address nic = add_device("0000:03:00.0", 0x020000, "nic", "7");

    (void)state;
    add_device("0000:02:00.0", 0x060400, "pcieport", "7");
    add_device("0000:03:00.2", 0x020000, "", "7");
    add_device("0000:03:00.3", 0x020000, "vfio-pci", "7");
    add_device("0000:03:00.1", 0x020000, "nic", "7");
    refuses(&nic, EBUSY, "shares IOMMU group 7 with 0000:03:00.1, which has the driver nic");
}

static void no_noiommu_mode(void **state)
{
    struct pci_address address = add_device("0000:03:00.0", 0x020000, "nic", "");

    (void)state;
    refuses(&address, EOPNOTSUPP, "CONFIG_VFIO_NOIOMMU");
    shell("mkdir -p %s/module/vfio/parameters && echo N >%s/module/vfio/parameters/"
          "enable_unsafe_noiommu_mode",
          root, root);
    refuses(&address, EPERM, "--unsafe-noiommu");
}

static void no_driver(void **state)
{
    struct pci_address address = add_device("0000:03:00.0", 0x020000, "nic", "");

    (void)state;
    shell("rmdir %s/bus/pci/drivers/vfio-pci", root);
    refuses(&address, ENODEV, "modprobe vfio-pci");
}

static void interface_is_up(void **state)
{
    struct pci_address address = add_device("0000:03:00.0", 0x020000, "nic", "");

    (void)state;
    shell("cd %s && mkdir -p bus/pci/devices/%s/net/eth7 class/net && "
          "echo 0x1003 >bus/pci/devices/%s/net/eth7/flags && "
          "ln -s ../../bus/pci/devices/%s/net/eth7 class/net/eth7",
          root, address.text, address.text, address.text);
    refuses(&address, EBUSY, "through its driver nic: eth7 is up");
    /* Down, something else stands in the way. */
    shell("echo 0x1002 >%s/class/net/eth7/flags", root);
    refuses(&address, EOPNOTSUPP, "CONFIG_VFIO_NOIOMMU");
}

#define in_tree(test) cmocka_unit_test_setup_teardown(test, make_tree, remove_tree)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(addresses), in_tree(list_in_order),   in_tree(what_a_device_has),
        in_tree(made_up_group),      in_tree(shared_group),    in_tree(no_noiommu_mode),
        in_tree(no_driver),          in_tree(interface_is_up),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
