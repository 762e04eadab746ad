/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Where an IOMMU translates, a physical address is no address of a device: the daemon must refuse
 * rather than serve such addresses, and say so of both backends. Needs a machine with one.
 */
#include <string.h>

#include "tests/integration/harness.h"
#include "tests/vm/guest.h"

static struct daemon daemon_of_test;
static struct bdf edu;

static int find_device(void **state)
{
    int r = pci_find(PCI_ID_EDU, 0, &edu);

    (void)state;
    return r < 0 ? r : pci_bind_vfio(&edu);
}

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    return 0;
}

static void assert_refused(const char *backend, const char *const *args, const char *names)
{
    assert_int_equal(daemon_try(&daemon_of_test, backend, args), 1);
    if (daemon_log_count(&daemon_of_test, names) != 1)
        fail_msg("not told: %s; but: %s", names, daemon_of_test.notify.text);
    assert_non_null(strstr(daemon_of_test.notify.text, names));
    assert_true(daemon_notified(&daemon_of_test, "ERRNO=95"));
    daemon_kill(&daemon_of_test);
}

static void iommufd_refuses_the_device(void **state)
{
    const char *args[] = { "--device", edu.name, NULL };
    char text[200];

    (void)state;
    snprintf(text, sizeof(text),
             "backend iommufd: device %s is behind an IOMMU (vfio0): this version serves physical "
             "addresses only, of devices without one",
             edu.name);
    assert_refused("iommufd", args, text);
}

static void auto_refuses_and_names_both(void **state)
{
    static const char pagemap[] =
        "; pagemap: an IOMMU translates on this host, so devices do not see physical addresses";
    const char *args[] = { "--device", edu.name, NULL };
    char text[320];

    (void)state;
    snprintf(text, sizeof(text),
             "no backend can serve: iommufd: device %s is behind an IOMMU (vfio0): this version "
             "serves physical addresses only, of devices without one%s",
             edu.name, pagemap);
    assert_refused("auto", args, text);
    snprintf(text, sizeof(text),
             "no backend can serve: iommufd: no device was named with --device, and none is bound "
             "to vfio-pci in no-IOMMU mode: 'dmabufctl device list' shows what there is%s",
             pagemap);
    assert_refused("auto", NULL, text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(iommufd_refuses_the_device, clean_up),
        cmocka_unit_test_teardown(auto_refuses_and_names_both, clean_up),
    };

    return cmocka_run_group_tests_name("behind-iommu", tests, find_device, NULL);
}
