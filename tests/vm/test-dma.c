/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The proof: a device writes into a client's memory at the addresses that dmabufd told it.
 *
 * The client is another user without capabilities and without access to any device node; it makes a
 * pattern and reads the result. The test's root side only drives the device: edu copies from the
 * addresses of one buffer to those of another, and across every boundary between two spans.
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

#define MIB (UINT64_C(1) << 20)
/* edu takes 100 ms for a transfer. */
#define BOUNDARIES_MAX 6U
#define EDGE           64U

static struct daemon daemon_of_group;
static struct edu edu;

/* "Copy this for me": from a client to the root side. */
struct order {
    uint64_t source;
    uint64_t destination;
    uint64_t length; /* 0: that was all */
};

static int start(void **state)
{
    struct bdf worker;

    (void)state;
    assert_int_equal(pci_find(PCI_ID_EDU, 1, &worker), 0);
    daemon_start_with(&daemon_of_group, "iommufd", NULL);
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

static unsigned char pattern(uint64_t offset, unsigned int seed)
{
    return (unsigned char)(offset * 31 + (offset >> 12) * 7 + seed);
}

static void fill(unsigned char *data, uint64_t size, unsigned int seed)
{
    for (uint64_t i = 0; i < size; i++)
        data[i] = pattern(i, seed);
}

/* One contiguous piece, by the device. */
static int copy(int sock, uint64_t source, uint64_t destination, uint64_t length)
{
    struct order order = { source, destination, length };
    int result = -1;

    CHECK(write_all(sock, &order, sizeof(order)));
    CHECK(read_all(sock, &result, sizeof(result)));
    CHECK(result == 0);
    return 0;
}

/* Source range to destination range, cut wherever either list has a boundary. */
static int copy_range(int sock, dmabufd_buffer *source, uint64_t source_offset,
                      dmabufd_buffer *destination, uint64_t destination_offset, uint64_t length)
{
    while (length > 0) {
        uint64_t from, from_length, to, to_length, now = length;

        CHECK(dmabufd_buffer_translate(source, source_offset, &from, &from_length) == 0);
        CHECK(dmabufd_buffer_translate(destination, destination_offset, &to, &to_length) == 0);
        now = now < from_length ? now : from_length;
        now = now < to_length ? now : to_length;
        CHECK(copy(sock, from, to, now) == 0);
        source_offset += now;
        destination_offset += now;
        length -= now;
    }
    return 0;
}

/* The edge must have come over, and nothing around it been touched. */
static int check_edge(const unsigned char *data, uint64_t at, unsigned int seed)
{
    for (uint64_t i = at - EDGE; i < at + EDGE; i++)
        CHECK(data[i] == pattern(i, seed));
    CHECK(data[at - EDGE - 1] == 0 && data[at + EDGE] == 0);
    return 0;
}

static int no_device_nodes(void)
{
    CHECK(open("/dev/iommu", O_RDWR) < 0 && errno == EACCES);
    CHECK(open("/dev/vfio/devices/noiommu-vfio0", O_RDWR) < 0 && errno == EACCES);
    CHECK(open("/dev/vfio/devices/noiommu-vfio1", O_RDWR) < 0 && errno == EACCES);
    return 0;
}

struct plan {
    int sock;
    uint64_t size;
    uint64_t page_size;
    bool needs_boundaries;
};

/* Ends and middle, and around every boundary between spans (of the first few). */
static int copy_interesting_places(const struct plan *plan, dmabufd_buffer *from,
                                   dmabufd_buffer *to)
{
    unsigned char *result = dmabufd_buffer_data(to);
    const struct dmabufd_span *spans;
    size_t count;

    CHECK(copy_range(plan->sock, from, 0, to, 0, 1) == 0);
    CHECK(result[0] == pattern(0, 1) && result[1] == 0);
    CHECK(copy_range(plan->sock, from, plan->size - 16, to, plan->size - 16, 16) == 0);
    CHECK(result[plan->size - 1] == pattern(plan->size - 1, 1) && result[plan->size - 17] == 0);
    CHECK(copy_range(plan->sock, from, plan->size / 2 - EDGE, to, plan->size / 2 - EDGE,
                     2 * EDGE) == 0);
    CHECK(check_edge(result, plan->size / 2, 1) == 0);
    spans = dmabufd_buffer_spans(to, &count);
    CHECK(!plan->needs_boundaries || count > 1);
    for (size_t i = 1; i < count && i <= BOUNDARIES_MAX; i++) {
        uint64_t at = spans[i].offset;

        CHECK(copy_range(plan->sock, from, at - EDGE, to, at - EDGE, 2 * EDGE) == 0);
        CHECK(check_edge(result, at, 1) == 0);
    }
    return 0;
}

static int client(void *data)
{
    const struct plan *plan = data;
    dmabufd_buffer *from, *to;
    struct order end = { 0 };
    dmabufd *d;

    CHECK(no_device_nodes() == 0);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_get_info(d)->mode == DMABUFD_MODE_PA);
    CHECK(dmabufd_alloc(d, plan->size, plan->page_size, &from) == 0);
    CHECK(dmabufd_alloc(d, plan->size, plan->page_size, &to) == 0);
    CHECK(dmabufd_buffer_pin(to) == DMABUFD_PIN_LONGTERM);
    fill(dmabufd_buffer_data(from), plan->size, 1);
    CHECK(copy_interesting_places(plan, from, to) == 0);
    CHECK(write_all(plan->sock, &end, sizeof(end)));
    dmabufd_disconnect(d);
    return 0;
}

