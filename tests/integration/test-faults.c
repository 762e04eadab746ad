/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Faults in the middle: pins and resolutions that fail at every place, layouts of addresses,
 * clients that leave while their memory is made, frees that race, large requests beside small ones.
 * All or nothing each time, and the next request works.
 *
 * Needs the scripts of the fake backend.
 */
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common/spans.h"
#include "tests/integration/bystander.h"
#include "tests/integration/raw.h"

#define KIB   UINT64_C(1024)
#define MIB   (KIB * KIB)
#define PIECE (32 * MIB)

static struct daemon daemon_of_test;

static void start(const char *script)
{
    char option[64];
    const char *args[] = { option, NULL };

    snprintf(option, sizeof(option), "--fake=%s", script);
    daemon_start_with(&daemon_of_test, "fake", args);
}

static int clean_up(void **state)
{
    (void)state;
    if (daemon_of_test.keeper > 0)
        daemon_kill(&daemon_of_test);
    daemon_of_test.keeper = 0;
    return 0;
}

/* ---- the Nth call fails, and whatever its errno was, it is EIO for the client ---- */

struct failure {
    const char *script;
    unsigned int works_before; /* requests of 100 MiB, which is four pieces */
};

static int ask_through_failure(void *data)
{
    const struct failure *failure = data;
    dmabufd_buffer *buffer = NULL;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (unsigned int i = 0; i < failure->works_before; i++) {
        CHECK(dmabufd_alloc(d, 100 * MIB, 4096, &buffer) == 0);
        CHECK(dmabufd_free(buffer) == 0);
        buffer = NULL;
    }
    CHECK(dmabufd_alloc(d, 100 * MIB, 4096, &buffer) == -EIO && !buffer);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_BACKEND);
    CHECK(strstr(dmabufd_last_error(), "scripted failure"));
    CHECK(dmabufd_alloc(d, 100 * MIB, 4096, &buffer) == 0);
    CHECK(dmabufd_buffer_size(buffer) == 100 * MIB);
    CHECK(dmabufd_free(buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void check_failure(struct failure failure)
{
    struct leftovers before;

    start(failure.script);
    leftovers_read(&daemon_of_test, &before);
    run_as(TEST_CLIENT_UID, ask_through_failure, &failure);
    leftovers_settle(&daemon_of_test, &before);
    daemon_stop(&daemon_of_test);
}

static void failing_pins(void **state)
{
    (void)state;
    check_failure((struct failure){ "fail=pin@1:ENOMEM", 0 });
    check_failure((struct failure){ "fail=pin@3:EIO", 0 });
    check_failure((struct failure){ "fail=pin@4:ENOMEM", 0 });
    check_failure((struct failure){ "fail=pin@8:EIO", 1 });
}

static void failing_resolutions(void **state)
{
    (void)state;
    check_failure((struct failure){ "fail=resolve@1:EIO", 0 });
    check_failure((struct failure){ "fail=resolve@2:EPERM", 0 });
    check_failure((struct failure){ "fail=resolve@4:ENOMEM,layout=run:4K", 0 });
    check_failure((struct failure){ "fail=resolve@5:EIO", 1 });
}

/* Automatic page sizes go on with small ones, exact ones do not. */
static void fallback(void **state)
{
    dmabufd_buffer *buffer = NULL;
    struct leftovers before;
    dmabufd *d;

    (void)state;
    if (huge_pages_free(2 * MIB) < 2) {
        print_message("needs 2 free huge pages of 2 MiB\n");
        skip();
    }
    for (int exact = 0; exact < 2; exact++) {
        start("fail=pin@1:ENOMEM");
        leftovers_read(&daemon_of_test, &before);
        assert_int_equal(dmabufd_connect(&d, NULL), 0);
        assert_int_equal(dmabufd_alloc(d, 4 * MIB, exact ? 2 * MIB : 0, &buffer), exact ? -EIO : 0);
        if (!exact)
            assert_int_equal(dmabufd_buffer_page_size(buffer), 4096);
        dmabufd_disconnect(d);
        leftovers_settle(&daemon_of_test, &before);
        daemon_stop(&daemon_of_test);
    }
}

/* ---- layouts ---- */

struct layout {
    const char *script;
    uint64_t size;
    size_t count;    /* spans */
    uint64_t length; /* of each */
    int64_t step;    /* from one address to the next */
};

static int ask_for_layout(void *data)
{
    const struct layout *layout = data;
    const struct dmabufd_span *spans;
    dmabufd_buffer *buffer;
    uint64_t first;
    size_t count;
    dmabufd *d;

    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_get_info(d)->mode == DMABUFD_MODE_FAKE);
    CHECK(dmabufd_alloc(d, layout->size, 4096, &buffer) == 0);
    spans = dmabufd_buffer_spans(buffer, &count);
    CHECK(count == layout->count && spans_check(spans, count, layout->size) == 0);
    first = spans[0].dma_addr;
    for (size_t i = 0; i < count; i++) {
        uint64_t address, length;

        CHECK(spans[i].offset == i * layout->length && spans[i].length == layout->length);
        CHECK(spans[i].dma_addr == first + i * (uint64_t)layout->step);
        CHECK(spans[i].dma_addr >= UINT64_C(1) << 52);
        CHECK(dmabufd_buffer_translate(buffer, spans[i].offset + layout->length - 1, &address,
                                       &length) == 0);
        CHECK(address == spans[i].dma_addr + layout->length - 1 && length == 1);
    }
    CHECK(dmabufd_free(buffer) == 0);
    dmabufd_disconnect(d);
    return 0;
}

static void layouts(void **state)
{
    static struct layout table[] = {
        { "layout=one", 100 * MIB, 1, 100 * MIB, 0 },
        { "layout=run:4K", 64 * MIB, 16384, 4096, 8192 },
        { "layout=run:4K", 32 * 4096, 32, 4096, 8192 }, /* the most that fit in a message */
        { "layout=run:4K", 33 * 4096, 33, 4096, 8192 },
        { "layout=run:2M", 64 * MIB, 32, 2 * MIB, 4 * MIB },
        { "layout=run:64M", 128 * MIB, 2, 64 * MIB, 128 * MIB }, /* longer than a piece */
        { "layout=reverse:4K", 4 * MIB, 1024, 4096, -4096 },
        { "layout=reverse:32M", 128 * MIB, 4, 32 * MIB, -32 * (int64_t)MIB },
    };
    struct leftovers before;

    (void)state;
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
        start(table[i].script);
        leftovers_read(&daemon_of_test, &before);
        run_as(TEST_CLIENT_UID, ask_for_layout, &table[i]);
        leftovers_settle(&daemon_of_test, &before);
        daemon_stop(&daemon_of_test);
    }
}

