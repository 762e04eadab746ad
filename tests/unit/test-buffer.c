/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/buffer.h: building and tearing down, and that a failure anywhere leaves nothing:
 * no descriptor, no charge, no mapping. The one exception, memory that the kernel does not let go,
 * is in test-buffer-kept.c; threads are test-job.c's.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "daemon/keeper/build.h"
#include "proto/limits.h"
#include "proto/spantable.h"
#include "tests/unit/hugepages.h"
#include "tests/unit/mock-backend.h"
#include "tests/unit/support.h"

#define K4        PAGE_4K
#define PIECE     BACKEND_PIECE
#define LONG      (2 * PIECE + K4) /* three pieces */
#define STEPS_MAX 100

static bool pretending;
static size_t fds;
static struct memory memory;

static int begin_group(void **state)
{
    (void)state;
    pretending = hugepages_pretend_begin();
    if (pretending)
        hugepages_pretend(NULL, 0);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    if (memory_init(&memory, UINT64_C(1) << 30, 0, NULL) < 0)
        return -1;
    fds = support_fds();
    return 0;
}

static int teardown(void **state)
{
    bool clean = support_fds() == fds && memory.charged == 0;

    (void)state;
    memory_deinit(&memory);
    if (pretending)
        hugepages_pretend(NULL, 0);
    return clean ? 0 : -1;
}

static struct backend *open_fake(const char *script)
{
    struct backend_config config = { .name = "fake", .fake = script };
    struct backend *backend = NULL;

    assert_int_equal(backend_open(&config, &backend, NULL), 0);
    return backend;
}

/* Builds to the end. @ret_steps: how many it took, may be NULL. */
static enum build_result build(struct buffer *buffer, struct backend *backend, uint64_t asked,
                               uint64_t wanted, unsigned int *ret_steps, struct fault *fault)
{
    struct build work = { .asked = asked, .wanted = wanted };
    enum build_result result = BUILD_MORE;
    unsigned int steps = 0;

    while (result == BUILD_MORE && steps < STEPS_MAX) {
        result = build_step(buffer, &work, &memory, backend, &support_no, fault);
        steps++;
    }
    if (ret_steps)
        *ret_steps = steps;
    return result;
}

static struct buffer *build_well(struct backend *backend, uint64_t asked, uint64_t wanted)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    assert_non_null(buffer);
    if (build(buffer, backend, asked, wanted, NULL, &fault) != BUILD_DONE)
        fail_msg("%s", fault.text);
    return buffer;
}

/* Tears down and frees. Return: how many steps it took. */
static unsigned int tear_down(struct buffer *buffer, struct backend *backend)
{
    unsigned int steps = 1;

    while (buffer_teardown_step(buffer, &memory, backend, NULL) == 1 && steps < STEPS_MAX)
        steps++;
    assert_int_equal(buffer->fd, -1);
    assert_int_equal(buffer->table_fd, -1);
    assert_int_equal(buffer->mapping.pinned, 0);
    assert_false(buffer->mapping.begun);
    assert_null(buffer_free(buffer));
    return steps;
}

/* A failed build left only the struct. */
static void assert_nothing_left(struct buffer *buffer)
{
    assert_int_equal(buffer->fd, -1);
    assert_int_equal(buffer->table_fd, -1);
    assert_int_equal(buffer->mapping.pinned, 0);
    assert_false(buffer->mapping.begun);
    assert_int_equal(buffer->spans.count, 0);
    assert_int_equal(memory.charged, 0);
    assert_int_equal(support_fds(), fds);
    buffer_free(buffer);
}

static void assert_fails(struct backend *backend, uint64_t asked, uint64_t wanted, int error,
                         enum dmabufd_code code)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    assert_int_equal(build(buffer, backend, asked, wanted, NULL, &fault), BUILD_FAILED);
    assert_int_equal(fault.error, error);
    assert_int_equal(fault.code, code);
    assert_true(strlen(fault.text) > 5);
    assert_nothing_left(buffer);
}

static void empty_shell(void **state)
{
    struct backend *backend = open_fake(NULL);
    struct buffer *buffer = buffer_new();

    (void)state;
    assert_int_equal(buffer->fd, -1);
    assert_int_equal(buffer->table_fd, -1);
    assert_int_equal(buffer_teardown_step(buffer, &memory, backend, NULL), 0);
    assert_null(buffer_free(buffer));
    assert_null(buffer_free(NULL));
    backend_close(backend);
}