static void serve_orders(int sock)
{
    struct order order;

    while (read_all(sock, &order, sizeof(order)) && order.length > 0) {
        int result = edu_copy(&edu, order.source, order.destination, order.length);

        assert_true(write_all(sock, &result, sizeof(result)));
    }
}

static void prove(struct plan *plan)
{
    struct leftovers before;
    int pair[2];
    pid_t pid;

    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    plan->sock = pair[1];
    pid = spawn_as(GUEST_UID_CLIENT, client, plan);
    close(pair[1]);
    serve_orders(pair[0]);
    assert_int_equal(join(pid), 0);
    close(pair[0]);
    leftovers_settle(&daemon_of_group, &before);
}

static void dma_4k(void **state)
{
    struct plan plan = { .size = 4096, .page_size = 4096 };

    (void)state;
    prove(&plan);
}

static void dma_2m_small_pages(void **state)
{
    struct plan plan = { .size = 2 * MIB, .page_size = 4096 };

    (void)state;
    prove(&plan);
}

/* Other processes' memory lies between: take pages in turns and give every second one back. */
static void *make_holes(size_t pages)
{
    unsigned char *memory = mmap(NULL, pages * 4096, PROT_READ | PROT_WRITE,
                                 MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

    assert_true(memory != MAP_FAILED);
    madvise(memory, pages * 4096, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < pages; i += 2)
        madvise(memory + i * 4096, 4096, MADV_DONTNEED);
    return memory;
}

static void dma_64m_small_pages(void **state)
{
    struct plan plan = { .size = 64 * MIB, .page_size = 4096, .needs_boundaries = true };
    void *holes = make_holes(8192);

    (void)state;
    prove(&plan);
    munmap(holes, 8192 * 4096);
}

static void dma_2m_huge_page(void **state)
{
    struct plan plan = { .size = 2 * MIB, .page_size = 2 * MIB };

    (void)state;
    prove(&plan);
}

static void dma_64m_huge_pages(void **state)
{
    struct plan plan = { .size = 64 * MIB, .page_size = 2 * MIB };

    (void)state;
    prove(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dma_4k),
        cmocka_unit_test(dma_2m_small_pages),
        cmocka_unit_test(dma_64m_small_pages),
        cmocka_unit_test(dma_2m_huge_page),
        cmocka_unit_test(dma_64m_huge_pages),
    };

    return cmocka_run_group_tests_name("dma", tests, start, stop);
}
