/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Allocations on a NUMA node: pretended nodes of the fake backend, and node 0 of this host on the
 * backend of the environment. A host with two nodes of its own is made in the virtual machine
 * (tests/vm/test-two-nodes.c).
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "tests/integration/harness.h"

#define MIB (UINT64_C(1) << 20)

struct wish {
    uint64_t size;
    uint64_t page_size; /* 0: 4096 */
    uint32_t flags;
    uint32_t node;
    uint64_t nodes; /* expected */
    int error;      /* expected, positive */
    enum dmabufd_code code;
    const char *says;
};

struct wishes {
    const struct wish *list;
    size_t count;
};

/* One after the other, all kept until the end. */
static int make_wishes(void *data)
{
    const struct wishes *wishes = data;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (size_t i = 0; i < wishes->count; i++) {
        const struct wish *wish = &wishes->list[i];
        const struct dmabufd_constraints constraints = { .flags = wish->flags, .node = wish->node };
        dmabufd_buffer *buffer, *again;
        int r = dmabufd_alloc_constrained(d, wish->size, wish->page_size ? wish->page_size : 4096,
                                          &constraints, &buffer);

        if (r != -wish->error)
            fprintf(stderr, "# wish %zu: %d, %s\n", i, r, r < 0 ? dmabufd_last_error() : "");
        CHECK(r == -wish->error);
        if (r < 0) {
            CHECK(dmabufd_last_code() == wish->code);
            CHECK(strstr(dmabufd_last_error(), wish->says));
            continue;
        }
        CHECK(dmabufd_buffer_nodes(buffer) == wish->nodes);
        /* Whoever is passed it is told the same. */
        CHECK(dmabufd_lookup(d, dmabufd_buffer_fd(buffer), &again) == 0);
        CHECK(dmabufd_buffer_nodes(again) == wish->nodes);
    }
    dmabufd_disconnect(d);
    return 0;
}

static void grant(const struct daemon *daemon, const struct wish *list, size_t count)
{
    struct wishes wishes = { list, count };
    struct leftovers before;

    leftovers_read(daemon, &before);
    run_as(TEST_CLIENT_UID, make_wishes, &wishes);
    leftovers_settle(daemon, &before);
}

#define GRANT(daemon, wishes) grant(daemon, wishes, sizeof(wishes) / sizeof((wishes)[0]))

static void start_fake(struct daemon *daemon, const char *script)
{
    const char *const args[] = { "--fake", script, NULL };

    daemon_start_with(daemon, "fake", args);
}

static void strict_and_preferred(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB, .nodes = 1 },
        { .size = 2 * MIB, .flags = DMABUFD_NODE_STRICT, .node = 1, .nodes = 2 },
        { .size = 2 * MIB, .flags = DMABUFD_NODE_STRICT, .node = 1, .nodes = 2 },
        { .size = 4096,
          .flags = DMABUFD_NODE_STRICT,
          .node = 1,
          .error = ENOMEM,
          .code = DMABUFD_CODE_NO_MEMORY,
          .says = "node 1 has 0 MiB" },
        { .size = 4096, .flags = DMABUFD_NODE_PREFERRED, .node = 1, .nodes = 4 },
        { .size = 2 * MIB, .flags = DMABUFD_NODE_PREFERRED, .node = 2, .nodes = 4 },
        { .size = 4096,
          .flags = DMABUFD_NODE_STRICT,
          .node = 3,
          .error = EOPNOTSUPP,
          .code = DMABUFD_CODE_UNSUPPORTED,
          .says = "nodes 0-2" },
        { .size = 4096,
          .flags = DMABUFD_NODE_PREFERRED,
          .node = 3,
          .error = EOPNOTSUPP,
          .code = DMABUFD_CODE_UNSUPPORTED,
          .says = "nodes 0-2" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "nodes=3,node-size=4M");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

/* Wherever the pages came from: what counts is where they are in the end. */
static void memory_that_strays(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB,
          .flags = DMABUFD_NODE_STRICT,
          .node = 0,
          .error = ENOSPC,
          .code = DMABUFD_CODE_CONSTRAINTS,
          .says = "the memory is on node 1, asked: on node 0 only" },
        { .size = MIB, .flags = DMABUFD_NODE_STRICT, .node = 0, .nodes = 1 },
    };
    const struct wish preferred[] = {
        { .size = MIB, .flags = DMABUFD_NODE_PREFERRED, .node = 0, .nodes = 2 },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "nodes=2,stray=1");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
    start_fake(&daemon, "nodes=2,stray=1");
    GRANT(&daemon, preferred);
    daemon_stop(&daemon);
}

static void nonsense_is_refused(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB,
          .flags = DMABUFD_NODE_STRICT | DMABUFD_NODE_PREFERRED,
          .error = EINVAL,
          .code = DMABUFD_CODE_INVALID,
          .says = "not both" },
        { .size = MIB,
          .node = 1,
          .error = EINVAL,
          .code = DMABUFD_CODE_INVALID,
          .says = "DMABUFD_NODE_STRICT" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    start_fake(&daemon, "nodes=2");
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

static bool one_node(void)
{
    char text[64] = "0";
    FILE *file = fopen("/sys/devices/system/node/has_memory", "re");

    if (file && !fgets(text, sizeof(text), file))
        text[0] = '\0';
    if (file)
        fclose(file);
    text[strcspn(text, "\n")] = '\0';
    return strcmp(text, "0") == 0;
}

/* A host with one node, and a kernel that knows of none, has node 0. */
static void node_0_of_this_host(void **state)
{
    const struct wish wishes[] = {
        { .size = MIB, .nodes = 1 },
        { .size = MIB, .flags = DMABUFD_NODE_STRICT, .node = 0, .nodes = 1 },
        { .size = MIB, .flags = DMABUFD_NODE_PREFERRED, .node = 0, .nodes = 1 },
        { .size = MIB,
          .flags = DMABUFD_NODE_STRICT,
          .node = 1,
          .error = EOPNOTSUPP,
          .code = DMABUFD_CODE_UNSUPPORTED,
          .says = "no memory on a node 1: it has memory on node 0" },
    };
    struct daemon daemon = { 0 };

    (void)state;
    if (!one_node() && strcmp(test_backend(), "fake") != 0) {
        print_message("this host has several nodes\n");
        skip();
    }
    daemon_start(&daemon, NULL);
    GRANT(&daemon, wishes);
    daemon_stop(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strict_and_preferred),
        cmocka_unit_test(memory_that_strays),
        cmocka_unit_test(nonsense_is_refused),
        cmocka_unit_test(node_0_of_this_host),
    };

    return cmocka_run_group_tests_name("nodes", tests, NULL, NULL);
}
