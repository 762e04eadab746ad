/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Memory that a client made: registered, pinned, translated, given back; and what is refused, each
 * for its own reason. With a real backend, as root, the addresses are compared with the client's
 * pagemap.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/memfd.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>

#include "common/spans.h"
#include "tests/integration/group.h"
#include "tests/integration/own.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

struct plan {
    uint64_t size, offset, length;
    unsigned int flags;
    int sock; /* tells the parent where to look */
};

struct told {
    uint64_t address; /* of the client's own mapping */
    uint64_t count;
};

static int register_and_hold(void *data)
{
    const struct plan *plan = data;
    const struct dmabufd_span *spans;
    unsigned char *mine, *theirs;
    dmabufd_buffer *buffer;
    struct told told;
    size_t count;
    dmabufd *d;
    char go;
    int fd = own_memory(plan->size, plan->flags, 0x11, &mine);

    CHECK(fd >= 0);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_register(d, fd, plan->offset, plan->length, NULL, &buffer) == 0);
    CHECK(lseek(fd, 0, SEEK_CUR) == 0);
    close(fd);
    CHECK(dmabufd_buffer_size(buffer) == plan->length);
    CHECK(dmabufd_buffer_page_size(buffer) == (plan->flags ? 2 * MIB : 4 * KIB));
    spans = dmabufd_buffer_spans(buffer, &count);
    CHECK(spans_check(spans, count, plan->length) == 0);
    theirs = dmabufd_buffer_data(buffer);
    theirs[plan->length - 1] = 0x77;
    CHECK(theirs[0] == 0x11 && mine[plan->offset + plan->length - 1] == 0x77);
    told = (struct told){ (uintptr_t)mine + plan->offset, count };
    CHECK(write_all(plan->sock, &told, sizeof(told)));
    CHECK(write_all(plan->sock, spans, count * sizeof(*spans)));
    CHECK(read_all(plan->sock, &go, 1));
    CHECK(dmabufd_free(buffer) == 0);
    mine[plan->offset] = 0x12;
    dmabufd_disconnect(d);
    return 0;
}

static void check_registered(struct plan *plan)
{
    bool real = strcmp(test_backend(), "fake") != 0 && getuid() == 0;
    struct dmabufd_span *spans;
    struct leftovers before;
    struct told told;
    int pair[2];
    pid_t pid;

    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    plan->sock = pair[1];
    pid = spawn_as(TEST_CLIENT_UID, register_and_hold, plan);
    close(pair[1]);
    assert_true(read_all(pair[0], &told, sizeof(told)));
    assert_in_range(told.count, 1, plan->length / 4096);
    spans = calloc(told.count, sizeof(*spans));
    assert_non_null(spans);
    assert_true(read_all(pair[0], spans, told.count * sizeof(*spans)));
    for (uint64_t i = 0; real && i < told.count; i++) {
        for (uint64_t at = 0; at < spans[i].length; at += 4096)
            assert_int_equal(frame_of(pid, told.address + spans[i].offset + at),
                             spans[i].dma_addr + at);
    }
    free(spans);
    assert_true(write_all(pair[0], "g", 1));
    assert_int_equal(join(pid), 0);
    close(pair[0]);
    leftovers_settle(&daemon_of_group, &before);
}

static void whole_file(void **state)
{
    struct plan plan = { .size = 40 * MIB, .length = 40 * MIB };

    (void)state;
    check_registered(&plan);
}

static void part_of_a_file(void **state)
{
    struct plan plan = { .size = 8 * MIB, .offset = 4096 * 3, .length = 4096 * 1001 };

    (void)state;
    check_registered(&plan);
}

static void huge_pages(void **state)
{
    struct plan plan = {
        .size = 8 * MIB, .offset = 2 * MIB, .length = 4 * MIB, .flags = MFD_HUGETLB | MFD_HUGE_2MB
    };

    (void)state;
    if (huge_pages_free(2 * MIB) < 4) {
        print_message("needs 4 free huge pages of 2 MiB\n");
        skip();
    }
    check_registered(&plan);
}

