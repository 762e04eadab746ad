/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufctl device: PCI devices of this host, and giving them to vfio-pci and back. Works without a
 * daemon: it is what comes before one.
 */
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "client/binding.h"
#include "client/ctl-output.h"
#include "client/ctl.h"
#include "client/usage.h"
#include "common/cleanup.h"

static const char help[] =
    "Usage: dmabufctl device list [--all]\n"
    "       dmabufctl device bind [--force] [--unsafe-noiommu] ADDRESS...\n"
    "       dmabufctl device unbind [--force] ADDRESS...\n"
    "Show the PCI devices of this host, give them to vfio-pci so that they can be driven from\n"
    "outside of the kernel, and give them back. What stands in the way is said before anything is\n"
    "changed. ADDRESS is a PCI address such as 0000:00:04.0.\n"
    "\n"
    "  -a, --all             bridges too\n"
    "  -f, --force           bind: although the host uses it; unbind: although a program does\n"
    "      --unsafe-noiommu  bind: without an IOMMU, whoever drives the device can read and write\n"
    "                        all memory; switch on the mode of VFIO that allows this\n"
    "  -h, --help            show this and exit\n";

struct request {
    bool all;
    struct binding_options options;
    char **addresses;
    size_t count;
};

/* PCI Code and ID Assignment Specification, section 1: classes that have drivers outside of the
 * kernel, and what else is common. */
static const char *kind(uint32_t class)
{
    static const struct {
        uint32_t class;
        uint32_t mask;
        const char *name;
    } kinds[] = {
        { 0x010802, 0xffffff, "NVMe" },       { 0x010000, 0xff0000, "storage" },
        { 0x020000, 0xff0000, "network" },    { 0x030000, 0xff0000, "display" },
        { 0x040000, 0xff0000, "multimedia" }, { 0x060000, 0xff0000, "bridge" },
        { 0x070000, 0xff0000, "serial" },     { 0x080000, 0xff0000, "system" },
        { 0x0c0300, 0xffff00, "USB" },        { 0x0b0000, 0xff0000, "processor" },
        { 0x100000, 0xff0000, "crypto" },     { 0x120000, 0xff0000, "accelerator" },
    };

    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if ((class & kinds[i].mask) == kinds[i].class)
            return kinds[i].name;
    }
    return "other";
}

struct row {
    uint32_t vendor, device, class;
    char driver[PCI_NAME_MAX];
    char group[PCI_NAME_MAX]; /* "": no IOMMU translates */
    char node[PCI_NAME_MAX];
    char uses[160];
};

static void look(const struct pci_address *address, struct row *row)
{
    *row = (struct row){ 0 };
    pci_number(address, "vendor", &row->vendor);
    pci_number(address, "device", &row->device);
    pci_number(address, "class", &row->class);
    pci_driver(address, row->driver, sizeof(row->driver));
    pci_iommu_group(address, row->group, sizeof(row->group));
    if (pci_vfio_node(address, row->node, sizeof(row->node)) < 0)
        usage_by_host(address, row->uses, sizeof(row->uses));
    else
        usage_by_programs(row->node, row->uses, sizeof(row->uses));
}

static const char *mode(const struct row *row)
{
    return dmabufd_mode_string(*row->group ? DMABUFD_MODE_IOVA : DMABUFD_MODE_PA);
}

static const char *or_dash(const char *text)
{
    return *text ? text : "-";
}

static void list_text(const struct pci_address *list, size_t count, bool all)
{
    static const char *const titles[] = { "address",   "id",        "kind",  "driver",
                                          "addresses", "VFIO node", "in use" };
    struct table table = TABLE(titles);
    struct row row;

    for (size_t i = 0; i < count; i++) {
        look(&list[i], &row);
        if (!all && row.class >> 16 == 6)
            continue;
        table_cell(&table, "%s", list[i].text);
        table_cell(&table, "%04x:%04x", row.vendor, row.device);
        table_cell(&table, "%s", kind(row.class));
        table_cell(&table, "%s", or_dash(row.driver));
        table_cell(&table, "%s", mode(&row));
        table_cell(&table, "%s", or_dash(row.node));
        table_cell(&table, "%s", or_dash(row.uses));
    }
    if (table.count > 0)
        table_print(&table);
    else
        puts("This host has no PCI devices but bridges; --all shows these.");
}