static void sizes_and_steps(void **state)
{
    static const struct {
        uint64_t asked, size;
        unsigned int pieces;
    } samples[] = {
        { 1, K4, 1 },
        { K4 - 1, K4, 1 },
        { K4, K4, 1 },
        { K4 + 1, 2 * K4, 1 },
        { PIECE, PIECE, 1 },
        { PIECE + 1, PIECE + K4, 2 },
        { 2 * PIECE + 1, LONG, 3 },
    };
    struct backend *backend = open_fake(NULL);

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        struct buffer *buffer = buffer_new();
        struct fault fault = { 0 };
        unsigned int steps;
        struct stat st;

        assert_int_equal(build(buffer, backend, samples[i].asked, PAGE_4K, &steps, &fault),
                         BUILD_DONE);
        assert_int_equal(steps, samples[i].pieces);
        assert_int_equal(buffer->size, samples[i].size);
        assert_int_equal(buffer->page_size, K4);
        assert_int_equal(buffer->mapping.pinned, samples[i].size);
        assert_int_equal(memory.charged, samples[i].size);
        assert_int_equal(fstat(buffer->fd, &st), 0);
        assert_int_equal(st.st_size, samples[i].size);
        assert_int_equal(st.st_blocks, samples[i].size / 512);
        assert_int_equal(st.st_ino, buffer->ino);
        assert_int_equal(st.st_dev, buffer->dev);
        assert_int_equal(tear_down(buffer, backend), samples[i].pieces + 1);
        assert_int_equal(memory.charged, 0);
    }
    backend_close(backend);
}

static void one_span_over_all_pieces(void **state)
{
    struct backend *backend = open_fake("layout=one");
    struct buffer *buffer = build_well(backend, LONG, PAGE_4K);

    (void)state;
    assert_int_equal(buffer->span_count, 1);
    assert_int_equal(buffer->spans.count, 1);
    assert_int_equal(buffer->spans.list[0].offset, 0);
    assert_int_equal(buffer->spans.list[0].length, LONG);
    assert_int_equal(buffer->table_fd, -1);
    tear_down(buffer, backend);
    backend_close(backend);
}

/* Up to so many spans the list is kept, beyond it goes into a table. */
static void check_list(struct backend *backend, size_t count)
{
    struct buffer *buffer = build_well(backend, count * 2 * K4, PAGE_4K);
    CLEANUP_FREE struct dmabufd_span *table = NULL;
    const struct dmabufd_span *list = buffer->spans.list;

    assert_int_equal(buffer->span_count, count);
    if (count > PROTO_SPANS_INLINE_MAX) {
        assert_true(buffer->table_fd >= 0);
        assert_int_equal(buffer->spans.count, 0);
        assert_null(buffer->spans.list);
        assert_int_equal(spantable_open(buffer->table_fd, count, buffer->size, &table), 0);
        list = table;
    } else {
        assert_int_equal(buffer->table_fd, -1);
        assert_int_equal(buffer->spans.count, count);
    }
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(list[i].offset, i * 2 * K4);
        assert_int_equal(list[i].dma_addr, list[0].dma_addr - i * 2 * K4);
        assert_int_equal(list[i].length, 2 * K4);
    }
    tear_down(buffer, backend);
}

static void long_lists_go_into_a_table(void **state)
{
    struct backend *backend = open_fake("layout=reverse:8K");

    (void)state;
    check_list(backend, 1);
    check_list(backend, PROTO_SPANS_INLINE_MAX);
    check_list(backend, PROTO_SPANS_INLINE_MAX + 1);
    check_list(backend, 2000);
    backend_close(backend);
}

static void failing_pin_leaves_nothing(void **state)
{
    static const char *const scripts[] = { "fail=pin@1:EFAULT", "fail=pin@2:EFAULT",
                                           "fail=pin@3:EFAULT" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct backend *backend = open_fake(scripts[i]);

        assert_fails(backend, LONG, PAGE_4K, EFAULT, DMABUFD_CODE_BACKEND);
        /* The next one works. */
        tear_down(build_well(backend, 1, 0), backend);
        backend_close(backend);
    }
}

