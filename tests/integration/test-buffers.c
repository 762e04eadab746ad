/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a client gets when it asks for memory: sizes, page sizes, contents, protection of the memfd,
 * translation, lists, and clear refusals. Against any backend; as root the client is another user
 * without capabilities.
 *
 * Whether the addresses are true is test-addresses.c's question.
 */
#include <dmabufd.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "common/kernel-abi.h"
#include "common/spans.h"
#include "tests/integration/group.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)
#define GIB (KIB * MIB)

static bool is_zero(const unsigned char *data, uint64_t size)
{
    return data[0] == 0 && memcmp(data, data + 1, size - 1) == 0;
}

/* Every page by pointer and by offset gives what the scatter list says. */
static int check_translation(dmabufd *d, dmabufd_buffer *buffer)
{
    unsigned char *data = dmabufd_buffer_data(buffer);
    const struct dmabufd_span *spans;
    size_t count, at = 0;

    spans = dmabufd_buffer_spans(buffer, &count);
    for (uint64_t offset = 0; offset < dmabufd_buffer_size(buffer); offset += 4096 - 13) {
        uint64_t address, length, address2, length2;

        while (offset >= spans[at].offset + spans[at].length)
            at++;
        CHECK(dmabufd_translate(d, data + offset, &address, &length) == 0);
        CHECK(dmabufd_buffer_translate(buffer, offset, &address2, &length2) == 0);
        CHECK(address == spans[at].dma_addr + (offset - spans[at].offset));
        CHECK(length == spans[at].length - (offset - spans[at].offset));
        CHECK(address2 == address && length2 == length);
    }
    return 0;
}

struct request {
    uint64_t size;
    uint64_t page_size;
    uint64_t expected_size;
};

static int allocate_and_check(void *data)
{
    const struct request *request = data;
    const struct dmabufd_span *spans;
    dmabufd_buffer *buffer;
    unsigned char *memory;
    struct stat st;
    size_t count;
    dmabufd *d;
    int seals;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, request->size, request->page_size, &buffer) == 0);
    CHECK(dmabufd_buffer_size(buffer) == request->expected_size);
    CHECK(dmabufd_buffer_page_size(buffer) == request->page_size);
    spans = dmabufd_buffer_spans(buffer, &count);
    CHECK(spans_check(spans, count, request->expected_size) == 0);
    memory = dmabufd_buffer_data(buffer);
    CHECK((uintptr_t)memory % request->page_size == 0);
    CHECK(is_zero(memory, request->expected_size));
    memset(memory, 0x5a, request->expected_size);
    CHECK(fstat(dmabufd_buffer_fd(buffer), &st) == 0);
    CHECK((uint64_t)st.st_size == request->expected_size && (st.st_mode & 07777) == 0600);
    CHECK(fcntl(dmabufd_buffer_fd(buffer), F_GETFD) & FD_CLOEXEC);
    seals = fcntl(dmabufd_buffer_fd(buffer), F_GET_SEALS);
    CHECK((seals & ~ABI_F_SEAL_EXEC) == (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL));
    CHECK(check_translation(d, buffer) == 0);
    CHECK(dmabufd_free(buffer) == 0);
    {
        uint64_t address, length;

        CHECK(dmabufd_translate(d, memory, &address, &length) == -ENOENT);
    }
    dmabufd_disconnect(d);
    return 0;
}

static void check_size(uint64_t size, uint64_t page_size, uint64_t expected)
{
    struct request request = { size, page_size, expected };
    struct leftovers before;

    if (page_size > 4096 && huge_pages_free(page_size) < expected / page_size) {
        print_message("not enough free huge pages of %llu KiB\n",
                      (unsigned long long)(page_size / KIB));
        skip();
    }
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, allocate_and_check, &request);
    leftovers_settle(&daemon_of_group, &before);
}