/* ---- clients that leave ---- */

struct leaver {
    unsigned int requests;
    uint64_t size;
    bool reads_one;
};

static int leave_early(void *data)
{
    const struct leaver *leaver = data;
    int sock = raw_greeted();

    CHECK(sock >= 0);
    for (unsigned int i = 0; i < leaver->requests; i++)
        CHECK(raw_send_allocate(sock, 2 + i, leaver->size) == 0);
    if (leaver->reads_one) {
        struct raw_reply reply;

        CHECK(raw_receive(sock, &reply) == 1);
        wire_fds_close(&reply.fds);
    }
    close(sock);
    return 0;
}

static void leaving_while_it_is_made(void **state)
{
    static struct leaver table[] = {
        { 1, 256 * MIB, false }, { 3, 64 * MIB, false }, { 3, 64 * MIB, true },
        { 64, 4096, false },     { 63, 4096, true },     { 150, 4096, false },
    };
    struct bystander bystander;

    (void)state;
    start("delay=20");
    bystander_start(&bystander, &daemon_of_test);
    for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
        bystander_endures(&bystander, leave_early, &table[i]);
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
}

/* Ends within the step that is at work, with nothing left. */
static void ending_while_it_is_made(void **state)
{
    struct leaver leaver = { 1, 256 * MIB, false };
    struct pollfd ends = { .events = POLLIN };

    (void)state;
    start("delay=50");
    ends.fd = raw_greeted();
    for (uint64_t id = 2; id < 6; id++)
        assert_int_equal(raw_send_allocate(ends.fd, id, leaver.size), 0);
    assert_int_equal(raw_send_allocate(ends.fd, 6, 4096), 0);
    daemon_stop(&daemon_of_test);
    assert_int_equal(poll(&ends, 1, 0), 1);
    assert_true(raw_ended(ends.fd));
    close(ends.fd);
}

/* ---- frees that race ---- */