static void failing_resolve_leaves_nothing(void **state)
{
    static const char *const scripts[] = { "layout=run:4K,fail=resolve@1:EIO",
                                           "layout=run:4K,fail=resolve@2:EIO",
                                           "layout=run:4K,fail=resolve@3:EIO" };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct backend *backend = open_fake(scripts[i]);

        assert_fails(backend, LONG, PAGE_4K, EIO, DMABUFD_CODE_BACKEND);
        backend_close(backend);
    }
}

static void no_place_leaves_nothing(void **state)
{
    struct mock mock;

    (void)state;
    mock_init(&mock);
    mock.begin_error = ENOSPC;
    assert_fails(&mock.base, LONG, PAGE_4K, ENOSPC, DMABUFD_CODE_BACKEND);
    assert_int_equal(mock.ends, 0);
    assert_int_equal(mock.disorder, 0);
    mock_deinit(&mock);
}

/* A backend whose answers do not add up is found out before anybody sees them. */
static void wrong_lists_are_not_published(void **state)
{
    static const enum mock_list lists[] = { MOCK_NOTHING, MOCK_SHORT, MOCK_LONG };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        struct mock mock;

        mock_init(&mock);
        mock.list = lists[i];
        assert_fails(&mock.base, LONG, PAGE_4K, EIO, DMABUFD_CODE_INTERNAL);
        assert_int_equal(mock.unpins, 3);
        assert_int_equal(mock.ends, 1);
        assert_int_equal(mock.disorder, 0);
        mock_deinit(&mock);
    }
}

static void backend_is_called_in_order(void **state)
{
    struct mock mock;
    struct buffer *buffer;

    (void)state;
    mock_init(&mock);
    buffer = build_well(&mock.base, LONG, PAGE_4K);
    assert_int_equal(mock.begins, 1);
    assert_int_equal(mock.pins, 3);
    assert_int_equal(mock.resolves, 3);
    assert_int_equal(mock.settles, 1);
    assert_int_equal(mock.unpins, 0);
    assert_int_equal(tear_down(buffer, &mock.base), 4);
    assert_int_equal(mock.unpins, 3);
    assert_int_equal(mock.ends, 1);
    assert_int_equal(mock.begins, 1);
    assert_int_equal(mock.disorder, 0);
    mock_deinit(&mock);
}

static void cancelled_at_any_step(void **state)
{
    struct mock mock;

    (void)state;
    for (size_t steps = 0; steps < 3; steps++) {
        struct buffer *buffer = buffer_new();
        struct build work = { .asked = LONG, .wanted = PAGE_4K };
        struct fault fault = { 0 };

        mock_init(&mock);
        for (size_t i = 0; i < steps; i++)
            assert_int_equal(build_step(buffer, &work, &memory, &mock.base, &support_no, &fault),
                             BUILD_MORE);
        assert_int_equal(memory.charged, steps ? LONG : 0);
        assert_int_equal(build_step(buffer, &work, &memory, &mock.base, &support_yes, &fault),
                         BUILD_FAILED);
        assert_int_equal(fault.error, ECANCELED);
        assert_int_equal(mock.pins, steps);
        assert_int_equal(mock.unpins, steps);
        assert_int_equal(mock.ends, mock.begins);
        assert_int_equal(mock.disorder, 0);
        assert_nothing_left(buffer);
        mock_deinit(&mock);
    }
}

static void limits_of_the_daemon_and_the_host(void **state)
{
    struct backend *backend = open_fake(NULL);
    struct buffer *buffer;

    (void)state;
    memory.limit = 10 * K4;
    assert_fails(backend, 11 * K4, 0, ENOMEM, DMABUFD_CODE_NO_MEMORY);
    buffer = build_well(backend, 6 * K4, 0);
    assert_int_equal(memory.charged, 6 * K4);
    {
        struct buffer *second = buffer_new();
        struct fault fault = { 0 };

        assert_int_equal(build(second, backend, 5 * K4, 0, NULL, &fault), BUILD_FAILED);
        assert_int_equal(fault.code, DMABUFD_CODE_NO_MEMORY);
        assert_int_equal(memory.charged, 6 * K4);
        buffer_free(second);
    }
    tear_down(buffer, backend);
    memory.reserve = UINT64_MAX;
    assert_fails(backend, K4, 0, ENOMEM, DMABUFD_CODE_NO_MEMORY);
    memory.reserve = 0;
    memory.max_size = 3 * K4;
    assert_fails(backend, 3 * K4 + 1, 0, E2BIG, DMABUFD_CODE_TOO_LARGE);
    backend_close(backend);
}