static void list_json(const struct pci_address *list, size_t count, bool all)
{
    json_t *devices = json_array();
    struct row row;

    for (size_t i = 0; i < count; i++) {
        look(&list[i], &row);
        if (!all && row.class >> 16 == 6)
            continue;
        json_array_append_new(devices, json_pack("{s:s,s:i,s:i,s:i,s:s,s:s,s:s,s:s,s:s}", "address",
                                                 list[i].text, "vendor", (int)row.vendor, "device",
                                                 (int)row.device, "class", (int)row.class, "driver",
                                                 row.driver, "mode", mode(&row), "iommu_group",
                                                 row.group, "node", row.node, "in_use", row.uses));
    }
    output_json(json_pack("{s:o}", "devices", devices));
}

static int list(const struct ctl *ctl, const struct request *request)
{
    CLEANUP_FREE struct pci_address *list = NULL;
    size_t count;
    int r;

    if (request->count > 0)
        return ctl_usage(&ctl_device, "device list takes no address");
    r = pci_list(&list, &count);
    if (r < 0)
        return ctl_error("this host has no PCI bus: %s", strerror(-r));
    (ctl->json ? list_json : list_text)(list, count, request->all);
    return CTL_OK;
}

static int take(const struct pci_address *address, const struct binding_options *options,
                struct fault *fault)
{
    int r = binding_take(address, options, fault);

    if (r >= 0)
        printf("%s %s vfio-pci\n", address->text,
               r > 0 ? "is now bound to" : "was already bound to");
    return r;
}

static int give_back(const struct pci_address *address, const struct binding_options *options,
                     struct fault *fault)
{
    char driver[PCI_NAME_MAX];
    int r = binding_give_back(address, options, fault);

    if (r < 0)
        return r;
    pci_driver(address, driver, sizeof(driver));
    printf("%s has %s now\n", address->text, *driver ? driver : "no driver");
    return 0;
}

/* Each by itself: what can be done is done. */
static int for_each(const struct request *request,
                    int (*act)(const struct pci_address *address,
                               const struct binding_options *options, struct fault *fault))
{
    struct pci_address address;
    struct fault fault;
    int status = CTL_OK;

    if (request->count == 0)
        return ctl_usage(&ctl_device, "no address: 'dmabufctl device list' shows them");
    for (size_t i = 0; i < request->count; i++) {
        if (pci_parse(request->addresses[i], &address) < 0)
            return ctl_usage(&ctl_device, "'%s' is not a PCI address such as 0000:00:04.0",
                             request->addresses[i]);
    }
    for (size_t i = 0; i < request->count; i++) {
        pci_parse(request->addresses[i], &address);
        fault = (struct fault){ 0 };
        if (act(&address, &request->options, &fault) < 0)
            status = ctl_error("%s", fault.text);
    }
    return status;
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "all", no_argument, NULL, 'a' },
                                             { "force", no_argument, NULL, 'f' },
                                             { "unsafe-noiommu", no_argument, NULL, 'U' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct request request = { 0 };
    const char *action;
    int option;

    while ((option = getopt_long(argc, argv, "afh", options, NULL)) >= 0) {
        if (option == 'a')
            request.all = true;
        else if (option == 'f')
            request.options.force = true;
        else if (option == 'U')
            request.options.unsafe_noiommu = true;
        else
            return ctl_option(&ctl_device, option);
    }
    action = optind < argc ? argv[optind++] : "list";
    request.addresses = argv + optind;
    request.count = (size_t)(argc - optind);
    if (strcmp(action, "list") == 0)
        return list(ctl, &request);
    if (strcmp(action, "bind") == 0)
        return for_each(&request, take);
    if (strcmp(action, "unbind") == 0)
        return for_each(&request, give_back);
    return ctl_usage(&ctl_device, "device can do list, bind and unbind, not '%s'", action);
}

const struct command ctl_device = { .name = "device",
                                    .summary =
                                        "PCI devices: list them, bind them to vfio-pci and back",
                                    .help = help,
                                    .run = run };
