/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The heap on the real daemon: its objects translate to contiguous device addresses, its buffers
 * come and go, and when it has ended nothing is left. What it hands out in detail is the unit
 * test's question.
 */
#include <dmabufd.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/integration/group.h"

#define KIB UINT64_C(1024)
#define MIB (KIB * KIB)

#define OBJECTS 200

static uint64_t buffers_held(dmabufd *d)
{
    struct dmabufd_buffer_info *list;
    size_t count = UINT64_MAX;

    if (dmabufd_list(d, &list, &count) == 0)
        free(list);
    return count;
}

static int check_object(dmabufd *d, unsigned char *p, size_t size, uint64_t alignment)
{
    uint64_t dma_addr, length;

    CHECK(p != NULL);
    CHECK(dmabufd_translate(d, p, &dma_addr, &length) == 0);
    CHECK(length >= size);
    CHECK(dma_addr % alignment == 0 && (uintptr_t)p % alignment == 0);
    return 0;
}

/* Objects of all sizes that small pages are sure to be able to serve. */
static int use_small_pages(void *data)
{
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    unsigned char *p[OBJECTS];
    dmabufd_heap *heap;
    dmabufd *d;

    (void)data;
    options.page_size = 4096;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, &options, &heap) == 0);
    CHECK(buffers_held(d) == 0);
    for (unsigned int round = 0; round < 3; round++) {
        for (size_t i = 0; i < OBJECTS; i++) {
            size_t size = 1 + i * 4095 / OBJECTS;

            p[i] = dmabufd_heap_zalloc(heap, size, 0);
            CHECK(check_object(d, p[i], size, 64) == 0);
            CHECK(p[i][0] == 0 && p[i][size - 1] == 0);
            memset(p[i], (int)i, size);
        }
        for (size_t i = 0; i < OBJECTS; i++) {
            CHECK(p[i][0] == (unsigned char)i && p[i][i * 4095 / OBJECTS] == (unsigned char)i);
            CHECK(dmabufd_heap_free(heap, p[i]) == 0);
        }
    }
    CHECK(buffers_held(d) > 0);
    dmabufd_heap_destroy(heap);
    CHECK(buffers_held(d) == 0);
    CHECK(dmabufd_translate(d, p[0], &(uint64_t){ 0 }, &(uint64_t){ 0 }) == -ENOENT);
    dmabufd_disconnect(d);
    return 0;
}

static void small_pages(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, use_small_pages, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

/* In huge pages everything up to their size is contiguous, and aligned as one likes. */
static int use_huge_pages(void *data)
{
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    dmabufd_heap *heap;
    dmabufd *d;

    (void)data;
    options.page_size = 2 * MIB;
    options.limit = 4 * MIB;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, &options, &heap) == 0);
    for (uint64_t alignment = 64; alignment <= 2 * MIB; alignment *= 2) {
        unsigned char *p = dmabufd_heap_alloc(heap, 300000, alignment);

        CHECK(check_object(d, p, 300000, alignment) == 0);
        CHECK(dmabufd_heap_free(heap, p) == 0);
    }
    dmabufd_heap_destroy(heap);
    dmabufd_disconnect(d);
    return 0;
}

static void huge_pages(void **state)
{
    struct leftovers before;

    (void)state;
    if (huge_pages_free(2 * MIB) < 2)
        skip();
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, use_huge_pages, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

/* A burst goes back, while the heap lives. */
static int grow_and_shrink(void *data)
{
    struct dmabufd_heap_statistics s = DMABUFD_HEAP_STATISTICS_INIT;
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    dmabufd_heap *heap;
    void *p[4096];
    dmabufd *d;

    (void)data;
    options.page_size = 4096;
    options.reserve = 2 * MIB;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, &options, &heap) == 0);
    CHECK(buffers_held(d) == 1);
    for (size_t i = 0; i < 4096; i++)
        CHECK((p[i] = dmabufd_heap_alloc(heap, 4096, 4096)) != NULL);
    CHECK(buffers_held(d) > 4);
    for (size_t i = 0; i < 4096; i++)
        CHECK(dmabufd_heap_free(heap, p[i]) == 0);
    dmabufd_heap_trim(heap);
    CHECK(buffers_held(d) == 1);
    CHECK(dmabufd_heap_get_statistics(heap, &s) == 0);
    CHECK(s.objects == 0 && s.bytes_held == 2 * MIB && s.grows == s.give_backs + 1);
    CHECK(s.allocations == 4096 && s.cache_hits > 3500);
    dmabufd_heap_destroy(heap);
    dmabufd_disconnect(d);
    return 0;
}

