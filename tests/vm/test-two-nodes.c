/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory on a NUMA node, on a host that has two. Where each page really is says the kernel, by the
 * client's own mapping; the daemon tells it by the addresses.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/own.h"
#include "tests/integration/ready.h"
#include "tests/vm/guest.h"

#define MIB    (UINT64_C(1) << 20)
#define HUGE_0 64U
#define HUGE_1 40U

static struct daemon daemon_of_group;

static int start(void **state)
{
    /* One client asks for more than a node has. */
    const char *const args[] = { "--memory-limit-per-user=2G", NULL };

    (void)state;
    assert_int_equal(access("/sys/devices/system/node/node1/meminfo", R_OK), 0);
    daemon_start(&daemon_of_group, args);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_group);
    return 0;
}

/* Which nodes the kernel says the pages are on; 0 if it does not say. */
static uint64_t nodes_of_pages(const dmabufd_buffer *buffer)
{
    volatile unsigned char *data = dmabufd_buffer_data(buffer);
    uint64_t set = 0;

    for (uint64_t at = 0; at < dmabufd_buffer_size(buffer);
         at += dmabufd_buffer_page_size(buffer)) {
        int node = -1;

        data[at] = 1;
        if (syscall(SYS_get_mempolicy, &node, NULL, 0, (void *)(uintptr_t)(data + at),
                    MPOL_F_NODE | MPOL_F_ADDR) < 0 ||
            node < 0)
            return 0;
        set |= UINT64_C(1) << node;
    }
    return set;
}

struct wish {
    uint64_t size;
    uint64_t page_size;
    uint32_t flags;
    uint32_t node;
    uint64_t nodes; /* expected */
    int error;      /* expected, positive */
    enum dmabufd_code code;
    const char *says[3];
};

static int make_a_wish(void *data)
{
    const struct wish *wish = data;
    const struct dmabufd_constraints constraints = { .flags = wish->flags, .node = wish->node };
    dmabufd_buffer *buffer;
    dmabufd *d;
    int r;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    r = dmabufd_alloc_constrained(d, wish->size, wish->page_size, &constraints, &buffer);
    CHECK(r == -wish->error);
    if (r < 0) {
        CHECK(dmabufd_last_code() == wish->code);
        for (size_t i = 0; i < 3 && wish->says[i]; i++)
            CHECK(strstr(dmabufd_last_error(), wish->says[i]));
    } else {
        CHECK(nodes_of_pages(buffer) == wish->nodes);
        CHECK(dmabufd_buffer_nodes(buffer) == wish->nodes);
    }
    dmabufd_disconnect(d);
    return 0;
}

static void grant(struct wish wish)
{
    struct leftovers before;

    leftovers_read(&daemon_of_group, &before);
    run_as(GUEST_UID_CLIENT, make_a_wish, &wish);
    leftovers_settle(&daemon_of_group, &before);
}

static void small_pages(void **state)
{
    (void)state;
    for (uint32_t node = 0; node < 2; node++) {
        for (uint32_t flags = DMABUFD_NODE_PREFERRED; flags <= DMABUFD_NODE_STRICT; flags *= 2)
            grant((struct wish){ .size = 48 * MIB,
                                 .page_size = 4096,
                                 .flags = flags,
                                 .node = node,
                                 .nodes = UINT64_C(1) << node });
    }
}

static void huge_pages(void **state)
{
    (void)state;
    for (uint32_t node = 0; node < 2; node++) {
        for (uint32_t flags = DMABUFD_NODE_PREFERRED; flags <= DMABUFD_NODE_STRICT; flags *= 2)
            grant((struct wish){ .size = HUGE_1 * 2 * MIB,
                                 .page_size = 2 * MIB,
                                 .flags = flags,
                                 .node = node,
                                 .nodes = UINT64_C(1) << node });
    }
}

/* Node 1 has fewer: a preference is met as far as it goes, and told. */
static void too_few_huge_pages(void **state)
{
    const uint64_t more = (HUGE_1 + 8) * 2 * MIB;

    (void)state;
    grant((struct wish){ .size = more,
                         .page_size = 2 * MIB,
                         .flags = DMABUFD_NODE_PREFERRED,
                         .node = 1,
                         .nodes = 3 });
    grant((struct wish){ .size = more,
                         .page_size = 2 * MIB,
                         .flags = DMABUFD_NODE_STRICT,
                         .node = 1,
                         .error = ENOMEM,
                         .code = DMABUFD_CODE_NO_HUGE_PAGES,
                         .says = { "48 huge pages of 2048 KiB are needed on node 1",
                                   "40 of 40 are free",
                                   "/node1/hugepages/hugepages-2048kB/nr_hugepages" } });
    /* Without a page size, small pages there. */
    grant((struct wish){
        .size = more, .flags = DMABUFD_NODE_STRICT, .node = 1, .nodes = UINT64_C(1) << 1 });
}

/* The search takes a page that it gave back out of the pool of that page's node. */
static void runs_of_huge_pages(void **state)
{
    (void)state;
    for (uint32_t node = 0; node < 2; node++)
        grant((struct wish){ .size = 32 * MIB,
                             .page_size = 2 * MIB,
                             .flags = DMABUFD_NODE_STRICT | DMABUFD_CONTIGUOUS,
                             .node = node,
                             .nodes = UINT64_C(1) << node });
}