/* In one go: free, free again, look up, list. The first wins, the rest is told the truth. */
static int free_twice(void *data)
{
    struct raw_reply reply;
    int sock = raw_greeted(), fd, replies = 0;
    uint64_t buffer;

    (void)data;
    CHECK(sock >= 0 && raw_send_allocate(sock, 2, 4096) == 0 && raw_receive(sock, &reply) == 1);
    buffer = reply.message->buffer->buffer;
    fd = wire_fds_take(&reply.fds, 0);
    CHECK(raw_send_free(sock, 3, buffer) == 0 && raw_send_free(sock, 4, buffer) == 0);
    CHECK(raw_send_lookup(sock, 5, fd) == 0 && raw_send_free(sock, 6, buffer) == 0);
    for (; replies < 4; replies++) {
        CHECK(raw_receive(sock, &reply) == 1);
        if (reply.message->id == 3)
            CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_FREE);
        else if (reply.message->id == 5)
            CHECK(raw_is_error(&reply, 5, DMABUFD_CODE_NOT_A_BUFFER, ENXIO));
        else
            CHECK(raw_is_error(&reply, reply.message->id, DMABUFD_CODE_NOT_HELD, ENOENT));
    }
    CHECK(raw_works(sock, 7));
    /* Asked to free, and gone before it is done. */
    CHECK(raw_send_allocate(sock, 8, 64 * MIB) == 0 && raw_receive(sock, &reply) == 1);
    wire_fds_close(&reply.fds);
    CHECK(raw_send_free(sock, 9, reply.message->buffer->buffer) == 0);
    close(sock);
    close(fd);
    return 0;
}

/* One frees what the other looks up at the same moment: the other holds it, or it is no buffer. */
static int free_against_lookup(void *data)
{
    int first = raw_greeted(), second = raw_greeted();

    (void)data;
    CHECK(first >= 0 && second >= 0);
    for (uint64_t i = 0; i < 100; i++) {
        struct raw_reply reply;
        uint64_t buffer;
        int fd;

        CHECK(raw_send_allocate(first, 10 + i, 4096) == 0 && raw_receive(first, &reply) == 1);
        buffer = reply.message->buffer->buffer;
        fd = wire_fds_take(&reply.fds, 0);
        CHECK((i % 2 ? raw_send_free(first, 1000 + i, buffer) : raw_send_lookup(second, 2, fd)) ==
              0);
        CHECK((i % 2 ? raw_send_lookup(second, 2, fd) : raw_send_free(first, 1000 + i, buffer)) ==
              0);
        CHECK(raw_receive(first, &reply) == 1);
        CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_FREE);
        CHECK(raw_receive(second, &reply) == 1);
        if (reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_BUFFER) {
            CHECK(raw_send_free(second, 3, buffer) == 0 && raw_receive(second, &reply) == 1);
            CHECK(reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_FREE);
        } else {
            CHECK(raw_is_error(&reply, 2, DMABUFD_CODE_NOT_A_BUFFER, ENXIO));
        }
        close(fd);
    }
    close(first);
    close(second);
    return 0;
}

static void racing_frees(void **state)
{
    struct bystander bystander;

    (void)state;
    start("layout=run:4K");
    bystander_start(&bystander, &daemon_of_test);
    for (int i = 0; i < 20; i++)
        bystander_endures(&bystander, free_twice, NULL);
    bystander_endures(&bystander, free_against_lookup, NULL);
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
}

/* ---- large beside small ---- */

static bool is_silent(int sock)
{
    struct pollfd poll_fd = { .fd = sock, .events = POLLIN };

    return poll(&poll_fd, 1, 0) == 0;
}

/* Eight pieces of 100 ms each against one: the small one does not wait for the large. */
static void large_does_not_delay_small(void **state)
{
    struct bystander bystander;
    struct dmabufd_status status;
    struct raw_reply reply;
    int large;

    (void)state;
    start("delay=100");
    bystander_start(&bystander, &daemon_of_test);
    bystander_before(&bystander);
    large = raw_greeted();
    assert_int_equal(raw_send_allocate(large, 2, 256 * MIB), 0);
    assert_int_equal(raw_send_allocate(large, 3, 256 * MIB), 0);
    bystander_check_alloc(&bystander);
    assert_true(is_silent(large));
    assert_int_equal(dmabufd_get_status(bystander.d, &status), 0);
    assert_int_equal(status.jobs, 2);
    assert_int_equal(status.buffers, 1);
    /* Nor on its own connection. */
    assert_int_equal(raw_send_allocate(large, 4, 4096), 0);
    assert_int_equal(raw_receive(large, &reply), 1);
    assert_int_equal(reply.message->id, 4);
    wire_fds_close(&reply.fds);
    close(large);
    bystander_after(&bystander);
    bystander_stop(&bystander);
    daemon_stop(&daemon_of_test);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(failing_pins, clean_up),
        cmocka_unit_test_teardown(failing_resolutions, clean_up),
        cmocka_unit_test_teardown(fallback, clean_up),
        cmocka_unit_test_teardown(layouts, clean_up),
        cmocka_unit_test_teardown(leaving_while_it_is_made, clean_up),
        cmocka_unit_test_teardown(ending_while_it_is_made, clean_up),
        cmocka_unit_test_teardown(racing_frees, clean_up),
        cmocka_unit_test_teardown(large_does_not_delay_small, clean_up),
    };

    return cmocka_run_group_tests_name("faults", tests, NULL, NULL);
}