static void buffers_come_and_go(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, grow_and_shrink, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

static int fork_with_heap(void *data)
{
    dmabufd_heap *heap;
    int status;
    pid_t pid;
    dmabufd *d;
    char *p;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, NULL, &heap) == 0);
    CHECK((p = dmabufd_heap_zalloc(heap, 100, 0)) != NULL);
    pid = fork();
    if (pid == 0) {
        p[0] = 'c';
        CHECK(!dmabufd_heap_alloc(heap, 100, 0) && errno == ENOTCONN);
        CHECK(dmabufd_heap_free(heap, p) == -ENOTCONN);
        dmabufd_heap_destroy(heap);
        dmabufd_disconnect(d);
        _exit(0);
    }
    CHECK(waitpid(pid, &status, 0) == pid && status == 0);
    CHECK(p[0] == 'c');
    CHECK(dmabufd_heap_free(heap, p) == 0);
    CHECK(dmabufd_heap_alloc(heap, 3 * 4096, 0) != NULL || errno == ENOSPC);
    dmabufd_heap_destroy(heap);
    dmabufd_disconnect(d);
    return 0;
}

static void children(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    run_as(TEST_CLIENT_UID, fork_with_heap, NULL);
    leftovers_settle(&daemon_of_group, &before);
}

/* It dies holding everything: the daemon cleans up. */
static int die(void *data)
{
    dmabufd_heap *heap;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, NULL, &heap) == 0);
    for (size_t i = 0; i < 100; i++)
        CHECK(dmabufd_heap_alloc(heap, 4096, 0) != NULL);
    kill(getpid(), SIGKILL);
    return 0;
}

static void death(void **state)
{
    struct leftovers before;

    (void)state;
    leftovers_read(&daemon_of_group, &before);
    assert_int_equal(join(spawn_as(TEST_CLIENT_UID, die, NULL)), 128 + SIGKILL);
    leftovers_settle(&daemon_of_group, &before);
}

static int refused_by_layout(void *data)
{
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    dmabufd_heap *heap;
    dmabufd *d;

    (void)data;
    options.page_size = 4096;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_heap_create(d, &options, &heap) == 0);
    CHECK(check_object(d, dmabufd_heap_alloc(heap, 64 * KIB, 0), 64 * KIB, 64) == 0);
    CHECK(!dmabufd_heap_alloc(heap, 65 * KIB, 0) && errno == ENOSPC);
    CHECK(strstr(dmabufd_last_error(), "seen has 65536") != NULL);
    CHECK(buffers_held(d) == 1);
    CHECK(dmabufd_heap_alloc_with(heap, MIB, 0, DMABUFD_HEAP_ALLOC_SCATTERED) != NULL);
    dmabufd_heap_destroy(heap);
    /* The addresses of this backend have more than 32 bits. */
    options.dma_mask = UINT32_MAX;
    CHECK(dmabufd_heap_create(d, &options, &heap) == 0);
    CHECK(!dmabufd_heap_alloc(heap, 64, 0) && errno == ENOSPC);
    CHECK(buffers_held(d) == 0);
    dmabufd_heap_destroy(heap);
    dmabufd_disconnect(d);
    return 0;
}

static void short_spans(void **state)
{
    static const char *const args[] = { "--fake", "layout=run:64K", NULL };
    struct leftovers before;
    struct daemon daemon = { 0 };

    (void)state;
    daemon_start_with(&daemon, "fake", args);
    leftovers_read(&daemon, &before);
    run_as(TEST_CLIENT_UID, refused_by_layout, NULL);
    leftovers_settle(&daemon, &before);
    daemon_stop(&daemon);
}

/* What the heap holds stays usable when the daemon is gone; more there is not. */
static int survive(void *data)
{
    struct daemon *daemon = data;
    dmabufd_heap *heap;
    dmabufd *d;
    void *p;

    CHECK(dmabufd_connect(&d, daemon->socket) == 0);
    CHECK(dmabufd_heap_create(d, NULL, &heap) == 0);
    CHECK((p = dmabufd_heap_alloc(heap, 4096, 0)) != NULL);
    kill(daemon->keeper, SIGKILL);
    CHECK(!dmabufd_heap_alloc(heap, 64 * MIB, 0) && errno == ENOTCONN);
    CHECK(dmabufd_heap_free(heap, p) == 0);
    CHECK((p = dmabufd_heap_alloc(heap, 256, 0)) != NULL);
    CHECK(dmabufd_heap_free(heap, p) == 0);
    dmabufd_heap_trim(heap);
    CHECK(!dmabufd_heap_alloc(heap, 256, 0) && errno == ENOTCONN);
    dmabufd_heap_destroy(heap);
    dmabufd_disconnect(d);
    return 0;
}

static void daemon_dies(void **state)
{
    struct daemon daemon = { 0 };

    (void)state;
    daemon_start_with(&daemon, "fake", NULL);
    assert_int_equal(survive(&daemon), 0);
    daemon_kill(&daemon);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_pages),
        cmocka_unit_test(huge_pages),
        cmocka_unit_test(buffers_come_and_go),
        cmocka_unit_test(children),
        cmocka_unit_test(death),
        cmocka_unit_test(short_spans),
        cmocka_unit_test(daemon_dies),
    };

    return cmocka_run_group_tests_name("heap", tests, group_start, group_stop);
}
