/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device that reaches 256 MiB, on a host with eight times as much memory whose low part is mostly
 * somebody else's: a client gets buffers that the device can really reach, as its copies prove, out of
 * small pages or out of what the pool has kept. The emulated device clamps higher addresses, so that a
 * page beyond would show.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "tests/integration/harness.h"
#include "tests/integration/ready.h"
#include "tests/vm/guest.h"
#include "tests/vm/orders.h"

#define MIB  (UINT64_C(1) << 20)
#define MASK ((UINT64_C(1) << 28) - 1)
/* edu takes 100 ms for a transfer. */
#define BOUNDARIES_MAX 4U

#define LOW        (300 * MIB)
#define LOW_FREE   (10 * MIB) /* of these at most, when the others have taken all they can */
#define LEFT       (24 * MIB) /* of all memory at first, and then less and less */
#define GIVEN_BACK 7U         /* every seventh page */
#define ALONE      (200 * MIB)

#define KPAGE_BUDDY (UINT64_C(1) << 10)

/* Half a GiB, taken when all memory is whole: below the mask and above. */
#define POOL_PAGES "256"
#define POOL_BYTES (512 * MIB)

static struct daemon daemon_of_group;
static struct edu edu;

/* The process that was there first. */
struct eater {
    bool fragments; /* leaves pages alone above, too: the kernel prefers them to whole blocks */
    int ready;
    int go;
    int others_go; /* our copy of the other end */
};

static bool is_low(uint64_t entry)
{
    return (entry & PAGEMAP_FRAME) * GUEST_PAGE < LOW;
}

/* The page table entries of @pages at @memory. */
static uint64_t *entries_of(const unsigned char *memory, uint64_t pages)
{
    size_t size = pages * sizeof(uint64_t), done = 0;
    off_t start = (off_t)((uintptr_t)memory / GUEST_PAGE * sizeof(uint64_t));
    int fd = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    char *entries = malloc(size);

    while (entries && done < size) {
        ssize_t n = pread(fd, entries + done, size - done, start + (off_t)done);

        if (n <= 0)
            return NULL;
        done += (size_t)n;
    }
    close(fd);
    return (uint64_t *)(void *)entries;
}

/* What nobody has of the lowest memory, bytes: the rest is the kernel's, or taken. What is in the lists
 * of the CPUs, 1 MiB each, does not show. */
static uint64_t low_and_free(void)
{
    uint64_t flags[512], pages = 0;
    int fd = open("/proc/kpageflags", O_RDONLY | O_CLOEXEC);

    for (uint64_t at = 0; at < LOW / GUEST_PAGE; at += ARRAY_LEN(flags)) {
        if (pread(fd, flags, sizeof(flags), (off_t)(at * sizeof(flags[0]))) != sizeof(flags))
            return UINT64_MAX;
        for (size_t i = 0; i < ARRAY_LEN(flags); i++)
            pages += at + i < LOW / GUEST_PAGE && (flags[i] & KPAGE_BUDDY);
    }
    close(fd);
    return pages * GUEST_PAGE;
}

static void give_back(unsigned char *page)
{
    madvise(page, GUEST_PAGE, MADV_DONTNEED);
}

static uint64_t all_free(void)
{
    return (uint64_t)number_in("/proc/meminfo", "MemFree:") << 10;
}

/* Take nearly all memory, until at least 290 MiB of the lowest 300 are ours, or the kernel's, or the
 * pool's. Return: how much; 0: that is not to be had. */
static uint64_t take(unsigned char *memory, uint64_t most)
{
    uint64_t size = most - LEFT, low_free;

    if (madvise(memory, size, MADV_POPULATE_WRITE) < 0)
        return 0;
    while ((low_free = low_and_free()) > LOW_FREE && all_free() > 6 * MIB) {
        if (madvise(memory + size, MIB, MADV_POPULATE_WRITE) < 0)
            return 0;
        size += MIB;
    }
    fprintf(stderr, "# of the lowest 300 MiB, %llu KiB are free\n",
            (unsigned long long)low_free >> 10);
    return low_free <= LOW_FREE ? size : 0;
}

/* Then keep what is low but for every seventh page, and of the rest nothing, or every second page of a
 * part. */