static void small_pages(void **state)
{
    (void)state;
    check_size(4 * KIB, 4096, 4 * KIB);
    check_size(1, 4096, 4 * KIB);
    check_size(4097, 4096, 8 * KIB);
    check_size(2 * MIB, 4096, 2 * MIB);
    check_size(64 * MIB, 4096, 64 * MIB);
    check_size(70 * MIB + 1, 4096, 70 * MIB + 4 * KIB);
}

static void huge_pages_one(void **state)
{
    (void)state;
    check_size(2 * MIB, 2 * MIB, 2 * MIB);
    check_size(1, 2 * MIB, 2 * MIB);
}

static void huge_pages_many(void **state)
{
    (void)state;
    check_size(64 * MIB, 2 * MIB, 64 * MIB);
}

static void gigantic_page(void **state)
{
    (void)state;
    check_size(GIB, GIB, GIB);
}

static int allocate_auto(void *data)
{
    uint64_t huge_free = *(uint64_t *)data;
    dmabufd_buffer *small, *large;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, 2 * MIB - 1, 0, &small) == 0);
    CHECK(dmabufd_buffer_page_size(small) == 4096);
    CHECK(dmabufd_alloc(d, 2 * MIB, 0, &large) == 0);
    CHECK(dmabufd_buffer_page_size(large) == (huge_free ? 2 * MIB : 4096));
    dmabufd_disconnect(d);
    return 0;
}

static void automatic_page_size(void **state)
{
    uint64_t huge_free = huge_pages_free(2 * MIB);
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, allocate_auto, &huge_free);
    leftovers_settle(&daemon_of_group, &before);
}

struct refusal {
    uint64_t size;
    uint64_t page_size;
    int error;
    enum dmabufd_code code;
    const char *names; /* in the sentence: the argument and the limit */
};

