/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/fake.c through backend_open(): its script, its layouts, its failures. The other
 * tests of the daemon rely on it.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "daemon/keeper/backend.h"
#include "tests/unit/support.h"

#define CLEANUP_SPANS CLEANUP(spans_deinit)
#define K4            UINT64_C(4096)
#define ABOVE_ALL     (UINT64_C(1) << 52)

static struct backend *open_fake(const char *script)
{
    struct backend_config config = { .name = "fake", .fake = script };
    struct backend *backend = NULL;
    struct fault fault = { 0 };

    if (backend_open(&config, &backend, &fault) < 0)
        fail_msg("'%s': %s", script ? script : "", fault.text);
    return backend;
}

static void says_what_it_is(void **state)
{
    struct backend *backend = open_fake(NULL);

    (void)state;
    assert_string_equal(backend->name, "fake");
    assert_int_equal(backend->mode, DMABUFD_MODE_FAKE);
    assert_int_equal(backend->pin, DMABUFD_PIN_NONE);
    assert_string_equal(backend->reason, "asked for by name");
    assert_null(backend_close(backend));
    assert_null(backend_close(NULL));
}

static void good_scripts(void **state)
{
    static const char *const scripts[] = {
        "",
        "layout=one",
        "layout=run:4096",
        "layout=run:64K",
        "layout=reverse:2M",
        "layout=run:1G",
        "fail=pin@1:ENOMEM",
        "fail=resolve@3:EIO,layout=run:8K,delay=0",
        "delay=60000",
        "nodes=8,node-size=1M,stray=3",
        ",,layout=one,",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++)
        backend_close(open_fake(scripts[i]));
}

static void bad_scripts(void **state)
{
    static const char *const scripts[] = {
        "layout",
        "layout=",
        "layout=two",
        "layout=run",
        "layout=run:",
        "layout=run:0",
        "layout=run:2048",
        "layout=run:12K",
        "layout=run:2G",
        "layout=run:x",
        "layout=reverse:5000",
        "fail",
        "fail=pin",
        "fail=pin@",
        "fail=pin@1",
        "fail=pin@1:",
        "fail=pin@0:EIO",
        "fail=pin@x:EIO",
        "fail=pin@1:EXYZ",
        "fail=pin@1:eio",
        "fail=pin@1:5",
        "fail=unpin@1:EIO",
        "delay=",
        "delay=-1",
        "delay=60001",
        "delay=1s",
        "nodes=0",
        "nodes=9",
        "node-size=x",
        "stray=0",
        "nonsense",
        "layout=one;delay=1",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct backend_config config = { .name = "fake", .fake = scripts[i] };
        struct backend *backend = NULL;
        struct fault fault = { 0 };

        if (backend_open(&config, &backend, &fault) != -EINVAL)
            fail_msg("taken: '%s'", scripts[i]);
        assert_null(backend);
        assert_int_equal(fault.error, EINVAL);
        assert_int_equal(fault.code, DMABUFD_CODE_INVALID);
        assert_non_null(strstr(fault.text, scripts[i]));
    }
}

/* A mapping of so many pages, begun and with its file. */
static struct mapping map(struct backend *backend, uint64_t pages)
{
    struct mapping mapping = { .fd = -1, .size = pages * K4, .page_size = K4 };

    assert_int_equal(memfd_open("unit-test", 0, &mapping.fd), 0);
    assert_int_equal(ftruncate(mapping.fd, (off_t)mapping.size), 0);
    assert_int_equal(backend->ops->begin(backend, &mapping, NULL), 0);
    mapping.begun = true;
    return mapping;
}

static void unmap(struct backend *backend, struct mapping *mapping)
{
    assert_int_equal(backend->ops->unpin(backend, mapping, 0, mapping->size, NULL), 0);
    backend->ops->end(backend, mapping);
    fd_close(&mapping->fd);
}

