/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/buffer.h when memory is kept: by the kernel, which does not let go of it, so that
 * what a device may still write to stays, with its descriptor and its charge; or by clients, who
 * have its descriptor, and it goes all the same.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "daemon/keeper/build.h"
#include "tests/unit/mock-backend.h"
#include "tests/unit/support.h"

#define LONG (2 * BACKEND_PIECE + PAGE_4K) /* three pieces */

static struct memory memory;
static struct mock mock;
static size_t fds;

static int setup(void **state)
{
    (void)state;
    fds = support_fds();
    mock_init(&mock);
    return memory_init(&memory, UINT64_C(1) << 30, 0, NULL);
}

static int teardown(void **state)
{
    (void)state;
    memory_deinit(&memory);
    mock_deinit(&mock);
    return support_fds() == fds && memory.charged == 0 && mock.disorder == 0 ? 0 : -1;
}

/* Builds to the end. */
static enum build_result go_on(struct buffer *buffer, struct build *work, struct fault *fault)
{
    enum build_result result = BUILD_MORE;

    for (int i = 0; result == BUILD_MORE && i < 10; i++)
        result = build_step(buffer, work, &memory, &mock.base, &support_no, fault);
    return result;
}

static enum build_result build(struct buffer *buffer, struct fault *fault)
{
    struct build work = { .asked = LONG, .wanted = PAGE_4K };

    return go_on(buffer, &work, fault);
}

static void assert_kept(const struct buffer *buffer, uint64_t pinned)
{
    assert_true(buffer->fd >= 0);
    assert_int_equal(buffer->mapping.pinned, pinned);
    assert_true(buffer->mapping.begun);
    assert_int_equal(memory.charged, LONG);
    assert_int_equal(mock.ends, 0);
}

/* In the end the kernel gives in: then it goes on where it stopped. */
static void finish(struct buffer *buffer)
{
    int r = 1;

    for (int i = 0; r == 1 && i < 10; i++)
        r = buffer_teardown_step(buffer, &memory, &mock.base, NULL);
    assert_int_equal(r, 0);
    assert_int_equal(buffer->fd, -1);
    assert_int_equal(mock.ends, 1);
    buffer_free(buffer);
}

static void teardown_refused(void **state)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(build(buffer, &fault), BUILD_DONE);
    atomic_store(&mock.unpins_refused, 2);
    for (int i = 0; i < 2; i++) {
        fault = (struct fault){ 0 };
        assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, &fault), -EBUSY);
        assert_int_equal(fault.error, EBUSY);
        assert_string_equal(fault.text, "the kernel does not let go");
        assert_kept(buffer, LONG);
    }
    finish(buffer);
}

static void teardown_refused_half_way(void **state)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(build(buffer, &fault), BUILD_DONE);
    assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), 1);
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), -EBUSY);
    assert_kept(buffer, 2 * BACKEND_PIECE);
    finish(buffer);
}

/* Building fails, and so does undoing it. */
static void half_built_and_refused(void **state)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    (void)state;
    mock.pin_fails = 3;
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(build(buffer, &fault), BUILD_FAILED);
    /* The client is told why it has no buffer. */
    assert_int_equal(fault.error, EFAULT);
    assert_kept(buffer, 2 * BACKEND_PIECE);
    finish(buffer);
}

static void cancelled_and_refused(void **state)
{
    struct buffer *buffer = buffer_new();
    struct build work = { .asked = LONG, .wanted = PAGE_4K };
    struct fault fault = { 0 };

    (void)state;
    assert_int_equal(build_step(buffer, &work, &memory, &mock.base, &support_no, &fault),
                     BUILD_MORE);
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(build_step(buffer, &work, &memory, &mock.base, &support_yes, &fault),
                     BUILD_FAILED);
    assert_int_equal(fault.error, ECANCELED);
    assert_kept(buffer, BACKEND_PIECE);
    finish(buffer);
}

/* Smaller pages must not be tried on top of large ones that are still pinned. */
static void no_second_choice_while_kept(void **state)
{
    struct buffer *buffer = buffer_new();
    struct build work = {
        .asked = LONG, .choices = { PAGE_4K, PAGE_4K }, .choice_count = 2, .started = true
    };
    struct fault fault = { 0 };

    (void)state;
    mock.pin_fails = 2;
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(go_on(buffer, &work, &fault), BUILD_FAILED);
    assert_int_equal(mock.begins, 1);
    assert_kept(buffer, BACKEND_PIECE);
    finish(buffer);
}