static int refused(void *data)
{
    const struct refusal *refusal = data;
    dmabufd_buffer *buffer = (void *)data;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, refusal->size, refusal->page_size, &buffer) == -refusal->error);
    CHECK(buffer == data);
    CHECK(dmabufd_last_code() == refusal->code);
    CHECK(strstr(dmabufd_last_error(), refusal->names));
    /* The connection goes on. */
    CHECK(dmabufd_alloc(d, 1, 4096, &buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

/* What the host has, as the daemon tells it. */
static uint64_t largest_size(void)
{
    uint64_t size;
    dmabufd *d;

    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    size = dmabufd_get_info(d)->max_size;
    dmabufd_disconnect(d);
    return size;
}

static void refusals(void **state)
{
    uint64_t huge_free = huge_pages_free(2 * MIB);
    char memory[100], pages[100];
    struct refusal table[] = {
        { 0, 0, EINVAL, DMABUFD_CODE_INVALID, "size is 0: ask for at least a byte" },
        { UINT64_MAX, 0, E2BIG, DMABUFD_CODE_TOO_LARGE,
          "size 18446744073709551615 is more than a file can have" },
        { UINT64_MAX - 4095, 4096, E2BIG, DMABUFD_CODE_TOO_LARGE,
          "size 18446744073709547520 is more than a file can have" },
        { UINT64_C(1) << 62, 0, E2BIG, DMABUFD_CODE_TOO_LARGE, memory },
        { UINT64_C(1) << 63, GIB, E2BIG, DMABUFD_CODE_TOO_LARGE,
          "size 9223372036854775808 is more than a file can have" },
        { 4096, 12345, EINVAL, DMABUFD_CODE_INVALID,
          "page size 12345 is none: 4096, 2097152, 1073741824, or 0 for the best that is free" },
        { 4096, UINT64_MAX, EINVAL, DMABUFD_CODE_INVALID,
          "page size 18446744073709551615 is none: 4096, 2097152, 1073741824, or 0" },
        { 4096, 8192, EINVAL, DMABUFD_CODE_INVALID,
          "page size 8192 is none: 4096, 2097152, 1073741824, or 0" },
        { (huge_free + 1) * 2 * MIB, 2 * MIB, ENOMEM, DMABUFD_CODE_NO_HUGE_PAGES, pages },
        { (huge_free + 1) * 2 * MIB, 2 * MIB, ENOMEM, DMABUFD_CODE_NO_HUGE_PAGES,
          " are free: write a larger number to "
          "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages (sysctl vm.nr_hugepages), or ask "
          "for page size auto" },
    };
    struct leftovers before;

    (void)state;
    snprintf(memory, sizeof(memory),
             "size 4611686018427387904 is more than this host's memory (%" PRIu64 " bytes)",
             largest_size());
    snprintf(pages, sizeof(pages),
             "%" PRIu64 " huge pages of 2048 KiB are needed and %" PRIu64 " of ", huge_free + 1,
             huge_free);
    leftovers_read(&daemon_of_group, &before);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        run_as(TEST_CLIENT_UID, refused, &table[i]);
    leftovers_settle(&daemon_of_group, &before);
}

static int list_own(void *data)
{
    struct dmabufd_buffer_info *list;
    dmabufd_buffer *buffers[100], *again;
    size_t count;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 0);
    for (size_t i = 0; i < 100; i++)
        CHECK(dmabufd_alloc(d, 4096 * (i + 1), 4096, &buffers[i]) == 0);
    CHECK(dmabufd_lookup(d, dmabufd_buffer_fd(buffers[7]), &again) == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 100);
    for (size_t i = 0; i < count; i++) {
        const struct dmabufd_buffer_info *info = &list[i];
        size_t which = 0;

        while (which < 100 && dmabufd_buffer_id(buffers[which]) != info->id)
            which++;
        CHECK(which < 100 && info->size == 4096 * (which + 1) && info->page_size == 4096);
        CHECK(info->holds == (which == 7 ? 2 : 1) && info->holders == 1 && info->span_count > 0);
    }
    free(list);
    CHECK(dmabufd_free(buffers[7]) == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 100);
    free(list);
    CHECK(dmabufd_free(again) == 0);
    CHECK(dmabufd_list(d, &list, &count) == 0 && count == 99);
    free(list);
    dmabufd_disconnect(d);
    return 0;
}

static void lists(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, list_own, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

static int look_up_foreign(void *data)
{
    dmabufd_buffer *buffer = data;
    int foreign[4], sockets[2];
    dmabufd *d;

    CHECK(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets) == 0);
    foreign[0] = open("/dev/null", O_RDWR);
    foreign[1] = memfd_create("mine", 0);
    foreign[2] = sockets[0];
    foreign[3] = eventfd(0, EFD_CLOEXEC);
    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (size_t i = 0; i < 4; i++) {
        CHECK(dmabufd_lookup(d, foreign[i], &buffer) == -ENXIO && buffer == data);
        CHECK(dmabufd_last_code() == DMABUFD_CODE_NOT_A_BUFFER);
        CHECK(strstr(dmabufd_last_error(),
                     "the descriptor is not a buffer of this daemon: pass the "
                     "one of dmabufd_buffer_fd() or dmabufd_share()"));
    }
    CHECK(dmabufd_lookup(d, 12345, &buffer) == -EBADF);
    CHECK(strstr(dmabufd_last_error(), "descriptor 12345 is not open"));
    CHECK(dmabufd_alloc(d, 1, 0, &buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void foreign_descriptors(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, look_up_foreign, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),
        cmocka_unit_test(huge_pages_one),
        cmocka_unit_test(huge_pages_many),
        cmocka_unit_test(gigantic_page),
        cmocka_unit_test(automatic_page_size),
        cmocka_unit_test(refusals),
        cmocka_unit_test(lists),
        cmocka_unit_test(foreign_descriptors),
    };

    return cmocka_run_group_tests_name("buffers", tests, group_start, group_stop);
}