/* Runs of @unit bytes, each @stride from the one before. */
static void check_layout(const char *script, uint64_t pages, uint64_t unit, int64_t stride)
{
    struct backend *backend = open_fake(script);
    struct mapping mapping = map(backend, pages);
    CLEANUP_SPANS struct spans spans = { 0 };
    size_t runs = (mapping.size + unit - 1) / unit;
    uint64_t half = pages / 2 * K4;

    /* In two parts, as pieces come. */
    if (half > 0)
        assert_int_equal(backend->ops->resolve(backend, &mapping, 0, half, &spans, NULL), 0);
    assert_int_equal(
        backend->ops->resolve(backend, &mapping, half, mapping.size - half, &spans, NULL), 0);
    assert_int_equal(spans_check(spans.list, spans.count, mapping.size), 0);
    assert_int_equal(spans.count, runs);
    for (size_t i = 0; i < runs; i++) {
        assert_true(spans.list[i].dma_addr >= ABOVE_ALL);
        assert_int_equal(spans.list[i].offset, i * unit);
        assert_int_equal(spans.list[i].dma_addr,
                         spans.list[0].dma_addr + (uint64_t)((int64_t)i * stride));
    }
    unmap(backend, &mapping);
    backend_close(backend);
}

static void layouts(void **state)
{
    (void)state;
    check_layout(NULL, 10, 10 * K4, 0);
    check_layout("layout=one", 1, K4, 0);
    check_layout("layout=run:4K", 10, K4, 2 * K4);
    check_layout("layout=run:16K", 10, 4 * K4, 8 * K4);
    check_layout("layout=run:1G", 10, 10 * K4, 0);
    check_layout("layout=reverse:4K", 10, K4, -(int64_t)K4);
    check_layout("layout=reverse:16K", 10, 4 * K4, -(int64_t)(4 * K4));
    check_layout("layout=reverse:16K", 3, 3 * K4, 0);
}

/* Runs are not smaller than pages. */
static void layout_of_large_pages(void **state)
{
    struct backend *backend = open_fake("layout=run:4K");
    struct mapping mapping = { .fd = -1, .size = 8 << 20, .page_size = 2 << 20 };
    CLEANUP_SPANS struct spans spans = { 0 };

    (void)state;
    assert_int_equal(backend->ops->begin(backend, &mapping, NULL), 0);
    assert_int_equal(backend->ops->resolve(backend, &mapping, 0, mapping.size, &spans, NULL), 0);
    assert_int_equal(spans.count, 4);
    assert_int_equal(spans.list[1].dma_addr - spans.list[0].dma_addr, 4 << 20);
    backend_close(backend);
}

static void addresses_are_never_used_twice(void **state)
{
    struct backend *backend = open_fake("layout=run:4K");
    uint64_t end = ABOVE_ALL;

    (void)state;
    for (uint64_t i = 0; i < 100; i++) {
        struct mapping mapping = map(backend, 1 + i * 10);
        CLEANUP_SPANS struct spans spans = { 0 };
        const struct dmabufd_span *last;

        assert_int_equal(backend->ops->resolve(backend, &mapping, 0, mapping.size, &spans, NULL),
                         0);
        assert_true(spans.list[0].dma_addr >= end);
        last = &spans.list[spans.count - 1];
        end = last->dma_addr + last->length;
        unmap(backend, &mapping);
    }
    backend_close(backend);
}

/* Pinning is what gives memory its pages, here as with the kernel. */
static void pin_allocates(void **state)
{
    struct backend *backend = open_fake(NULL);
    struct mapping mapping = map(backend, 4);
    struct stat st;

    (void)state;
    assert_int_equal(backend->ops->pin(backend, &mapping, 0, 3 * K4, NULL), 0);
    assert_int_equal(fstat(mapping.fd, &st), 0);
    assert_int_equal(st.st_blocks, 3 * 8);
    unmap(backend, &mapping);
    backend_close(backend);
}

static void fails_when_told(void **state)
{
    struct backend *backend = open_fake("fail=pin@3:ENOMEM,fail=resolve@2:EIO");
    struct mapping mapping = map(backend, 1);
    CLEANUP_SPANS struct spans spans = { 0 };
    struct fault fault = { 0 };

    (void)state;
    for (int i = 1; i <= 5; i++) {
        int r = backend->ops->pin(backend, &mapping, 0, K4, &fault);

        assert_int_equal(r, i == 3 ? -ENOMEM : 0);
    }
    assert_int_equal(fault.error, ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_BACKEND);
    for (int i = 1; i <= 3; i++) {
        int r = backend->ops->resolve(backend, &mapping, 0, K4, &spans, &fault);

        assert_int_equal(r, i == 2 ? -EIO : 0);
    }
    assert_int_equal(fault.error, EIO);
    unmap(backend, &mapping);
    backend_close(backend);
}