static void second_choice_after_a_clean_failure(void **state)
{
    struct buffer *buffer = buffer_new();
    struct build work = {
        .asked = LONG, .choices = { PAGE_4K, PAGE_4K }, .choice_count = 2, .started = true
    };
    struct fault fault = { 0 };

    (void)state;
    mock.pin_fails = 2;
    assert_int_equal(go_on(buffer, &work, &fault), BUILD_DONE);
    assert_int_equal(mock.begins, 2);
    assert_int_equal(mock.ends, 1);
    assert_int_equal(memory.charged, LONG);
    assert_int_equal(spans_check(buffer->spans.list, buffer->spans.count, LONG), 0);
    atomic_store(&mock.ends, 0);
    finish(buffer);
}

/* ---- kept by clients ---- */

static uint64_t bytes_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks * 512;
}

/* The mock pins nothing: its pages are made here. */
static struct buffer *build_filled(int *ret_copy)
{
    struct buffer *buffer = buffer_new();
    struct fault fault = { 0 };

    assert_int_equal(build(buffer, &fault), BUILD_DONE);
    assert_int_equal(fallocate(buffer->fd, 0, 0, LONG), 0);
    *ret_copy = fcntl(buffer->fd, F_DUPFD_CLOEXEC, 0);
    assert_true(*ret_copy >= 0);
    return buffer;
}

/* Nothing leaves before all is unpinned, and the charge goes with the last of it. */
static void shown_memory_is_emptied(void **state)
{
    static const uint64_t left[] = { LONG, LONG, LONG, LONG, LONG - BACKEND_PIECE, PAGE_4K, 0 };
    struct buffer *buffer;
    int copy;

    (void)state;
    buffer = build_filled(&copy);
    buffer->shown = true;
    for (size_t i = 0; i < ARRAY_LEN(left); i++) {
        bool empties = i > 3, last = i + 1 == ARRAY_LEN(left);

        assert_int_equal(memory.charged, LONG);
        assert_int_equal(buffer_to_empty(buffer), empties);
        assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), !last);
        assert_int_equal(bytes_of(copy), left[i]);
    }
    assert_int_equal(memory.charged, 0);
    assert_int_equal(mock.unpins, 3);
    assert_int_equal(mock.ends, 1);
    assert_int_equal(buffer->fd, -1);
    assert_false(buffer_to_empty(buffer));
    buffer_free(buffer);
    close(copy);
}

static void refused_memory_is_not_emptied(void **state)
{
    struct buffer *buffer;
    int copy;

    (void)state;
    buffer = build_filled(&copy);
    buffer->shown = true;
    assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), 1);
    atomic_store(&mock.unpins_refused, 1);
    assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), -EBUSY);
    assert_false(buffer_to_empty(buffer));
    assert_int_equal(bytes_of(copy), LONG);
    finish(buffer);
    assert_int_equal(bytes_of(copy), 0);
    close(copy);
}

/* What nobody saw is closed, which is cheaper; what a client made is the client's. */
static void other_memory_is_not_emptied(void **state)
{
    (void)state;
    for (int registered = 0; registered < 2; registered++) {
        struct buffer *buffer;
        int copy;

        atomic_store(&mock.ends, 0);
        buffer = build_filled(&copy);
        buffer->shown = buffer->registered = registered;
        finish(buffer);
        assert_int_equal(bytes_of(copy), LONG);
        close(copy);
    }
}

/* Not to be expected of a memfd of ours: another file in its place. */
static void emptying_fails(void **state)
{
    struct fault fault = { 0 };
    struct buffer *buffer;
    int copy, other;

    (void)state;
    buffer = build_filled(&copy);
    buffer->shown = true;
    for (int i = 0; i < 4; i++)
        assert_int_equal(buffer_teardown_step(buffer, &memory, &mock.base, NULL), 1);
    other = open("/dev/null", O_RDWR | O_CLOEXEC);
    assert_int_equal(dup2(other, buffer->fd), buffer->fd);
    assert_true(buffer_teardown_step(buffer, &memory, &mock.base, &fault) < 0);
    assert_int_equal(fault.code, DMABUFD_CODE_INTERNAL);
    assert_true(buffer->fd >= 0 && buffer_to_empty(buffer));
    assert_int_equal(memory.charged, LONG);
    assert_int_equal(dup2(copy, buffer->fd), buffer->fd);
    finish(buffer);
    close(copy);
    close(other);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(teardown_refused),
        TEST(teardown_refused_half_way),
        TEST(half_built_and_refused),
        TEST(cancelled_and_refused),
        TEST(no_second_choice_while_kept),
        TEST(second_choice_after_a_clean_failure),
        TEST(shown_memory_is_emptied),
        TEST(refused_memory_is_not_emptied),
        TEST(other_memory_is_not_emptied),
        TEST(emptying_fails),
    };

    return cmocka_run_group_tests_name("buffer kept", tests, NULL, NULL);
}
