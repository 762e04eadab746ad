/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Buffers of several memfds in the library (client/chunks.h). Whatever the daemon does wrong, and
 * whatever fails in the middle, nothing may be left: no descriptor, no mapping, no place, no hold.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/chunk-stage.h"
#include "tests/unit/support.h"

static uint32_t word_at(const dmabufd_buffer *buffer, uint64_t offset)
{
    uint32_t word;

    memcpy(&word, (const char *)dmabufd_buffer_data(buffer) + offset, sizeof(word));
    return word;
}

/* Each chunk at its place, for reading and, unless it is not permitted, writing. */
static void check_contents(const dmabufd_buffer *buffer)
{
    const struct play *play = &stage.play;
    uint64_t at = 0, address, length;
    char letter;

    for (uint32_t i = 0; i < play->count; i++) {
        uint64_t size = play->pages[i] * PAGE;
        char *last = (char *)dmabufd_buffer_data(buffer) + at + size - 1;

        assert_int_equal(word_at(buffer, at), i);
        assert_int_equal(dmabufd_translate(client, last, &address, &length), 0);
        assert_int_equal(address, ADDRESS + at + size - 1);
        assert_int_equal(length, stage_total(play) - at - size + 1);
        if (!play->read_only) {
            *last = (char)('a' + i);
            assert_int_equal(pread(stage.chunks[i], &letter, 1, (off_t)size - 1), 1);
            assert_int_equal(letter, 'a' + i);
        }
        at += size;
    }
}

static const struct play good[] = {
    { .count = 2, .pages = { 1, 1 } },
    { .count = 3, .pages = { 7, 1, 2 }, .is_open = true },
    { .count = 4, .pages = { 1, 2, 3, 4 }, .is_open = true, .read_only = true },
    { .count = 5, .pages = { 5, 4, 3, 2, 1 } },
    { .count = 9, .pages = { 1, 1, 1, 1, 1, 1, 1, 1, 512 } },
    /* An answer may bring fewer than fit. */
    { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .batch = 1 },
    { .count = 12, .pages = { 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1 }, .batch = 3 },
};

static void assembled(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        dmabufd_buffer *buffer;
        size_t with_client;

        stage_begin(&good[i]);
        with_client = stage_fds();
        assert_int_equal(stage_ask(&buffer), 0);
        assert_int_equal(dmabufd_buffer_chunk_count(buffer), good[i].count);
        assert_int_equal(dmabufd_buffer_size(buffer), stage_total(&good[i]));
        assert_int_equal(stage_mappings(), good[i].count);
        /* The token alone is kept. */
        assert_int_equal(stage_fds(), with_client + 1);
        assert_int_equal(fcntl(dmabufd_buffer_fd(buffer), F_GETFD), FD_CLOEXEC);
        assert_true(fcntl(dmabufd_buffer_fd(buffer), F_GET_SEALS) & F_SEAL_WRITE);
        check_contents(buffer);
        assert_int_equal(dmabufd_free(buffer), 0);
        assert_int_equal(stage_mappings(), 0);
        assert_int_equal(stage_fds(), with_client);
        assert_int_equal(stage.frees, 1);
        stage_end();
    }
}

static void looked_up(void **state)
{
    static const struct play play = { .count = 6, .pages = { 1, 2, 1, 2, 1, 2 } };
    dmabufd_buffer *buffer, *again;
    void *data;

    (void)state;
    stage_begin(&play);
    assert_int_equal(stage_ask(&buffer), 0);
    assert_int_equal(dmabufd_lookup(client, dmabufd_buffer_fd(buffer), &again), 0);
    assert_int_equal(dmabufd_buffer_chunk_count(again), 6);
    assert_int_not_equal(dmabufd_buffer_fd(buffer), dmabufd_buffer_fd(again));
    assert_int_equal(memfd_same(dmabufd_buffer_fd(buffer), dmabufd_buffer_fd(again)), 1);
    check_contents(again);
    data = dmabufd_buffer_data(again);
    assert_int_equal(dmabufd_free(again), 0);
    check_contents(buffer);
    /* Its place is free again, and serves a buffer of other chunks. */
    assert_int_equal(dmabufd_lookup(client, dmabufd_buffer_fd(buffer), &again), 0);
    assert_ptr_equal(dmabufd_buffer_data(again), data);
    assert_int_equal(dmabufd_free(again), 0);
    assert_int_equal(dmabufd_free(buffer), 0);
    stage_end();
}

/* A connection that ends takes all mappings along. */
static void not_freed(void **state)
{
    dmabufd_buffer *buffer;

    (void)state;
    stage_begin(&good[3]);
    assert_int_equal(stage_ask(&buffer), 0);
    assert_int_equal(stage_mappings(), 5);
    stage_end();
}