static int eat(void *data)
{
    const struct eater *eater = data;
    uint64_t most = all_free(), low = 0, high = 0, pages;
    unsigned char *memory =
        mmap(NULL, most, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *entries;
    char go = 0;

    close(eater->others_go);
    CHECK(memory != MAP_FAILED && madvise(memory, most, MADV_NOHUGEPAGE) == 0);
    pages = take(memory, most) / GUEST_PAGE;
    CHECK(pages > 0);
    entries = entries_of(memory, pages);
    CHECK(entries);
    for (uint64_t i = 0; i < pages; i++) {
        if (is_low(entries[i]) && ++low % GIVEN_BACK == 0)
            give_back(memory + i * GUEST_PAGE);
    }
    for (uint64_t i = 0; i < pages; i++) {
        if (!is_low(entries[i]) && (!eater->fragments || ++high % 2 || high > ALONE / GUEST_PAGE))
            give_back(memory + i * GUEST_PAGE);
    }
    free(entries);
    fprintf(stderr, "# %llu MiB of them were taken\n",
            (unsigned long long)(low * GUEST_PAGE >> 20));
    CHECK(write_all(eater->ready, &go, 1));
    read_all(eater->go, &go, 1);
    return 0;
}

static struct eater eater;
static pid_t eater_pid;
static int eater_pipes[2][2];

static void let_eat(bool fragments)
{
    char ready;

    assert_int_equal(pipe2(eater_pipes[0], O_CLOEXEC) + pipe2(eater_pipes[1], O_CLOEXEC), 0);
    eater = (struct eater){ fragments, eater_pipes[0][1], eater_pipes[1][0], eater_pipes[1][1] };
    eater_pid = spawn_as(0, eat, &eater);
    close(eater_pipes[0][1]);
    assert_true(read_all(eater_pipes[0][0], &ready, 1));
}

static int end_eating(void **state)
{
    (void)state;
    close(eater_pipes[1][1]);
    assert_int_equal(join(eater_pid), 0);
    close(eater_pipes[0][0]);
    close(eater_pipes[1][0]);
    return 0;
}

/* The kernel keeps back 45 MiB, some of it in the lowest 16, and lists of free pages for each CPU. */
static void let_all_be_taken(void)
{
    assert_int_equal(write_file("/proc/sys/vm/lowmem_reserve_ratio", "0 0 0"), 0);
    assert_int_equal(write_file("/proc/sys/vm/watermark_boost_factor", "0"), 0);
    assert_int_equal(write_file("/proc/sys/vm/min_free_kbytes", "2048"), 0);
    assert_int_equal(write_file("/proc/sys/vm/percpu_pagelist_high_fraction", "100000"), 0);
}

static int start(void **state)
{
    const char *const args[] = { "--debug", NULL };
    struct bdf worker;

    (void)state;
    let_all_be_taken();
    assert_int_equal(pci_find(PCI_ID_EDU, 1, &worker), 0);
    daemon_start(&daemon_of_group, args);
    assert_int_equal(edu_open(&edu, &worker), 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    edu_close(&edu);
    daemon_stop(&daemon_of_group);
    return 0;
}

static bool all_within(const dmabufd_buffer *buffer)
{
    size_t count;
    const struct dmabufd_span *spans = dmabufd_buffer_spans(buffer, &count);

    for (size_t i = 0; i < count; i++) {
        if (spans[i].dma_addr + spans[i].length - 1 > MASK)
            return false;
    }
    return true;
}

struct plan {
    int sock;
    uint64_t size;
    uint64_t page_size; /* 0: any */
};

static int client(void *data)
{
    const struct dmabufd_constraints reach = { .dma_mask = MASK };
    const struct plan *plan = data;
    dmabufd_buffer *from, *to;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc_constrained(d, plan->size, plan->page_size, &reach, &from) == 0);
    CHECK(dmabufd_alloc_constrained(d, plan->size, plan->page_size, &reach, &to) == 0);
    CHECK(all_within(from) && all_within(to));
    order_fill(from, 1);
    CHECK(order_places(plan->sock, from, to, BOUNDARIES_MAX) == 0);
    CHECK(orders_end(plan->sock) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void prove(uint64_t size, uint64_t page_size)
{
    struct plan plan = { .size = size, .page_size = page_size };
    struct leftovers before;
    int pair[2];
    pid_t pid;

    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    plan.sock = pair[1];
    pid = spawn_as(GUEST_UID_CLIENT, client, &plan);
    close(pair[1]);
    orders_serve(&edu, pair[0]);
    assert_int_equal(join(pid), 0);
    close(pair[0]);
    leftovers_settle(&daemon_of_group, &before);
}

static unsigned int searches(void)
{
    return daemon_log_count(&daemon_of_group, "small pages were searched");
}

static void reachable(void)
{
    prove(64 << 10, 4096);
    prove(MIB, 4096);
    prove(4 * MIB, 4096);
}

/* The kernel gives pages alone first, whether the device reaches them or not. There are some above. */
static void among_scattered_pages(void **state)
{
    unsigned int before = searches();

    (void)state;
    let_eat(false);
    reachable();
    assert_true(searches() > before);
}

/* With many of those, nothing is met without a search. */
static void behind_others(void **state)
{
    unsigned int before = searches();

    (void)state;
    let_eat(true);
    reachable();
    assert_true(searches() >= before + 3);
}

/* Pages that lie together: the kernel gives them in a row, but begins anywhere. */
static int together(void *data)
{
    const struct dmabufd_constraints runs = { .min_span = 16384 }, aligned = { .alignment = 8192 };
    const struct dmabufd_span *spans;
    dmabufd_buffer *buffer;
    size_t count;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc_constrained(d, MIB, 4096, &runs, &buffer) == 0);
    spans = dmabufd_buffer_spans(buffer, &count);
    for (size_t i = 0; i + 1 < count; i++)
        CHECK(spans[i].length >= 16384);
    CHECK(dmabufd_alloc_constrained(d, MIB, 4096, &aligned, &buffer) == 0);
    spans = dmabufd_buffer_spans(buffer, &count);
    for (size_t i = 0; i < count; i++)
        CHECK(spans[i].dma_addr % 8192 == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void runs_and_alignment(void **state)
{
    struct leftovers before;

    (void)state;
    let_eat(true);
    leftovers_read(&daemon_of_group, &before);
    run_as(GUEST_UID_CLIENT, together, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

static int more_than_there_is(void *data)
{
    const struct dmabufd_constraints reach = { .dma_mask = MASK };
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc_constrained(d, 128 * MIB, 4096, &reach, &buffer) == -ENOSPC);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_CONSTRAINTS);
    CHECK(strstr(dmabufd_last_error(), "small pages were searched"));
    CHECK(strstr(dmabufd_last_error(), "the best: "));
    CHECK(strstr(dmabufd_last_error(), "mask 0xfffffff"));
    dmabufd_disconnect(d);
    return 0;
}

static void refused_with_what_came_closest(void **state)
{
    struct leftovers before;

    (void)state;
    let_eat(false);
    leftovers_read(&daemon_of_group, &before);
    run_as(GUEST_UID_CLIENT, more_than_there_is, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

static int start_with_pool(void **state)
{
    static const char *const args[] = { "--debug", "--pool=2M:" POOL_PAGES, NULL };
    dmabufd *d;

    (void)state;
    daemon_stop(&daemon_of_group);
    assert_int_equal(write_file("/proc/sys/vm/nr_hugepages", POOL_PAGES), 0);
    daemon_start(&daemon_of_group, args);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    ready_await(d);
    assert_int_equal(ready_look(d).ready, POOL_BYTES);
    dmabufd_disconnect(d);
    return 0;
}

static int stop_with_pool(void **state)
{
    static const char *const args[] = { "--debug", NULL };

    daemon_stop(&daemon_of_group);
    assert_int_equal(write_file("/proc/sys/vm/nr_hugepages", "0"), 0);
    daemon_start(&daemon_of_group, args);
    return end_eating(state);
}

/* Whether something that is ready is below the mask, and something above. */
static void look_at_addresses(dmabufd *d, bool *ret_low, bool *ret_high)
{
    struct dmabufd_pool_map map;

    *ret_low = *ret_high = false;
    assert_int_equal(dmabufd_pool_get_map(d, &map), 0);
    for (uint32_t i = 0; i < map.count; i++) {
        if (map.ready[i] > 0 && (i + 1) * map.cell - 1 <= MASK)
            *ret_low = true;
        if (map.ready[i] > 0 && i * map.cell > MASK)
            *ret_high = true;
    }
}

/* Two buffers of each, below the mask, though the pool has memory above it, too. */
static void out_of_the_pool(void **state)
{
    const uint64_t sizes[] = { 64 << 10, 2 * MIB, 4 * MIB };
    unsigned int before = searches();
    bool low, high;
    dmabufd *d;

    (void)state;
    let_eat(true);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        uint64_t grants = ready_look(d).grants, misses = ready_look(d).misses;

        look_at_addresses(d, &low, &high);
        assert_true(low && high);
        prove(sizes[i], 0);
        assert_int_equal(ready_look(d).grants, grants + 2);
        assert_int_equal(ready_look(d).misses, misses);
        ready_await(d);
    }
    assert_int_equal(searches(), before);
    dmabufd_disconnect(d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        /* The first, while memory is whole. */
        cmocka_unit_test_setup_teardown(out_of_the_pool, start_with_pool, stop_with_pool),
        cmocka_unit_test_teardown(among_scattered_pages, end_eating),
        cmocka_unit_test_teardown(behind_others, end_eating),
        cmocka_unit_test_teardown(runs_and_alignment, end_eating),
        cmocka_unit_test_teardown(refused_with_what_came_closest, end_eating),
    };

    return cmocka_run_group_tests_name("lowmem", tests, start, stop);
}
