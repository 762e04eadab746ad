/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: a MAP_FILE that fails half-way leaves no pin behind and takes none away, wherever the
 * kernel ran out of memory, as long as one call maps at most 8192 pages.
 *
 * Above that, Linux 7.3 can give back more pins than it took (and memory in use with them), which
 * is why the daemon maps 4 KiB pages in steps of 32 MiB. That is not shown here: the guest could
 * not be trusted afterwards. Needs a kernel with fault injection.
 */
#include "tests/vm/contract.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES   UINT64_C(8192)
#define SIZE    (PAGES * GUEST_PAGE)
#define DEBUGFS "/sys/kernel/debug/"

/* Two files whose pages come alternately, so that no page of either is beside its next. */
static void make_scattered(int fd[2])
{
    fd[0] = memfd_sized(SIZE, 0);
    fd[1] = memfd_sized(SIZE, 0);
    for (uint64_t at = 0; at < SIZE; at += GUEST_PAGE) {
        assert_int_equal(fallocate(fd[0], 0, (off_t)at, (off_t)GUEST_PAGE), 0);
        assert_int_equal(fallocate(fd[1], 0, (off_t)at, (off_t)GUEST_PAGE), 0);
    }
}

static uint64_t count_runs(const struct context *context, uint64_t iova)
{
    uint64_t runs = 0;

    for (uint64_t at = 0; at < SIZE; runs++) {
        uint64_t length = SIZE - at;
        uint64_t pa;

        assert_int_equal(get_pa(context->iommufd, context->ioas, iova + at, &length, &pa), 0);
        at += length;
    }
    return runs;
}

/*
 * Let the @nth allocation of this thread from now on fail; 0 ends it. @order stays open between the
 * calls, since opening it is an allocation as well.
 */
static void fail_nth(int order, unsigned int nth)
{
    char text[16];
    int n = snprintf(text, sizeof(text), "%u", nth);

    assert_int_equal(pwrite(order, text, (size_t)n, 0), n);
}

/* Whether the failure that was ordered is still to come: the call made fewer allocations. */
static bool still_ordered(int order)
{
    char text[16] = "";

    assert_true(pread(order, text, sizeof(text) - 1, 0) > 0);
    return text[0] != '0';
}

static void row_55_failed_map_file_keeps_the_count(void **state)
{
    struct context *context = *state;
    unsigned int failed = 0;
    unsigned int survived = 0;
    bool finished = false;
    int order = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
    uint64_t iova;
    int fd[2];

    assert_true(order >= 0);
    make_scattered(fd);
    iova = mapped(context, fd[0], SIZE);
    assert_in_range(count_runs(context, iova), PAGES / 2, PAGES);
    unmap_all(context);
    for (unsigned int nth = 1; !finished; nth++) {
        int r;

        fail_nth(order, nth);
        r = map_file(context->iommufd, context->ioas, fd[0], 0, SIZE, MAP_RW, &iova);
        finished = still_ordered(order);
        fail_nth(order, 0);
        if (r == 0) {
            survived++;
            assert_int_equal(new_pins(context), PAGES);
            unmap_all(context);
        } else {
            failed++;
            assert_int_equal(r, -ENOMEM);
        }
        assert_int_equal(new_pins(context), 0);
    }
    print_message("# %u of the allocations made it fail, %u did not\n", failed, survived - 1);
    /* Each 2 MiB of address space has a table of its own. */
    assert_true(failed >= 16);
    close(order);
    close(fd[0]);
    close(fd[1]);
}

/* Without these, only failures that no caller could notice would be injected. */
static int enable_injection(void **state)
{
    const char *const files[][2] = {
        { DEBUGFS "failslab/ignore-gfp-wait", "0" },
        { DEBUGFS "failslab/verbose", "0" },
        { DEBUGFS "fail_page_alloc/ignore-gfp-wait", "0" },
        { DEBUGFS "fail_page_alloc/min-order", "0" },
        { DEBUGFS "fail_page_alloc/verbose", "0" },
    };

    for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
        if (write_file(files[i][0], files[i][1]) < 0) {
            print_message("# cannot write %s\n", files[i][0]);
            return -1;
        }
    }
    return contract_group_setup(state);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(row_55_failed_map_file_keeps_the_count),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, enable_injection, NULL);
}
