/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The proof: a device writes into a client's memory at the addresses that dmabufd told it.
 *
 * The client is another user without capabilities and without access to any device node; it makes a
 * pattern and reads the result. The test's root side only drives the device: edu copies from the
 * addresses of one buffer to those of another, and across every boundary between two spans of either,
 * or, of a buffer that has hundreds of them, across the first, the last and many others.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/ready.h"
#include "tests/vm/guest.h"
#include "tests/vm/orders.h"

#define MIB (UINT64_C(1) << 20)
/* edu takes 100 ms for a transfer: several of them work at the same time. */
#define EDUS_MAX 8U
/* Of each buffer, if it has more. */
#define BOUNDARIES_MAX 65U

#define HUGE (2 * MIB)

/* Huge pages that are ready; the other ones are for buffers of sizes that the pool does not have. */
static const char *const with_pool[] = { "--pool=2M:24", NULL };
static struct daemon daemon_of_group;
static struct edu edus[EDUS_MAX];
static size_t edu_count;

static int start(void **state)
{
    struct bdf worker;
    dmabufd *d;

    (void)state;
    daemon_start_with(&daemon_of_group, "iommufd", with_pool);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    ready_await(d);
    dmabufd_disconnect(d);
    /* The first one is the daemon's. */
    while (edu_count < EDUS_MAX && pci_find(PCI_ID_EDU, (unsigned int)edu_count + 1, &worker) == 0)
        assert_int_equal(edu_open(&edus[edu_count++], &worker), 0);
    assert_true(edu_count > 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    while (edu_count > 0)
        edu_close(&edus[--edu_count]);
    daemon_stop(&daemon_of_group);
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
    size_t spans_min; /* of either buffer */
    struct dmabufd_constraints constraints;
    bool needs_chunks; /* files that are no boundary for the device, but for the mapping */
};

/* Across each place where one file of the buffer ends and the next one begins. */
static int copy_across_chunks(const struct plan *plan, dmabufd_buffer *from, dmabufd_buffer *to)
{
    CHECK(dmabufd_buffer_chunk_count(from) > 1 && dmabufd_buffer_chunk_count(to) > 1);
    for (uint64_t at = HUGE; at < plan->size; at += HUGE)
        CHECK(order_edge(plan->sock, from, to, at, 1) == 0);
    return 0;
}

static bool has_spans(const struct plan *plan, dmabufd_buffer *buffer)
{
    size_t count;

    dmabufd_buffer_spans(buffer, &count);
    fprintf(stderr, "# %zu spans in %llu bytes\n", count, (unsigned long long)plan->size);
    return count >= plan->spans_min;
}

static int client(void *data)
{
    const struct plan *plan = data;
    dmabufd_buffer *from, *to;
    dmabufd *d;

    CHECK(no_device_nodes() == 0);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_get_info(d)->mode == DMABUFD_MODE_PA);
    CHECK(dmabufd_alloc_constrained(d, plan->size, plan->page_size, &plan->constraints, &from) ==
          0);
    CHECK(dmabufd_alloc_constrained(d, plan->size, plan->page_size, &plan->constraints, &to) == 0);
    CHECK(dmabufd_buffer_pin(to) == DMABUFD_PIN_LONGTERM);
    CHECK(has_spans(plan, from) && has_spans(plan, to));
    order_fill(from, 1);
    if (plan->needs_chunks)
        CHECK(copy_across_chunks(plan, from, to) == 0);
    else
        CHECK(order_boundaries(plan->sock, from, to, BOUNDARIES_MAX) == 0 &&
              order_places(plan->sock, from, to, 0) == 0);
    CHECK(orders_end(plan->sock) == 0);
    dmabufd_disconnect(d);
    return 0;
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
    orders_serve_by(edus, edu_count, pair[0]);
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

#define ANY_CPU SIZE_MAX

static void on_cpu(size_t cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    for (size_t i = 0; i < CPU_SETSIZE; i++) {
        if (cpu == ANY_CPU || i == cpu)
            CPU_SET(i, &set);
    }
    assert_int_equal(sched_setaffinity(0, sizeof(set), &set), 0);
}

/*
 * Somebody's memory lies between: take pages and give back every second @run of them. They are taken
 * as the kernel takes those that it pins, which it keeps apart from others that could be moved; and
 * given back half on each of two CPUs, since each has a store of its own.
 */
static int make_holes(uint64_t pages, uint64_t run)
{
    int fd = memfd_sized(pages * GUEST_PAGE, 0);
    struct udmabuf_create create = { .memfd = (uint32_t)fd, .size = pages * GUEST_PAGE };
    int device = open("/dev/udmabuf", O_RDWR | O_CLOEXEC), pin;

    assert_true(device >= 0);
    assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
    pin = ioctl(device, UDMABUF_CREATE, &create);
    assert_true(pin >= 0);
    close(pin);
    close(device);
    for (uint64_t i = 0; i < pages / run; i += 2) {
        on_cpu(i >= pages / run / 2);
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                   (off_t)(i * run * GUEST_PAGE), (off_t)(run * GUEST_PAGE)),
                         0);
    }
    on_cpu(ANY_CPU);
    return fd;
}

/* All the boundaries of both buffers. */
static void dma_many_spans(void **state)
{
    struct plan plan = { .size = MIB / 4, .page_size = 4096, .spans_min = 20 };
    int holes = make_holes(4096, 1);

    (void)state;
    prove(&plan);
    close(holes);
}

static void dma_64m_small_pages(void **state)
{
    struct plan plan = { .size = 64 * MIB, .page_size = 4096, .spans_min = 200 };
    int holes = make_holes(81920, 32);

    (void)state;
    prove(&plan);
    close(holes);
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

/* 6 MiB is no size of a file of the pool: several that lie in a row. */
static void dma_contiguous_chunks(void **state)
{
    struct plan plan = { .size = 3 * HUGE,
                         .constraints = { .flags = DMABUFD_CONTIGUOUS },
                         .needs_chunks = true };

    (void)state;
    prove(&plan);
}

/* And 10 MiB of which no more is asked than few segments. */
static void dma_chunks_anywhere(void **state)
{
    struct plan plan = { .size = 5 * HUGE,
                         .constraints = { .max_segments = 5 },
                         .needs_chunks = true };

    (void)state;
    prove(&plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(dma_4k),
        cmocka_unit_test(dma_2m_small_pages),
        cmocka_unit_test(dma_many_spans),
        cmocka_unit_test(dma_64m_small_pages),
        cmocka_unit_test(dma_2m_huge_page),
        cmocka_unit_test(dma_64m_huge_pages),
        cmocka_unit_test(dma_contiguous_chunks),
        cmocka_unit_test(dma_chunks_anywhere),
    };

    return cmocka_run_group_tests_name("dma", tests, start, stop);
}