static void sizes_and_pages_that_are_none(void **state)
{
    struct backend *backend = open_fake(NULL);

    (void)state;
    assert_fails(backend, 0, 0, EINVAL, DMABUFD_CODE_INVALID);
    assert_fails(backend, UINT64_MAX, 0, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_fails(backend, UINT64_MAX, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_fails(backend, 1, 8192, EINVAL, DMABUFD_CODE_INVALID);
    assert_fails(backend, 1, UINT64_MAX, EINVAL, DMABUFD_CODE_INVALID);
    backend_close(backend);
}

static void huge_pages_that_are_not_there(void **state)
{
    struct backend *backend;

    (void)state;
    if (!pretending)
        skip();
    backend = open_fake(NULL);
    assert_fails(backend, 1, PAGE_2M, EOPNOTSUPP, DMABUFD_CODE_UNSUPPORTED);
    assert_fails(backend, 1, PAGE_1G, EOPNOTSUPP, DMABUFD_CODE_UNSUPPORTED);
    backend_close(backend);
}

/* The kernel says there are huge pages, and when it comes to it there are none. */
static void falls_back_to_small_pages(void **state)
{
    const struct hugepages have[] = { { PAGE_1G, 64, 64, 0 } };
    struct mock mock;
    struct buffer *buffer;

    (void)state;
    if (!pretending)
        skip();
    hugepages_pretend(have, 1);
    mock_init(&mock);
    buffer = build_well(&mock.base, PAGE_1G, 0);
    if (buffer->page_size == PAGE_1G) { /* this host has one that is really free */
        tear_down(buffer, &mock.base);
        skip();
    }
    assert_int_equal(buffer->page_size, PAGE_4K);
    assert_int_equal(buffer->size, PAGE_1G);
    assert_int_equal(memory.charged, PAGE_1G);
    tear_down(buffer, &mock.base);
    assert_int_equal(mock.disorder, 0);
    assert_int_equal(mock.ends, mock.begins);
    /* Asked for exactly, it is not granted otherwise. */
    assert_fails(&mock.base, PAGE_1G, PAGE_1G, ENOMEM, DMABUFD_CODE_NO_HUGE_PAGES);
    mock_deinit(&mock);
}

/* The memory needs one, its table one more and another on the way. */
static void out_of_descriptors(void **state)
{
    struct backend *backend = open_fake("layout=run:4K");

    (void)state;
    for (unsigned int room = 0; room < 3; room++) {
        struct buffer *buffer = buffer_new();
        struct fault fault = { 0 };
        uint64_t saved = support_leave_room(room);
        enum build_result result = build(buffer, backend, 100 * K4, PAGE_4K, NULL, &fault);

        support_restore_room(saved);
        assert_int_equal(result, BUILD_FAILED);
        assert_int_equal(fault.error, EMFILE);
        assert_non_null(strstr(fault.text, "descriptor"));
        assert_nothing_left(buffer);
    }
    backend_close(backend);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(empty_shell),
        TEST(sizes_and_steps),
        TEST(one_span_over_all_pieces),
        TEST(long_lists_go_into_a_table),
        TEST(failing_pin_leaves_nothing),
        TEST(failing_resolve_leaves_nothing),
        TEST(no_place_leaves_nothing),
        TEST(wrong_lists_are_not_published),
        TEST(backend_is_called_in_order),
        TEST(cancelled_at_any_step),
        TEST(limits_of_the_daemon_and_the_host),
        TEST(sizes_and_pages_that_are_none),
        TEST(huge_pages_that_are_not_there),
        TEST(falls_back_to_small_pages),
        TEST(out_of_descriptors),
    };

    return cmocka_run_group_tests_name("buffer", tests, begin_group, NULL);
}
