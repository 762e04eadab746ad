/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/nodes.h and zones.h: which nodes a host has, what is free on them, and where
 * memory is. The host is a folder and a file of the test.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <linux/mempolicy.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/memory.h"
#include "daemon/keeper/nodes.h"

#define GIB (UINT64_C(1) << 30)

static char folder[64];
static char zoneinfo[96];

static void put(const char *name, const char *text)
{
    char path[256], *slash;
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s", folder, name);
    for (slash = path + strlen(folder) + 1; (slash = strchr(slash, '/')); slash++) {
        *slash = '\0';
        mkdir(path, 0755);
        *slash = '/';
    }
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* Of 4 GiB each, the second with a hole for devices below it, and one without memory. */
static const char two_nodes[] = "Node 0, zone      DMA\n"
                                "  per-node stats\n"
                                "      nr_inactive_anon 14\n"
                                "  pages free     3840\n"
                                "        min      67\n"
                                "        spanned  4095\n"
                                "        present  3998\n"
                                "  start_pfn:           1\n"
                                "Node 0, zone    DMA32\n"
                                "  pages free     100\n"
                                "        spanned  782336\n"
                                "  start_pfn:           4096\n"
                                "Node 0, zone   Normal\n"
                                "  pages free     10\n"
                                "        spanned  262144\n"
                                "  start_pfn:           1048576\n"
                                "Node 0, zone   Device\n"
                                "  pages free     0\n"
                                "        spanned  999999999\n"
                                "  start_pfn:           1\n"
                                "Node 1, zone      DMA\n"
                                "  pages free     0\n"
                                "        spanned  0\n"
                                "Node 1, zone   Normal\n"
                                "  pages free     77\n"
                                "        spanned  1048576\n"
                                "  start_pfn:           1310720\n";

static int setup(void **state)
{
    (void)state;
    strcpy(folder, "/tmp/dmabufd-unit-XXXXXX");
    assert_non_null(mkdtemp(folder));
    snprintf(zoneinfo, sizeof(zoneinfo), "%s/zoneinfo", folder);
    put("has_memory", "0-1\n");
    put("zoneinfo", two_nodes);
    put("node0/hugepages/hugepages-2048kB/free_hugepages", "9\n");
    put("node0/hugepages/hugepages-2048kB/nr_hugepages", "20\n");
    put("node1/hugepages/hugepages-2048kB/free_hugepages", "3\n");
    put("node1/hugepages/hugepages-2048kB/nr_hugepages", "4\n");
    put("node0/meminfo", "\nNode 0 MemTotal:       4194304 kB\nNode 0 MemFree:          1024 kB\n");
    put("node1/meminfo", "\nNode 1 MemTotal:       4194304 kB\n"
                         "Node 1 MemFree:         10240 kB\n"
                         "Node 1 MemUsed:        999999 kB\n"
                         "Node 1 Active:         999999 kB\n"
                         "Node 1 Active(file):     2048 kB\n"
                         "Node 1 Inactive(file):   4096 kB\n"
                         "Node 1 SReclaimable:     2048 kB\n");
    return 0;
}

static int teardown(void **state)
{
    char command[128];

    (void)state;
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

static struct nodes host(void)
{
    struct nodes nodes;

    nodes_init(&nodes, folder, zoneinfo);
    return nodes;
}

static void lists_of_nodes(void **state)
{
    static const struct {
        const char *text;
        uint64_t present;
        const char *shown;
    } samples[] = {
        { "0\n", 1, "0" },
        { "0-1\n", 3, "0-1" },
        { "0,2-3,7\n", 0x8d, "0,2-3,7" },
        { "3\n", 8, "3" },
        { "0-127\n", UINT64_MAX, "0-63" },
        { "63-99\n", UINT64_C(1) << 63, "63" },
        /* What is no list is a host without nodes. */
        { "", 1, "0" },
        { "\n", 1, "0" },
        { "x\n", 1, "0" },
        { "64\n", 1, "0" },
        { "5-2\n", 1, "0" },
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct nodes nodes;
        char text[64];

        put("has_memory", samples[i].text);
        nodes = host();
        assert_int_equal(nodes.present, samples[i].present);
        nodes_text(nodes.present, text, sizeof(text));
        assert_string_equal(text, samples[i].shown);
    }
    put("has_memory", "0-1\n");
}

static void a_host_without_nodes(void **state)
{
    const struct placement first = { DMABUFD_NODE_STRICT, 0 };
    const struct dmabufd_span span = { 0, 12345 * 4096, 4096 };
    struct policy policy;
    struct nodes nodes;

    (void)state;
    nodes_init(&nodes, "/nowhere", "/nowhere");
    assert_int_equal(nodes.present, 1);
    assert_int_equal(placement_check(&nodes, &first, NULL), 0);
    assert_false(placement_binds(&nodes, &first));
    assert_int_equal(placement_enter(&nodes, &first, &policy, NULL), 0);
    assert_false(policy.changed);
    placement_leave(&policy);
    assert_int_equal(nodes_of(&nodes, &span, 1), 1);
}

static void a_node_that_is_not_there(void **state)
{
    static const uint32_t others[] = { 2, 63, 64, 65, UINT32_MAX };
    struct placement placement = { 0, 7 };
    struct nodes nodes = host();
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(placement_check(&nodes, &placement, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(others); i++) {
        placement = (struct placement){ DMABUFD_NODE_PREFERRED, others[i] };
        assert_int_equal(placement_check(&nodes, &placement, &fault), -EOPNOTSUPP);
        assert_int_equal(fault.code, DMABUFD_CODE_UNSUPPORTED);
        assert_non_null(strstr(fault.text, "nodes 0-1"));
    }
    placement = (struct placement){ DMABUFD_NODE_STRICT, 1 };
    assert_int_equal(placement_check(&nodes, &placement, NULL), 0);
}

static void what_is_free(void **state)
{
    struct nodes nodes = host();
    uint64_t available, total;

    (void)state;
    assert_int_equal(nodes_memory(&nodes, 1, &available, &total), 0);
    assert_int_equal(total, 4 * GIB);
    assert_int_equal(available, (10240 + 4096) << 10);
    assert_int_equal(nodes_memory(&nodes, 0, &available, &total), 0);
    assert_int_equal(available, 1024 << 10);
    assert_int_equal(nodes_memory(&nodes, 5, &available, &total), -ENOENT);
    assert_int_equal(nodes_huge(&nodes, 0, PAGE_2M, "free_hugepages"), 9);
    assert_int_equal(nodes_huge(&nodes, 1, PAGE_2M, "nr_hugepages"), 4);
    assert_int_equal(nodes_huge(&nodes, 1, PAGE_1G, "nr_hugepages"), 0);
}

static void where_memory_is(void **state)
{
    const struct dmabufd_span low = { 0, 4096, 4096 }, first = { 4096, 4 * GIB, GIB },
                              second = { 0, 5 * GIB, 4096 }, across = { 0, 5 * GIB - 4096, 8192 },
                              end = { 0, 9 * GIB - 4096, 4096 }, hole = { 0, 3 * GIB, 4096 },
                              beyond = { 0, 9 * GIB, 4096 };
    const struct dmabufd_span both[] = { low, second }, lost[] = { low, hole };
    struct nodes nodes = host();

    (void)state;
    assert_int_equal(nodes_of(&nodes, &low, 1), 1);
    assert_int_equal(nodes_of(&nodes, &first, 1), 1);
    assert_int_equal(nodes_of(&nodes, &second, 1), 2);
    assert_int_equal(nodes_of(&nodes, &end, 1), 2);
    assert_int_equal(nodes_of(&nodes, &across, 1), 3);
    assert_int_equal(nodes_of(&nodes, both, 2), 3);
    assert_int_equal(nodes_of(&nodes, &hole, 1), 0);
    assert_int_equal(nodes_of(&nodes, lost, 2), 0);
    assert_int_equal(nodes_of(&nodes, &beyond, 1), 0);
}

static void memory_that_was_added(void **state)
{
    const struct dmabufd_span beyond = { 0, 9 * GIB, 4096 };
    struct nodes nodes = host();

    (void)state;
    assert_int_equal(nodes_of(&nodes, &beyond, 1), 0);
    put("zoneinfo", "Node 0, zone Normal\n  pages free 1\n spanned 2359296\n start_pfn: 1\n"
                    "Node 1, zone Normal\n  pages free 1\n spanned 4096\n start_pfn: 2359297\n");
    assert_int_equal(nodes_of(&nodes, &beyond, 1), 1);
    put("zoneinfo", two_nodes);
}

/* An address in both does not tell. */
static void nodes_that_overlap(void **state)
{
    const struct dmabufd_span span = { 0, 4096, 4096 };
    struct nodes nodes;

    (void)state;
    put("zoneinfo", "Node 0, zone Normal\n  pages free 1\n spanned 100\n start_pfn: 0\n"
                    "Node 1, zone Normal\n  pages free 1\n spanned 100\n start_pfn: 99\n");
    nodes = host();
    assert_int_equal(nodes_of(&nodes, &span, 1), 0);
    put("zoneinfo", two_nodes);
}

static void zones_as_they_are(void **state)
{
    struct zones zones;

    (void)state;
    assert_int_equal(zones_read(zoneinfo, &zones), 0);
    assert_int_equal(zones.count, 4);
    assert_int_equal(zones.zone[1].start, 16 << 20);
    assert_int_equal(zones.zone[1].end, 3 * GIB);
    assert_int_equal(zones.zone[1].free, 100 * 4096);
    assert_int_equal(zones.zone[3].node, 1);
    assert_false(zones_overlap(&zones));
    assert_int_equal(zones_read("/nowhere", &zones), -ENOENT);
    put("zoneinfo", "Node 0, zone Normal\n spanned 18446744073709551615\n start_pfn: 1\n");
    assert_int_equal(zones_read(zoneinfo, &zones), -ENODATA);
    put("zoneinfo", "nothing\n");
    assert_int_equal(zones_read(zoneinfo, &zones), -ENODATA);
    put("zoneinfo", two_nodes);
}

/* The real file of this host has zones, and the pages of this program are in one of them or hidden. */
static void zones_of_this_host(void **state)
{
    struct zones zones;

    (void)state;
    assert_int_equal(zones_read(ZONES_FILE, &zones), 0);
    assert_true(zones.count > 0);
    for (size_t i = 0; i < zones.count; i++)
        assert_true(zones.zone[i].start < zones.zone[i].end);
}

/* Which policy a thread has meanwhile is the kernel's to say; on a host without NUMA it says no. */
static void policy_comes_and_goes(void **state)
{
    const struct placement strict = { DMABUFD_NODE_STRICT, 0 };
    const struct placement preferred = { DMABUFD_NODE_PREFERRED, 0 };
    struct nodes nodes = host();
    struct policy outer, inner;
    struct fault fault = { 0 };
    int mode = -1;

    (void)state;
    if (syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0) < 0) {
        assert_int_equal(placement_enter(&nodes, &strict, &outer, &fault), -EOPNOTSUPP);
        assert_non_null(strstr(fault.text, "set_mempolicy"));
        return;
    }
    assert_int_equal(mode, MPOL_DEFAULT);
    assert_int_equal(placement_enter(&nodes, &strict, &outer, NULL), 0);
    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    assert_int_equal(mode, MPOL_BIND);
    assert_int_equal(placement_enter(&nodes, &preferred, &inner, NULL), 0);
    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    assert_int_equal(mode, MPOL_PREFERRED);
    placement_leave(&inner);
    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    assert_int_equal(mode, MPOL_BIND);
    placement_leave(&outer);
    syscall(SYS_get_mempolicy, &mode, NULL, 0, NULL, 0);
    assert_int_equal(mode, MPOL_DEFAULT);
}

/* A strict node keeps its share of the reserve, and says what it has. */
static void small_pages_of_a_strict_node(void **state)
{
    const struct placement strict = { DMABUFD_NODE_STRICT, 1 };
    const struct placement preferred = { DMABUFD_NODE_PREFERRED, 1 };
    struct memory memory;
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(memory_init(&memory, UINT64_MAX, 8 << 20, NULL), 0);
    memory.nodes = host();
    memory.max_size = 8 * GIB;
    /* 14 MiB are available there and 4 of them stay. */
    assert_int_equal(memory_prepare(&memory, &strict, -1, PAGE_4K, 0, 10 << 20, &fault), 0);
    assert_int_equal(memory_prepare(&memory, &strict, -1, PAGE_4K, 0, (10 << 20) + PAGE_4K, &fault),
                     -ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_MEMORY);
    assert_non_null(strstr(fault.text, "node 1 has 14 MiB"));
    assert_non_null(strstr(fault.text, "4 MiB of them"));
    assert_int_equal(memory_prepare(&memory, &preferred, -1, PAGE_4K, 0, 11 << 20, &fault), 0);
    memory_deinit(&memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(lists_of_nodes),
        cmocka_unit_test(a_host_without_nodes),
        cmocka_unit_test(a_node_that_is_not_there),
        cmocka_unit_test(what_is_free),
        cmocka_unit_test(where_memory_is),
        cmocka_unit_test(memory_that_was_added),
        cmocka_unit_test(nodes_that_overlap),
        cmocka_unit_test(zones_as_they_are),
        cmocka_unit_test(zones_of_this_host),
        cmocka_unit_test(policy_comes_and_goes),
        cmocka_unit_test(small_pages_of_a_strict_node),
    };

    return cmocka_run_group_tests_name("nodes", tests, setup, teardown);
}
