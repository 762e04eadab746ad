/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/memory.h: which page size, how much, and what is charged. The host's huge pages are
 * pretended, so that every answer to "how many are free" is tried; skipped where that is forbidden.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "common/cleanup.h"
#include "daemon/keeper/memory.h"
#include "tests/unit/hugepages.h"
#include "tests/unit/support.h"

static bool pretending;

static int setup(void **state)
{
    (void)state;
    pretending = hugepages_pretend_begin();
    return 0;
}

static struct memory some_memory(uint64_t limit)
{
    struct memory memory;
    struct fault fault = { 0 };

    assert_int_equal(memory_init(&memory, limit, 0, &fault), 0);
    return memory;
}

static const struct dmabufd_constraints anything;
static const struct placement anywhere;
static const struct memory host;

static void looks_at_the_host(void **state)
{
    struct memory memory = some_memory(7 * PAGE_4K);

    (void)state;
    assert_int_equal(memory.limit, 7 * PAGE_4K);
    assert_int_equal(memory.reserve, 0);
    assert_int_equal(memory.charged, 0);
    /* More than this program needs, in whole pages. */
    assert_true(memory.max_size > UINT64_C(16) << 20);
    assert_int_equal(memory.max_size % PAGE_4K, 0);
}

static void rounds_up(void **state)
{
    static const uint64_t sizes[] = { PAGE_4K, PAGE_2M, PAGE_1G };
    struct memory memory = { .max_size = UINT64_C(1) << 40 };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t page = sizes[i], got = 77;

        assert_int_equal(memory_round(&memory, 1, page, &got, NULL), 0);
        assert_int_equal(got, page);
        assert_int_equal(memory_round(&memory, page - 1, page, &got, NULL), 0);
        assert_int_equal(got, page);
        assert_int_equal(memory_round(&memory, page, page, &got, NULL), 0);
        assert_int_equal(got, page);
        assert_int_equal(memory_round(&memory, page + 1, page, &got, NULL), 0);
        assert_int_equal(got, 2 * page);
        assert_int_equal(memory_round(&memory, 3 * page, page, &got, NULL), 0);
        assert_int_equal(got, 3 * page);
    }
}

static void assert_not_rounded(const struct memory *memory, uint64_t size, uint64_t page_size,
                               int error, enum dmabufd_code code)
{
    struct fault fault = { 0 };
    uint64_t got = 77;

    assert_int_equal(memory_round(memory, size, page_size, &got, &fault), -error);
    assert_int_equal(fault.error, error);
    assert_int_equal(fault.code, code);
    assert_true(strlen(fault.text) > 10);
    assert_int_equal(got, 77);
}