static int try(dmabufd *d, int fd, uint64_t offset, uint64_t size, int error, const char *names)
{
    dmabufd_buffer *untouched = (void *)d, *buffer = untouched;

    CHECK(dmabufd_register(d, fd, offset, size, NULL, &buffer) == -error);
    CHECK(buffer == untouched);
    CHECK(strstr(dmabufd_last_error(), names));
    return 0;
}

static int all_refusals(void *data)
{
    unsigned char *memory;
    int good = own_memory(64 * KIB, 0, 0x11, &memory), fd, null = open("/dev/null", O_RDWR);
    char path[64];
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(try(d, good, 0, 0, EINVAL, "size not 0") == 0);
    CHECK(try(d, good, 1, 4096, EINVAL, "multiples") == 0);
    CHECK(try(d, good, 0, 4097, EINVAL, "multiples") == 0);
    CHECK(try(d, good, 0, 68 * KIB, EINVAL, "beyond its end") == 0);
    CHECK(try(d, good, 64 * KIB, 4096, EINVAL, "beyond its end") == 0);
    CHECK(try(d, good, UINT64_MAX - 4095, 4096, EINVAL, "beyond its end") == 0);
    CHECK(try(d, null, 0, 4096, EOPNOTSUPP, "not a memfd") == 0);
    CHECK(try(d, 12345, 0, 4096, EBADF, "not open") == 0);
    snprintf(path, sizeof(path), "/proc/self/fd/%d", good);
    CHECK(try(d, open(path, O_RDONLY), 0, 4096, EACCES, "reading and writing") == 0);

    fd = memfd_create("unsealed", MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd, 4096) == 0 && pwrite(fd, "x", 1, 0) == 1);
    CHECK(try(d, fd, 0, 4096, EPERM, "F_SEAL_SHRINK") == 0);
    CHECK(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_WRITE) == 0);
    CHECK(try(d, fd, 0, 4096, EPERM, "against writing") == 0);

    fd = memfd_create("sparse", MFD_ALLOW_SEALING);
    CHECK(ftruncate(fd, 8192) == 0 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    CHECK(try(d, fd, 0, 8192, ENXIO, "never written") == 0);
    /* Allocated, but not zeroed yet: its first user would wipe what a device wrote. */
    CHECK(fallocate(fd, 0, 0, 8192) == 0);
    CHECK(try(d, fd, 0, 8192, ENXIO, "never written") == 0);
    CHECK(pwrite(fd, "x", 1, 0) == 1);
    CHECK(try(d, fd, 0, 8192, ENXIO, "never written") == 0);
    CHECK(pwrite(fd, "x", 1, 4096) == 1);
    {
        dmabufd_buffer *buffer, *again;

        CHECK(dmabufd_register(d, fd, 0, 8192, NULL, &buffer) == 0);
        CHECK(dmabufd_lookup(d, fd, &again) == -ENXIO);
        /* Twice is two buffers. */
        CHECK(dmabufd_register(d, fd, 4096, 4096, NULL, &again) == 0);
        CHECK(dmabufd_buffer_id(buffer) != dmabufd_buffer_id(again));
    }
    dmabufd_disconnect(d);
    return 0;
}

static void refusals(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, all_refusals, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

static int die_while_registered(void *data)
{
    unsigned char *memory;
    dmabufd_buffer *buffer;
    dmabufd *d;
    int fd = own_memory(16 * MIB, 0, 0x11, &memory);

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_register(d, fd, 0, 16 * MIB, NULL, &buffer) == 0);
    kill(getpid(), SIGKILL);
    return 1;
}

static void given_back_at_death(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(join(spawn_as(TEST_CLIENT_UID, die_while_registered, NULL)), 128 + SIGKILL);
    leftovers_settle(&daemon_of_group, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_file),          cmocka_unit_test(part_of_a_file),
        cmocka_unit_test(huge_pages),          cmocka_unit_test(refusals),
        cmocka_unit_test(given_back_at_death),
    };

    return cmocka_run_group_tests_name("register", tests, group_start, group_stop);
}
