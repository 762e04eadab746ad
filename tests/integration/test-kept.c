/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Kept: clients that give a buffer back, or leave, and keep its descriptor and its mapping. The pages
 * are gone all the same, so --memory-limit holds.
 *
 * A file tells how many pages it has (st_blocks), whatever else the host does.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/own.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

#define HUGE (2 * MIB)
#define SIZE (48 * MIB)

static const char *const limited[] = { "--memory-limit=64M", "--memory-limit-per-user=64M", NULL };
static struct daemon daemon_of_test;

static int start(void **state)
{
    (void)state;
    daemon_start(&daemon_of_test, limited);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    daemon_stop(&daemon_of_test);
    return 0;
}

static uint64_t pages_of(int fd)
{
    struct stat st;

    assert_int_equal(fstat(fd, &st), 0);
    return (uint64_t)st.st_blocks;
}

static bool is_empty(void *data)
{
    return pages_of(*(int *)data) == 0;
}

/* A buffer full of data that is kept, in a descriptor and a mapping, when it is freed. */
struct kept {
    int fd;
    unsigned char *memory;
    uint64_t size;
};

static dmabufd_buffer *allocate(dmabufd *d, uint64_t size, uint64_t page_size, struct kept *kept)
{
    dmabufd_buffer *buffer;

    if (dmabufd_alloc(d, size, page_size, &buffer) != 0)
        fail_msg("%s", dmabufd_last_error());
    kept->size = size;
    kept->fd = fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0);
    assert_true(kept->fd >= 0);
    kept->memory = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
    assert_ptr_not_equal(kept->memory, MAP_FAILED);
    memset(kept->memory, 0x5a, size);
    assert_true(pages_of(kept->fd) >= size / 512);
    return buffer;
}

static void let_go(struct kept *kept)
{
    munmap(kept->memory, kept->size);
    close(kept->fd);
}

static void pages_go_with_free(void **state)
{
    struct kept kept[20];
    dmabufd *d;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    for (size_t i = 0; i < 20; i++) {
        dmabufd_buffer *buffer = allocate(d, SIZE, 4 * KIB, &kept[i]);

        assert_int_equal(dmabufd_free(buffer), 0);
        assert_int_equal(pages_of(kept[i].fd), 0);
    }
    /* Whoever writes again has new pages, its own, and no say over the daemon's. */
    for (size_t i = 0; i < 20; i++) {
        kept[i].memory[0] = 1;
        assert_int_equal(kept[i].memory[1], 0);
        assert_int_equal(pages_of(kept[i].fd), 8);
    }
    for (size_t i = 0; i < 20; i++)
        let_go(&kept[i]);
    dmabufd_disconnect(d);
}

struct giver {
    int sock;
    uint64_t size;
};

/* Passes its buffer on, and leaves. */
static int give_away(void *data)
{
    const struct giver *giver = data;
    dmabufd_buffer *buffer;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, giver->size, 4 * KIB, &buffer) == 0);
    memset(dmabufd_buffer_data(buffer), 0x5a, giver->size);
    send_fd(giver->sock, fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0), 0);
    return 0;
}

static int take_from_another(uint64_t size, pid_t *ret)
{
    struct giver giver = { .size = size };
    uint64_t number;
    int pair[2], fd;

    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair), 0);
    giver.sock = pair[1];
    *ret = spawn_as(TEST_CLIENT_UID, give_away, &giver);
    close(pair[1]);
    fd = receive_fd(pair[0], &number);
    close(pair[0]);
    assert_true(fd >= 0);
    return fd;
}

static void pages_go_with_the_client(void **state)
{
    int fds[10];
    pid_t pid;

    (void)state;
    for (size_t i = 0; i < 10; i++) {
        fds[i] = take_from_another(SIZE, &pid);
        assert_int_equal(join(pid), 0);
        wait_until(is_empty, &fds[i]);
    }
    for (size_t i = 0; i < 10; i++)
        close(fds[i]);
}

/* The last holder decides, not the first. */
static void pages_stay_with_a_holder(void **state)
{
    dmabufd_buffer *first, *second;
    struct kept kept;
    dmabufd *d, *other;

    (void)state;
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_connect(&other, NULL), 0);
    first = allocate(d, MIB, 4 * KIB, &kept);
    assert_int_equal(dmabufd_lookup(other, kept.fd, &second), 0);
    assert_int_equal(dmabufd_free(first), 0);
    dmabufd_disconnect(d);
    assert_int_equal(pages_of(kept.fd), MIB / 512);
    assert_int_equal(kept.memory[MIB - 1], 0x5a);
    assert_int_equal(dmabufd_free(second), 0);
    assert_int_equal(pages_of(kept.fd), 0);
    dmabufd_disconnect(other);
    let_go(&kept);
}

static void registered_memory_stays(void **state)
{
    dmabufd_buffer *buffer;
    unsigned char *memory;
    dmabufd *d;
    int fd;

    (void)state;
    fd = own_memory(MIB, 0, 0x33, &memory);
    assert_true(fd >= 0);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_register(d, fd, 0, MIB, NULL, &buffer), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    assert_int_equal(pages_of(fd), MIB / 512);
    assert_int_equal(memory[MIB - 1], 0x33);
    dmabufd_disconnect(d);
    munmap(memory, MIB);
    close(fd);
}

/* They are in the host's pool again when free has returned. */
static void huge_pages_go_with_free(void **state)
{
    uint64_t before = huge_pages_free(HUGE);
    /* With the fake backend tests run beside others. */
    bool alone = strcmp(test_backend(), "fake") != 0;
    dmabufd_buffer *buffer;
    struct kept kept;
    dmabufd *d;

    (void)state;
    if (before < 4) {
        print_message("needs 4 free huge pages\n");
        skip();
    }
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    buffer = allocate(d, 4 * HUGE, HUGE, &kept);
    if (alone)
        assert_int_equal(huge_pages_free(HUGE), before - 4);
    assert_int_equal(dmabufd_free(buffer), 0);
    assert_int_equal(pages_of(kept.fd), 0);
    if (alone)
        assert_int_equal(huge_pages_free(HUGE), before);
    let_go(&kept);
    dmabufd_disconnect(d);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pages_go_with_free),       TEST(pages_go_with_the_client),
        TEST(pages_stay_with_a_holder), TEST(registered_memory_stays),
        TEST(huge_pages_go_with_free),
    };

    return cmocka_run_group_tests_name("kept", tests, NULL, NULL);
}