static void round_refuses(void **state)
{
    struct memory small = { .max_size = 10 * PAGE_4K };
    struct memory large = { .max_size = UINT64_MAX };
    uint64_t got;

    (void)state;
    assert_not_rounded(&small, 0, PAGE_4K, EINVAL, DMABUFD_CODE_INVALID);
    assert_not_rounded(&small, 10 * PAGE_4K + 1, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_not_rounded(&small, UINT64_MAX, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_int_equal(memory_round(&small, 10 * PAGE_4K, PAGE_4K, &got, NULL), 0);
    /* What a file cannot have, or what wraps in rounding. */
    assert_not_rounded(&large, UINT64_MAX, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_not_rounded(&large, UINT64_MAX - PAGE_4K + 2, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_not_rounded(&large, UINT64_MAX - PAGE_1G + 2, PAGE_1G, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_not_rounded(&large, UINT64_C(1) << 63, PAGE_4K, E2BIG, DMABUFD_CODE_TOO_LARGE);
    assert_int_equal(memory_round(&large, (UINT64_C(1) << 63) - PAGE_4K, PAGE_4K, &got, NULL), 0);
}

static void lists_what_the_host_has(void **state)
{
    const struct hugepages both[] = { { PAGE_2M, 0, 0, 0 }, { PAGE_1G, 0, 0, 0 } };
    uint64_t sizes[4] = { 7, 7, 7, 7 };

    (void)state;
    if (!pretending)
        skip();
    hugepages_pretend(NULL, 0);
    assert_int_equal(memory_page_sizes(sizes), 1);
    assert_int_equal(sizes[0], PAGE_4K);
    assert_int_equal(sizes[1], 0);
    hugepages_pretend(both, 2);
    assert_int_equal(memory_page_sizes(sizes), 3);
    assert_int_equal(sizes[1], PAGE_2M);
    assert_int_equal(sizes[2], PAGE_1G);
    assert_int_equal(sizes[3], 0);
    hugepages_pretend(both + 1, 1);
    assert_int_equal(memory_page_sizes(sizes), 2);
    assert_int_equal(sizes[1], PAGE_1G);
    assert_int_equal(sizes[2], 0);
}

/** With so many huge pages free and promised to others, this request is tried in this order. */
struct choice {
    unsigned int free_2m, reserved_2m, free_1g, reserved_1g;
    uint64_t size;
    int count;
    uint64_t expected[3];
};

static const struct choice choices[] = {
    { 0, 0, 0, 0, 1, 1, { PAGE_4K } },
    { 0, 0, 0, 0, 8 * PAGE_1G, 1, { PAGE_4K } },
    { 9, 0, 9, 0, PAGE_2M - 1, 1, { PAGE_4K } },
    { 1, 0, 9, 0, PAGE_2M, 2, { PAGE_2M, PAGE_4K } },
    { 1, 0, 9, 0, PAGE_2M + 1, 1, { PAGE_4K } },
    { 2, 0, 9, 0, PAGE_2M + 1, 2, { PAGE_2M, PAGE_4K } },
    { 2, 1, 9, 0, PAGE_2M + 1, 1, { PAGE_4K } },
    { 3, 1, 9, 0, PAGE_2M + 1, 2, { PAGE_2M, PAGE_4K } },
    { 3, 4, 9, 0, PAGE_2M, 1, { PAGE_4K } },
    { 511, 0, 0, 0, PAGE_1G, 1, { PAGE_4K } },
    { 512, 0, 0, 0, PAGE_1G, 2, { PAGE_2M, PAGE_4K } },
    { 512, 0, 1, 0, PAGE_1G, 3, { PAGE_1G, PAGE_2M, PAGE_4K } },
    { 512, 0, 1, 1, PAGE_1G, 2, { PAGE_2M, PAGE_4K } },
    { 0, 0, 1, 0, PAGE_1G, 2, { PAGE_1G, PAGE_4K } },
    { 9999, 0, 9, 0, PAGE_1G + PAGE_4K, 2, { PAGE_2M, PAGE_4K } },
    { 0, 0, 2, 0, 3 * PAGE_1G, 1, { PAGE_4K } },
    { 0, 0, 3, 0, 3 * PAGE_1G, 2, { PAGE_1G, PAGE_4K } },
};

static void chooses_the_best_that_is_free(void **state)
{
    (void)state;
    if (!pretending)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(choices); i++) {
        const struct choice *c = &choices[i];
        const struct hugepages have[] = { { PAGE_2M, 9999, c->free_2m, c->reserved_2m },
                                          { PAGE_1G, 99, c->free_1g, c->reserved_1g } };
        uint64_t got[3] = { 0 };

        hugepages_pretend(have, 2);
        if (memory_choose(&host, c->size, 0, &anything, got, NULL) != c->count)
            fail_msg("choice %zu: wrong number", i);
        assert_memory_equal(got, c->expected, sizeof(got));
    }
}

/* What asks for long runs is better off within one large page, even a half empty one. */
static void chooses_large_pages_for_long_runs(void **state)
{
    static const struct {
        struct dmabufd_constraints constraints;
        unsigned int free_2m, free_1g;
        uint64_t size;
        int count;
        uint64_t expected[3];
    } samples[] = {
        { { .flags = DMABUFD_CONTIGUOUS }, 9, 9, PAGE_4K, 3, { PAGE_2M, PAGE_4K, PAGE_1G } },
        { { .flags = DMABUFD_CONTIGUOUS }, 0, 9, PAGE_4K, 2, { PAGE_4K, PAGE_1G } },
        { { .flags = DMABUFD_CONTIGUOUS }, 0, 0, PAGE_4K, 1, { PAGE_4K } },
        { { .max_segments = 1 }, 9, 0, PAGE_4K, 2, { PAGE_2M, PAGE_4K } },
        { { .min_span = 2 * PAGE_4K }, 9, 0, PAGE_4K, 2, { PAGE_2M, PAGE_4K } },
        { { .min_span = PAGE_4K }, 9, 9, PAGE_4K, 1, { PAGE_4K } },
        { { .alignment = 2 * PAGE_4K }, 9, 0, PAGE_4K, 2, { PAGE_2M, PAGE_4K } },
        { { .alignment = PAGE_4K, .boundary = PAGE_4K }, 9, 9, PAGE_4K, 1, { PAGE_4K } },
        { { .dma_mask = UINT32_MAX, .max_segment_size = PAGE_4K }, 9, 9, 1, 1, { PAGE_4K } },
        { { .flags = DMABUFD_CONTIGUOUS }, 999, 9, PAGE_1G, 3, { PAGE_1G, PAGE_2M, PAGE_4K } },
        { { .flags = DMABUFD_CONTIGUOUS }, 999, 9, PAGE_1G + 1, 2, { PAGE_2M, PAGE_4K } },
    };

    (void)state;
    if (!pretending)
        skip();
    for (size_t i = 0; i < ARRAY_LEN(samples); i++) {
        const struct hugepages have[] = { { PAGE_2M, 9999, samples[i].free_2m, 0 },
                                          { PAGE_1G, 99, samples[i].free_1g, 0 } };
        uint64_t got[3] = { 0 };

        hugepages_pretend(have, 2);
        if (memory_choose(&host, samples[i].size, 0, &samples[i].constraints, got, NULL) !=
            samples[i].count)
            fail_msg("choice %zu: wrong number", i);
        assert_memory_equal(got, samples[i].expected, sizeof(got));
    }
}

static void bytes_in_free_huge_pages(void **state)
{
    const struct hugepages have[] = { { PAGE_2M, 10, 5, 2 } };

    (void)state;
    if (!pretending)
        skip();
    hugepages_pretend(have, 1);
    assert_int_equal(memory_huge_free(&host, &anywhere, PAGE_2M), 3 * PAGE_2M);
    assert_int_equal(memory_huge_free(&host, &anywhere, PAGE_1G), 0);
}

/* What other nodes have is of no use to a strict one. */
static void huge_pages_of_a_node(void **state)
{
    const struct hugepages have[] = { { PAGE_2M, 30, 20, 0 } };
    const struct dmabufd_constraints strict = { .flags = DMABUFD_NODE_STRICT, .node = 1 };
    const struct dmabufd_constraints preferred = { .flags = DMABUFD_NODE_PREFERRED, .node = 1 };
    const struct placement on = placement_of(&strict), near = placement_of(&preferred);
    struct memory memory = { .nodes = { .present = 3, .folder = "/sys/kernel/mm/hugepages" } };
    struct fault fault = { 0 };
    uint64_t got[3] = { 0 };

    (void)state;
    if (!pretending)
        skip();
    hugepages_pretend(have, 1);
    hugepages_pretend_node(1, PAGE_2M, 6, 5);
    assert_int_equal(memory_huge_free(&memory, &on, PAGE_2M), 5 * PAGE_2M);
    assert_int_equal(memory_huge_free(&memory, &near, PAGE_2M), 20 * PAGE_2M);
    assert_int_equal(memory_choose(&memory, 5 * PAGE_2M, 0, &strict, got, NULL), 2);
    assert_int_equal(got[0], PAGE_2M);
    assert_int_equal(memory_choose(&memory, 6 * PAGE_2M, 0, &strict, got, NULL), 1);
    assert_int_equal(got[0], PAGE_4K);
    assert_int_equal(memory_choose(&memory, 6 * PAGE_2M, 0, &preferred, got, NULL), 2);
    assert_int_equal(memory_choose(&memory, 6 * PAGE_2M, PAGE_2M, &strict, got, &fault), -ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_HUGE_PAGES);
    assert_non_null(strstr(fault.text, "6 huge pages of 2048 KiB are needed on node 1"));
    assert_non_null(strstr(fault.text, "5 of 6 are free"));
    assert_non_null(strstr(fault.text, "/node1/hugepages/hugepages-2048kB/nr_hugepages"));
    /* With one node, it is the host that counts. */
    memory.nodes.present = 2;
    assert_int_equal(memory_huge_free(&memory, &on, PAGE_2M), 20 * PAGE_2M);
}

static void exact_page_sizes(void **state)
{
    const struct hugepages have[] = { { PAGE_2M, 10, 5, 1 }, { PAGE_1G, 1, 1, 0 } };
    uint64_t got[3] = { 0 };

    (void)state;
    assert_int_equal(memory_choose(&host, 8 * PAGE_1G, PAGE_4K, &anything, got, NULL), 1);
    assert_int_equal(got[0], PAGE_4K);
    if (!pretending)
        skip();
    hugepages_pretend(have, 2);
    assert_int_equal(memory_choose(&host, 1, PAGE_2M, &anything, got, NULL), 1);
    assert_int_equal(got[0], PAGE_2M);
    assert_int_equal(memory_choose(&host, 4 * PAGE_2M, PAGE_2M, &anything, got, NULL), 1);
    assert_int_equal(memory_choose(&host, 1, PAGE_1G, &anything, got, NULL), 1);
    assert_int_equal(got[0], PAGE_1G);
}

static void assert_not_chosen(uint64_t size, uint64_t wanted, int error, enum dmabufd_code code,
                              const char *says)
{
    struct fault fault = { 0 };
    uint64_t got[3];

    assert_int_equal(memory_choose(&host, size, wanted, &anything, got, &fault), -error);
    assert_int_equal(fault.error, error);
    assert_int_equal(fault.code, code);
    if (!strstr(fault.text, says))
        fail_msg("'%s' does not say '%s'", fault.text, says);
}

static void page_sizes_that_are_none(void **state)
{
    static const uint64_t none[] = { 1,           2048,        4095,        8192,      65536,
                                     PAGE_2M - 1, PAGE_2M * 2, PAGE_1G + 1, UINT64_MAX };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(none); i++)
        assert_not_chosen(1, none[i], EINVAL, DMABUFD_CODE_INVALID, "page size");
}

static void huge_pages_that_are_not_there(void **state)
{
    const struct hugepages have[] = { { PAGE_2M, 10, 5, 1 } };

    (void)state;
    if (!pretending)
        skip();
    hugepages_pretend(have, 1);
    assert_not_chosen(1, PAGE_1G, EOPNOTSUPP, DMABUFD_CODE_UNSUPPORTED, "1048576 KiB");
    assert_not_chosen(4 * PAGE_2M + 1, PAGE_2M, ENOMEM, DMABUFD_CODE_NO_HUGE_PAGES,
                      "5 huge pages of 2048 KiB are needed and 4 of 10 are free");
    assert_not_chosen(UINT64_MAX, PAGE_2M, ENOMEM, DMABUFD_CODE_NO_HUGE_PAGES, "nr_hugepages");
}

static void makes_a_sealed_file(void **state)
{
    struct memory memory = some_memory(10 * PAGE_4K);
    CLEANUP_FD int fd = -1;
    struct stat st;

    (void)state;
    assert_int_equal(memory_create(&memory, 3 * PAGE_4K, PAGE_4K, &fd, NULL), 0);
    assert_int_equal(fstat(fd, &st), 0);
    assert_int_equal(st.st_size, 3 * PAGE_4K);
    assert_int_equal(st.st_mode, S_IFREG | 0600);
    assert_int_equal(st.st_blocks, 0);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    assert_int_equal(fcntl(fd, F_GET_SEALS) &
                         (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL | F_SEAL_WRITE),
                     F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL);
    assert_int_equal(ftruncate(fd, 0), -1);
    assert_int_equal(errno, EPERM);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE), -1);
    assert_int_equal(errno, EPERM);
}

static void charges_to_the_byte(void **state)
{
    struct memory memory = some_memory(10 * PAGE_4K);
    size_t before = support_fds();
    struct fault fault = { 0 };
    int a = -1, b = -1, c = 77;

    (void)state;
    assert_int_equal(memory_create(&memory, 4 * PAGE_4K, PAGE_4K, &a, &fault), 0);
    assert_int_equal(memory.charged, 4 * PAGE_4K);
    assert_int_equal(memory_create(&memory, 7 * PAGE_4K, PAGE_4K, &c, &fault), -ENOMEM);
    assert_int_equal(c, 77);
    assert_int_equal(fault.error, ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_MEMORY);
    assert_non_null(strstr(fault.text, "--memory-limit"));
    assert_int_equal(memory.charged, 4 * PAGE_4K);
    assert_int_equal(memory_create(&memory, 6 * PAGE_4K, PAGE_4K, &b, &fault), 0);
    assert_int_equal(memory.charged, 10 * PAGE_4K);
    assert_int_equal(memory_create(&memory, PAGE_4K, PAGE_4K, &c, &fault), -ENOMEM);
    fd_close(&a);
    memory_release(&memory, 4 * PAGE_4K, PAGE_4K);
    assert_int_equal(memory.charged, 6 * PAGE_4K);
    fd_close(&b);
    memory_release(&memory, 6 * PAGE_4K, PAGE_4K);
    assert_int_equal(memory.charged, 0);
    assert_int_equal(support_fds(), before);
}

static void more_than_the_whole_limit(void **state)
{
    struct memory memory = some_memory(10 * PAGE_4K);
    size_t before = support_fds();
    int fd = 77;

    (void)state;
    assert_int_equal(memory_create(&memory, 11 * PAGE_4K, PAGE_4K, &fd, NULL), -ENOMEM);
    assert_int_equal(fd, 77);
    assert_int_equal(memory.charged, 0);
    assert_int_equal(support_fds(), before);
}

/* Huge pages have their own limit, the pool of the kernel. */
static void huge_pages_are_not_charged(void **state)
{
    struct memory memory = some_memory(0);
    CLEANUP_FD int fd = -1;
    int r = memory_create(&memory, PAGE_2M, PAGE_2M, &fd, NULL);

    (void)state;
    if (r == -ENODEV || r == -EINVAL || r == -ENOSYS)
        skip();
    assert_int_equal(r, 0);
    assert_int_equal(memory.charged, 0);
    memory_release(&memory, PAGE_2M, PAGE_2M);
    assert_int_equal(memory.charged, 0);
}

static void leaves_the_reserve_to_the_host(void **state)
{
    struct memory memory = some_memory(10 * PAGE_4K);
    struct fault fault = { 0 };
    CLEANUP_FD int fd = -1;

    (void)state;
    assert_int_equal(memory_create(&memory, PAGE_4K, PAGE_4K, &fd, NULL), 0);
    assert_int_equal(memory_prepare(&memory, &anywhere, fd, PAGE_4K, 0, PAGE_4K, &fault), 0);
    memory.reserve = UINT64_MAX;
    assert_int_equal(memory_prepare(&memory, &anywhere, fd, PAGE_4K, 0, PAGE_4K, &fault), -ENOMEM);
    assert_int_equal(fault.error, ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_MEMORY);
    assert_non_null(strstr(fault.text, "--memory-reserve"));
    /* All that there could be is not available either. */
    memory.reserve = 0;
    assert_int_equal(memory_prepare(&memory, &anywhere, fd, PAGE_4K, 0, UINT64_MAX, &fault),
                     -ENOMEM);
}

static void huge_pages_that_ran_out(void **state)
{
    const struct hugepages have[] = { { PAGE_2M, UINT32_MAX, UINT32_MAX, 0 } };
    struct memory memory = some_memory(0);
    struct fault fault = { 0 };
    CLEANUP_FD int fd = -1;

    (void)state;
    if (!pretending || memory_create(&memory, PAGE_2M << 20, PAGE_2M, &fd, NULL) < 0)
        skip();
    hugepages_pretend(have, 1);
    /* 2 TiB: no machine that runs this has them. */
    assert_int_equal(memory_prepare(&memory, &anywhere, fd, PAGE_2M, 0, PAGE_2M << 20, &fault),
                     -ENOMEM);
    assert_int_equal(fault.error, ENOMEM);
    assert_int_equal(fault.code, DMABUFD_CODE_NO_HUGE_PAGES);
    assert_non_null(strstr(fault.text, "1048576 huge pages"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(looks_at_the_host),
        cmocka_unit_test(rounds_up),
        cmocka_unit_test(round_refuses),
        cmocka_unit_test(lists_what_the_host_has),
        cmocka_unit_test(chooses_the_best_that_is_free),
        cmocka_unit_test(chooses_large_pages_for_long_runs),
        cmocka_unit_test(bytes_in_free_huge_pages),
        cmocka_unit_test(huge_pages_of_a_node),
        cmocka_unit_test(exact_page_sizes),
        cmocka_unit_test(page_sizes_that_are_none),
        cmocka_unit_test(huge_pages_that_are_not_there),
        cmocka_unit_test(makes_a_sealed_file),
        cmocka_unit_test(charges_to_the_byte),
        cmocka_unit_test(more_than_the_whole_limit),
        cmocka_unit_test(huge_pages_are_not_charged),
        cmocka_unit_test(leaves_the_reserve_to_the_host),
        cmocka_unit_test(huge_pages_that_ran_out),
    };

    return cmocka_run_group_tests_name("memory", tests, setup, NULL);
}
