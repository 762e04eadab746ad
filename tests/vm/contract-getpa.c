/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: IOMMU_IOAS_NOIOMMU_GET_PA: who may ask, what it checks in which order, and that its
 * answers are the addresses of the memory.
 */
#include "tests/vm/contract.h"

#include <linux/memfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGES_64 (64 * GUEST_PAGE)

struct passed {
    const struct context *context;
    uint64_t iova;
    uint64_t length;
};

static int ask(void *arg)
{
    const struct passed *passed = arg;
    uint64_t length = passed->length;
    uint64_t pa;

    return get_pa(passed->context->iommufd, passed->context->ioas, passed->iova, &length, &pa);
}

static int ask_at(const struct context *context, uint64_t iova, uint64_t length)
{
    struct passed passed = { .context = context, .iova = iova, .length = length };

    return ask(&passed);
}

static int take_away(void *arg)
{
    const struct passed *passed = arg;
    uint64_t length = passed->length;

    return unmap(passed->context->iommufd, passed->context->ioas, passed->iova, &length);
}

static void row_10_get_pa_needs_the_capability_every_time(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(PAGES_64, 0);
    struct passed passed = { .context = context, .length = PAGES_64 };

    passed.iova = mapped(context, fd, PAGES_64);
    assert_int_equal(as_user(GUEST_UID_CLIENT, ask, &passed), -EPERM);
    assert_int_equal(in_child(ask, &passed), 0);
    close(fd);
}

/* Why the descriptor of the memory context never leaves the keeper. */
static void row_11_passed_context_lets_anybody_unmap(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(PAGES_64, 0);
    struct passed passed = { .context = context, .length = PAGES_64 };

    passed.iova = mapped(context, fd, PAGES_64);
    assert_int_equal(new_pins(context), 64);
    assert_int_equal(as_user(GUEST_UID_CLIENT, take_away, &passed), 0);
    assert_int_equal(new_pins(context), 0);
    assert_int_equal(ask(&passed), -ENOENT);
    close(fd);
}

static void row_16_get_pa_without_domain(void **state)
{
    struct context *context = *state;
    int fd = memfd_filled(GUEST_PAGE, 0);
    uint64_t iova = mapped(context, fd, GUEST_PAGE);

    assert_int_equal(ask_at(context, iova, GUEST_PAGE), -EOPNOTSUPP);
    close(fd);
}

static void row_17_get_pa_length(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_2M, MFD_HUGETLB);
    uint64_t iova = mapped(context, fd, GUEST_2M);
    uint64_t length;
    uint64_t pa;

    assert_int_equal(ask_at(context, iova, 0), -EINVAL);
    length = 1;
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), 0);
    assert_int_equal(length, 1);
    length = UINT64_MAX;
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), 0);
    assert_int_equal(length, GUEST_2M);
    length = UINT64_MAX;
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova + 0x1234, &length, &pa), 0);
    assert_int_equal(length, GUEST_2M - 0x1234);
    length = GUEST_2M - 1;
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), 0);
    assert_int_equal(length, GUEST_2M - 1);
    close(fd);
}

static void row_18_get_pa_inside_and_at_the_end(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(PAGES_64, 0);
    uint64_t iova = mapped(context, fd, PAGES_64);
    uint64_t length = UINT64_MAX;
    uint64_t pa;

    assert_int_equal(pa_of(context, iova) % GUEST_PAGE, 0);
    assert_int_equal(pa_of(context, iova + 0x80), pa_of(context, iova) + 0x80);
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova + 63 * GUEST_PAGE, &length, &pa),
                     0);
    assert_int_equal(length, GUEST_PAGE);
    assert_int_equal(ask_at(context, iova + PAGES_64, 1), -ENOENT);
    assert_int_equal(ask_at(context, iova - 1, 1), -ENOENT);
    assert_int_equal(ask_at(context, UINT64_MAX, 1), -EOVERFLOW);
    close(fd);
}