/* A mapping of so many pages with a placement; its node, or a negative errno. */
static int placed(struct backend *backend, uint64_t pages, uint32_t rule, uint32_t node,
                  struct mapping *ret)
{
    CLEANUP_SPANS struct spans spans = { 0 };
    uint64_t set;
    int r;

    *ret = (struct mapping){
        .fd = -1, .size = pages * K4, .page_size = K4, .placement = { rule, node }
    };
    r = backend->ops->begin(backend, ret, NULL);
    if (r < 0)
        return r;
    assert_int_equal(backend->ops->resolve(backend, ret, 0, ret->size, &spans, NULL), 0);
    set = backend->ops->nodes_of(backend, spans.list, spans.count);
    return __builtin_ctzll(set);
}

static void pretends_nodes(void **state)
{
    struct backend *backend = open_fake("nodes=3,node-size=40K,stray=5");
    struct mapping a, b, c, d, e;

    (void)state;
    assert_int_equal(backend->nodes, 7);
    assert_int_equal(placed(backend, 6, 0, 0, &a), 0);
    assert_int_equal(placed(backend, 6, DMABUFD_NODE_STRICT, 2, &b), 2);
    assert_int_equal(placed(backend, 6, DMABUFD_NODE_STRICT, 2, &c), -ENOMEM);
    assert_int_equal(placed(backend, 6, DMABUFD_NODE_PREFERRED, 0, &c), 1);
    assert_int_equal(placed(backend, 1, DMABUFD_NODE_STRICT, 0, &d), 1);
    assert_int_equal(placed(backend, 6, 0, 0, &e), -ENOMEM);
    backend->ops->end(backend, &b);
    assert_int_equal(placed(backend, 6, 0, 0, &e), 2);
    backend_close(backend);
    backend = open_fake(NULL);
    assert_int_equal(backend->nodes, 1);
    backend_close(backend);
}

static void takes_its_time(void **state)
{
    struct backend *backend = open_fake("delay=30");
    struct mapping mapping = map(backend, 1);
    uint64_t start = support_now_ms();

    (void)state;
    assert_int_equal(backend->ops->pin(backend, &mapping, 0, K4, NULL), 0);
    assert_true(support_now_ms() - start >= 29);
    unmap(backend, &mapping);
    backend_close(backend);
}

static void pieces(void **state)
{
    struct mapping mapping = { .size = 3 * BACKEND_PIECE + K4, .page_size = K4 };

    (void)state;
    assert_int_equal(backend_piece(&mapping, 0), BACKEND_PIECE);
    assert_int_equal(backend_piece(&mapping, 2 * BACKEND_PIECE), BACKEND_PIECE);
    assert_int_equal(backend_piece(&mapping, 3 * BACKEND_PIECE), K4);
    mapping.size = K4;
    assert_int_equal(backend_piece(&mapping, 0), K4);
    /* A page is never cut. */
    mapping.size = UINT64_C(3) << 30;
    mapping.page_size = UINT64_C(1) << 30;
    assert_int_equal(backend_piece(&mapping, 0), UINT64_C(1) << 30);
    assert_int_equal(backend_piece(&mapping, UINT64_C(2) << 30), UINT64_C(1) << 30);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_is),       cmocka_unit_test(good_scripts),
        cmocka_unit_test(bad_scripts),           cmocka_unit_test(layouts),
        cmocka_unit_test(layout_of_large_pages), cmocka_unit_test(addresses_are_never_used_twice),
        cmocka_unit_test(pin_allocates),         cmocka_unit_test(fails_when_told),
        cmocka_unit_test(takes_its_time),        cmocka_unit_test(pieces),
        cmocka_unit_test(pretends_nodes),
    };

    return cmocka_run_group_tests_name("fake", tests, NULL, NULL);
}
