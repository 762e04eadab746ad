/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A device that reaches 256 MiB, on a host with eight times as much memory whose low part is mostly
 * somebody else's: a client gets buffers of small pages that the device can really reach, as its
 * copies prove. The emulated device clamps higher addresses, so that a page beyond would show.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/vm/guest.h"
#include "tests/vm/orders.h"

#define MIB  (UINT64_C(1) << 20)
#define MASK ((UINT64_C(1) << 28) - 1)
/* edu takes 100 ms for a transfer. */
#define BOUNDARIES_MAX 4U

#define LOW        (300 * MIB)
#define GIVEN_BACK 7U /* every seventh page */
#define ALONE      (200 * MIB)

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

static void give_back(unsigned char *page)
{
    madvise(page, GUEST_PAGE, MADV_DONTNEED);
}

/* Takes nearly all memory, keeps what is low but for every seventh page, and of the rest nothing, or
 * every second page of a part. */
static int eat(void *data)
{
    const struct eater *eater = data;
    uint64_t size = ((uint64_t)number_in("/proc/meminfo", "MemFree:") << 10) - 128 * MIB;
    uint64_t pages = size / GUEST_PAGE, low = 0, high = 0;
    unsigned char *memory =
        mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint64_t *entries;
    char go = 0;

    close(eater->others_go);
    CHECK(memory != MAP_FAILED && madvise(memory, size, MADV_NOHUGEPAGE) == 0);
    CHECK(madvise(memory, size, MADV_POPULATE_WRITE) == 0);
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
    CHECK(low > LOW / GUEST_PAGE / 2);
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

static int start(void **state)
{
    const char *const args[] = { "--debug", NULL };
    struct bdf worker;

    (void)state;
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
};

static int client(void *data)
{
    const struct dmabufd_constraints reach = { .dma_mask = MASK };
    const struct plan *plan = data;
    dmabufd_buffer *from, *to;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc_constrained(d, plan->size, 4096, &reach, &from) == 0);
    CHECK(dmabufd_alloc_constrained(d, plan->size, 4096, &reach, &to) == 0);
    CHECK(all_within(from) && all_within(to));
    order_fill(from, 1);
    CHECK(order_places(plan->sock, from, to, BOUNDARIES_MAX) == 0);
    CHECK(orders_end(plan->sock) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void prove(uint64_t size)
{
    struct plan plan = { .size = size };
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

/* The kernel gives pages alone first, whether the device reaches them or not: with some of those above,
 * nothing is met without a search. */
static void reachable(bool fragments)
{
    unsigned int before = daemon_log_count(&daemon_of_group, "small pages were searched");

    let_eat(fragments);
    prove(64 << 10);
    prove(MIB);
    prove(4 * MIB);
    if (fragments)
        assert_true(daemon_log_count(&daemon_of_group, "small pages were searched") >= before + 3);
}

static void among_scattered_pages(void **state)
{
    (void)state;
    reachable(false);
}

static void behind_others(void **state)
{
    (void)state;
    reachable(true);
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(among_scattered_pages, end_eating),
        cmocka_unit_test_teardown(behind_others, end_eating),
        cmocka_unit_test_teardown(runs_and_alignment, end_eating),
        cmocka_unit_test_teardown(refused_with_what_came_closest, end_eating),
    };

    return cmocka_run_group_tests_name("lowmem", tests, start, stop);
}