static int ask_sized(const struct context *context, uint64_t iova, uint32_t size, uint32_t flags,
                     uint64_t tail)
{
    struct {
        struct abi_iommu_ioas_noiommu_get_pa arg;
        uint64_t tail;
    } buf = { .arg = { .size = size, .flags = flags, .ioas_id = context->ioas }, .tail = tail };

    buf.arg.iova = iova;
    buf.arg.length = 1;
    return ioctl(context->iommufd, ABI_IOMMU_IOAS_NOIOMMU_GET_PA, &buf) < 0 ? -errno : 0;
}

static void row_19_get_pa_size_and_flags(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_PAGE, 0);
    uint64_t iova = mapped(context, fd, GUEST_PAGE);

    assert_int_equal(ask_sized(context, iova, 39, 0, 0), -EINVAL);
    assert_int_equal(ask_sized(context, iova, 40, 0, 1), 0);
    assert_int_equal(ask_sized(context, iova, 48, 0, 0), 0);
    assert_int_equal(ask_sized(context, iova, 48, 0, 1), -E2BIG);
    assert_int_equal(ask_sized(context, iova, 40, 1, 0), -EOPNOTSUPP);
    close(fd);
}

/* Page by page against the process's own page table, and run by run against the page before. */
static void compare_with_pagemap(struct context *context, int fd, uint64_t size, uint64_t step)
{
    uint64_t iova = mapped(context, fd, size);
    uint8_t *memory = memory_of(fd, size);

    for (uint64_t at = 0; at < size; at += step) {
        uint64_t length = size - at;
        uint64_t pa = 0;

        *(volatile uint8_t *)(memory + at) = 1;
        assert_int_equal(get_pa(context->iommufd, context->ioas, iova + at, &length, &pa), 0);
        assert_int_equal(pa, physical(memory + at));
        assert_in_range(length, 1, size - at);
        if (length < size - at) {
            *(volatile uint8_t *)(memory + at + length) = 1;
            assert_int_not_equal(physical(memory + at + length), pa + length);
        }
        *(volatile uint8_t *)(memory + at + length - 1) = 1;
        assert_int_equal(physical(memory + at + length - 1), pa + length - 1);
    }
    munmap(memory, size);
    close(fd);
    unmap_all(context);
}

static void row_20_get_pa_is_what_pagemap_says(void **state)
{
    struct context *context = *state;

    compare_with_pagemap(context, memfd_sized(4 * GUEST_2M, 0), 4 * GUEST_2M, GUEST_PAGE);
    compare_with_pagemap(context, memfd_sized(4 * GUEST_2M, MFD_HUGETLB | MFD_HUGE_2MB),
                         4 * GUEST_2M, 8 * GUEST_PAGE);
}

static void row_20_get_pa_is_what_pagemap_says_1g(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_1G, MFD_HUGETLB | MFD_HUGE_1GB);
    uint64_t iova = mapped(context, fd, GUEST_1G);
    uint8_t *memory = memory_of(fd, GUEST_1G);
    uint64_t length = GUEST_2M;
    uint64_t pa;

    memory[0] = 1;
    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), 0);
    assert_int_equal(length, GUEST_2M);
    assert_int_equal(pa % GUEST_1G, 0);
    for (uint64_t at = 0; at < GUEST_1G; at += 16 * GUEST_2M + GUEST_PAGE) {
        assert_int_equal(pa_of(context, iova + at), physical(memory + at));
        assert_int_equal(pa_of(context, iova + at), pa + at);
    }
    assert_int_equal(new_pins(context), 1 << 18);
    munmap(memory, GUEST_1G);
    close(fd);
}