/* More than one node has, less than both: refused before the kernel looks for a victim. */
static void too_little_memory(void **state)
{
    (void)state;
    grant((struct wish){ .size = 1040 * MIB,
                         .page_size = 4096,
                         .flags = DMABUFD_NODE_STRICT,
                         .node = 1,
                         .error = ENOMEM,
                         .code = DMABUFD_CODE_NO_MEMORY,
                         .says = { "node 1 has ", " MiB of memory available" } });
}

static void a_node_that_is_not_there(void **state)
{
    (void)state;
    grant((struct wish){ .size = MIB,
                         .flags = DMABUFD_NODE_STRICT,
                         .node = 2,
                         .error = EOPNOTSUPP,
                         .code = DMABUFD_CODE_UNSUPPORTED,
                         .says = { "nodes 0-1" } });
}

/* Memory of the client's own, made on node 1. */
static int register_some(void *data)
{
    const struct dmabufd_constraints here = { .flags = DMABUFD_NODE_STRICT, .node = 1 };
    const struct dmabufd_constraints there = { .flags = DMABUFD_NODE_STRICT, .node = 0 };
    const unsigned long node_1 = 2;
    dmabufd_buffer *buffer;
    dmabufd *d;
    int fd;

    (void)data;
    CHECK(syscall(SYS_set_mempolicy, MPOL_BIND, &node_1, 64UL) == 0);
    fd = own_memory(MIB, 0, 1, NULL);
    CHECK(fd >= 0);
    CHECK(syscall(SYS_set_mempolicy, MPOL_DEFAULT, NULL, 0UL) == 0);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_register(d, fd, 0, MIB, &here, &buffer) == 0);
    CHECK(dmabufd_buffer_nodes(buffer) == 2);
    CHECK(dmabufd_register(d, fd, 0, MIB, &there, &buffer) == -ENOSPC);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_CONSTRAINTS);
    CHECK(strstr(dmabufd_last_error(), "on node 1, asked: on node 0 only"));
    dmabufd_disconnect(d);
    return 0;
}

static void registered_memory(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(GUEST_UID_CLIENT, register_some, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

/* A worker that served a node has no preference left for the next request. */
static int whole_host(void *data)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 1040 * MIB, 4096, &buffer) == 0);
    CHECK(dmabufd_buffer_nodes(buffer) == 3);
    dmabufd_disconnect(d);
    return 0;
}

static void nothing_lingers(void **state)
{
    struct leftovers before;

    leftovers_read(&daemon_of_group, &before);
    small_pages(state);
    run_as(GUEST_UID_CLIENT, whole_host, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

/* What the set of @node has granted so far. */
static uint64_t grants_of(dmabufd *d, uint32_t node)
{
    struct dmabufd_pool_set *list;
    uint64_t grants = UINT64_MAX;
    size_t count;

    assert_int_equal(dmabufd_pool(d, &list, &count), 0);
    for (size_t i = 0; i < count; i++) {
        if (list[i].page_size == 2 * MIB && list[i].node == node)
            grants = list[i].grants;
    }
    free(list);
    assert_true(grants != UINT64_MAX);
    return grants;
}

static int allocate_on(void *data)
{
    const struct dmabufd_constraints there = { .flags = DMABUFD_NODE_STRICT,
                                               .node = *(uint32_t *)data };
    dmabufd_buffer *buffer;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc_constrained(d, 2 * MIB, 2 * MIB, &there, &buffer) == 0);
    CHECK(nodes_of_pages(buffer) == UINT64_C(1) << there.node);
    CHECK(dmabufd_buffer_nodes(buffer) == UINT64_C(1) << there.node);
    dmabufd_disconnect(d);
    return 0;
}

/* A set for each node: memory for a node comes out of its own, and out of no other. */
static void pool_of_a_node(void **state)
{
    uint32_t node[] = { 0, 1 };
    dmabufd *d;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_pool_resize(d, 2 * MIB, 1, 8, NULL), 0);
    ready_await(d);
    assert_int_equal(huge_pages_free(2 * MIB), HUGE_0 + HUGE_1 - 8);
    run_as(TEST_CLIENT_UID, allocate_on, &node[1]);
    assert_int_equal(grants_of(d, 1), 1);
    run_as(TEST_CLIENT_UID, allocate_on, &node[0]);
    assert_int_equal(grants_of(d, 0), 0);
    assert_int_equal(grants_of(d, 1), 1);
    ready_await(d);
    assert_int_equal(dmabufd_pool_resize(d, 2 * MIB, 1, 0, NULL), 0);
    ready_await(d);
    dmabufd_disconnect(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),        cmocka_unit_test(huge_pages),
        cmocka_unit_test(too_few_huge_pages), cmocka_unit_test(too_little_memory),
        cmocka_unit_test(registered_memory),  cmocka_unit_test(a_node_that_is_not_there),
        cmocka_unit_test(runs_of_huge_pages), cmocka_unit_test(pool_of_a_node),
        cmocka_unit_test(nothing_lingers),
    };

    return cmocka_run_group_tests_name("two-nodes", tests, start, stop);
}