static const struct {
    struct play play;
    int error;
} bad[] = {
    /* How many */
    { { .count = 3, .pages = { 1, 1, 1 }, .too_many = 1 }, EPROTO },
    { { .count = 2, .pages = { 1, 1 }, .too_many = 2 }, EPROTO },
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .too_many = 3 }, EPROTO },
    { { .count = 6, .pages = { 1, 1, 1, 1, 1, 1 }, .nothing_at = 1 }, EPROTO },
    { { .count = 3, .pages = { 1, 1, 1 }, .said = 1 }, EPROTO },
    { { .count = 3, .pages = { 1, 1, 251 }, .said = PROTO_CHUNKS_MAX + 1 }, EPROTO },
    { { .count = 3, .pages = { 1, 1, 1 }, .said = 4 }, EPROTO },
    { { .count = 3, .pages = { 1, 1, 1 }, .said = 2 }, EPROTO },
    /* How large */
    { { .count = 2, .pages = { 1, 2 }, .missing_pages = 1 }, EPROTO },
    { { .count = 6, .pages = { 1, 2, 1, 1, 1, 1 }, .chunk = ODD_SIZE, .bad = 5 }, EPROTO },
    { { .count = 6, .pages = { 1, 2, 1, 1, 1, 1 }, .chunk = EMPTY, .bad = 4 }, EPROTO },
    { { .count = 6, .pages = { 1, 2, 1, 1, 1, 1 }, .chunk = TOO_LARGE, .bad = 0 }, EPROTO },
    { { .count = 6, .pages = { 1, 2, 1, 1, 1, 1 }, .chunk = TOO_LARGE, .bad = 5 }, EPROTO },
    /* What they are */
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .chunk = UNSEALED, .bad = 0 }, EPROTO },
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .chunk = UNSEALED, .bad = 4 }, EPROTO },
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .chunk = WRITE_SEALED, .bad = 2 }, EPROTO },
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .chunk = OTHER_RIGHT, .bad = 3 }, EPROTO },
    { { .count = 2,
        .pages = { 1, 1 },
        .chunk = OTHER_RIGHT,
        .bad = 1,
        .is_open = true,
        .read_only = true },
      EPROTO },
    { { .count = 5, .pages = { 2, 2, 2, 2, 2 }, .chunk = HOLE, .bad = 4 }, EPROTO },
    /* ... and what whoever holds it could do to it: the connection goes on. */
    { { .count = 5, .pages = { 2, 2, 2, 2, 2 }, .chunk = HOLE, .bad = 4, .is_open = true }, ENXIO },
    { { .count = 2, .pages = { 2, 2 }, .chunk = HOLE, .bad = 0, .is_open = true }, ENXIO },
    /* The token */
    { { .count = 2, .pages = { 1, 1 }, .token = UNSEALED }, EPROTO },
    { { .count = 2, .pages = { 1, 1 }, .token = OTHER_RIGHT }, EPROTO },
    { { .count = 2, .pages = { 1, 1 }, .token = NO_FILE }, EPROTO },
    /* What else happens in the middle */
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .refuse_at = 4 }, ENOMEM },
    { { .count = 5, .pages = { 1, 1, 1, 1, 1 }, .batch = 2, .end_at = 2 }, ENOTCONN },
};

static void nothing_is_left(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        dmabufd_buffer *buffer = NULL;
        bool goes_on = bad[i].error != EPROTO && bad[i].error != ENOTCONN;
        size_t with_client;

        stage_begin(&bad[i].play);
        with_client = stage_fds();
        assert_int_equal(stage_ask(&buffer), -bad[i].error);
        assert_null(buffer);
        assert_int_equal(stage_mappings(), 0);
        assert_int_equal(stage.frees, goes_on);
        /* A refusal of a moment: the next try is at the same place. */
        if (goes_on) {
            void *data;

            assert_int_equal(stage_fds(), with_client);
            stage_mend();
            assert_int_equal(stage_ask(&buffer), 0);
            check_contents(buffer);
            data = dmabufd_buffer_data(buffer);
            assert_int_equal(dmabufd_free(buffer), 0);
            assert_int_equal(stage_ask(&buffer), 0);
            assert_ptr_equal(dmabufd_buffer_data(buffer), data);
            assert_int_equal(dmabufd_free(buffer), 0);
            assert_int_equal(stage.frees, stage.grants);
        } else {
            assert_int_equal(stage_ask(&buffer), -ENOTCONN);
        }
        stage_end();
    }
}

/* The process, too, can have no room: one for the token, then four at a time. */
static void out_of_descriptors(void **state)
{
    int r = -EMFILE;

    (void)state;
    stage_begin(&good[3]);
    /* Numbers above the lowest that is free can be in use. */
    for (unsigned int room = 0; r < 0; room++) {
        dmabufd_buffer *buffer;
        uint64_t saved = support_leave_room(room);

        r = stage_ask(&buffer);
        support_restore_room(saved);
        assert_true(r == 0 ? room >= 5 : r == -EMFILE && room < 20);
        if (r == 0)
            assert_int_equal(dmabufd_free(buffer), 0);
        assert_int_equal(stage_mappings(), 0);
        assert_int_equal(stage.frees, room + 1);
    }
    stage_end();
}

/*
 * A mapping that fails can have taken its place away: what another thread put there must stay, and no
 * buffer may come to lie there. With the first chunk, one in the middle, the last.
 */
static void a_place_that_is_lost(void **state)
{
    (void)state;
    for (int which = 1; which <= 5; which += 2) {
        dmabufd_buffer *buffer;
        char *data, *foreign;

        stage_begin(&good[3]);
        stage_fail_mapping(which);
        assert_int_equal(stage_ask(&buffer), -ENOMEM);
        assert_int_equal(stage.frees, 1);
        assert_int_equal(stage_mappings(), 0);
        foreign = stage_foreign();
        assert_non_null(foreign);
        *foreign = 'f';
        assert_int_equal(stage_ask(&buffer), 0);
        check_contents(buffer);
        data = dmabufd_buffer_data(buffer);
        assert_false(foreign >= data && foreign < data + dmabufd_buffer_size(buffer));
        assert_int_equal(*foreign, 'f');
        assert_int_equal(dmabufd_free(buffer), 0);
        stage_end();
        /* Not even the end of the connection takes it. */
        assert_int_equal(*foreign, 'f');
        munmap(foreign, PAGE);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(assembled),          cmocka_unit_test(looked_up),
        cmocka_unit_test(not_freed),          cmocka_unit_test(nothing_is_left),
        cmocka_unit_test(out_of_descriptors), cmocka_unit_test(a_place_that_is_lost),
    };

    return cmocka_run_group_tests_name("chunks", tests, NULL, NULL);
}