static void row_21_run_stops_where_the_area_does(void **state)
{
    struct context *context = *state;
    int fd = memfd_sized(GUEST_2M, MFD_HUGETLB);
    uint64_t first = 0x40000000;
    uint64_t second = first + GUEST_2M / 2;
    uint64_t length = GUEST_2M;
    uint64_t pa;

    assert_int_equal(
        map_file(context->iommufd, context->ioas, fd, 0, GUEST_2M / 2, MAP_RW_FIXED, &first), 0);
    assert_int_equal(map_file(context->iommufd, context->ioas, fd, GUEST_2M / 2, GUEST_2M / 2,
                              MAP_RW_FIXED, &second),
                     0);
    assert_int_equal(get_pa(context->iommufd, context->ioas, first, &length, &pa), 0);
    assert_int_equal(length, GUEST_2M / 2);
    assert_int_equal(pa_of(context, second), pa + GUEST_2M / 2);
    close(fd);
}

/* ---- row 57: one thread resolves what another maps and unmaps ---- */

struct race {
    const struct context *context;
    uint64_t iova;
    uint64_t pa[2];
    atomic_bool stop;
    long hits[2];
    long misses;
    long wrong;
};

static void *resolve_all_the_time(void *arg)
{
    struct race *race = arg;

    while (!atomic_load(&race->stop)) {
        uint64_t length = GUEST_PAGE;
        uint64_t pa = 0;
        int r = get_pa(race->context->iommufd, race->context->ioas, race->iova, &length, &pa);

        if (r == -ENOENT)
            race->misses++;
        else if (r == 0 && length == GUEST_PAGE && pa == race->pa[0])
            race->hits[0]++;
        else if (r == 0 && length == GUEST_PAGE && pa == race->pa[1])
            race->hits[1]++;
        else
            race->wrong++;
    }
    return NULL;
}

static void map_and_unmap(struct race *race, int fd)
{
    uint64_t length = GUEST_PAGE;

    assert_int_equal(map_file(race->context->iommufd, race->context->ioas, fd, 0, GUEST_PAGE,
                              MAP_RW_FIXED, &race->iova),
                     0);
    assert_int_equal(unmap(race->context->iommufd, race->context->ioas, race->iova, &length), 0);
}

static void row_57_get_pa_beside_map_and_unmap(void **state)
{
    struct context *context = *state;
    struct race race = { .context = context, .iova = 0x40000000 };
    int fd[2] = { memfd_filled(GUEST_PAGE, 0), memfd_filled(GUEST_PAGE, 0) };
    pthread_t thread;

    for (int i = 0; i < 2; i++) {
        void *memory = memory_of(fd[i], GUEST_PAGE);

        memset(memory, 1, GUEST_PAGE);
        race.pa[i] = physical(memory);
        munmap(memory, GUEST_PAGE);
    }
    assert_int_equal(pthread_create(&thread, NULL, resolve_all_the_time, &race), 0);
    for (int i = 0; i < 4000; i++)
        map_and_unmap(&race, fd[i % 2]);
    atomic_store(&race.stop, true);
    pthread_join(thread, NULL);
    print_message("# %ld and %ld found, %ld not\n", race.hits[0], race.hits[1], race.misses);
    assert_int_equal(race.wrong, 0);
    assert_true(race.hits[0] > 0 && race.hits[1] > 0 && race.misses > 0);
    close(fd[0]);
    close(fd[1]);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ATTACHED(row_10_get_pa_needs_the_capability_every_time),
        ATTACHED(row_11_passed_context_lets_anybody_unmap),
        BOUND(row_16_get_pa_without_domain),
        ATTACHED(row_17_get_pa_length),
        ATTACHED(row_18_get_pa_inside_and_at_the_end),
        ATTACHED(row_19_get_pa_size_and_flags),
        ATTACHED(row_20_get_pa_is_what_pagemap_says),
        ATTACHED(row_20_get_pa_is_what_pagemap_says_1g),
        ATTACHED(row_21_run_stops_where_the_area_does),
        ATTACHED(row_57_get_pa_beside_map_and_unmap),
        cmocka_unit_test(nothing_stays_pinned),
    };

    return cmocka_run_group_tests(tests, contract_group_setup, NULL);
}
