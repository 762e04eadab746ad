/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The pool, as clients and as whoever runs the daemon see it: ready memory is granted and made again,
 * what was granted once is never granted to somebody else, and nothing is lost on the way.
 *
 * Needs free huge pages of 2 MiB; skipped without.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tests/integration/harness.h"
#include "tests/integration/ready.h"

#define MIB  (UINT64_C(1) << 20)
#define HUGE (2 * MIB)
#define GIB  (1024 * MIB)
/* Pages in the pool, and on the host for the tests to be worth something. */
#define POOL  40U
#define NEEDS 48U

static const char *const with_pool[] = { "--pool=2M:40", NULL };
static struct daemon daemon_of_test;
static dmabufd *admin;

static bool enough_pages(void)
{
    return huge_pages_free(HUGE) >= NEEDS;
}

static struct dmabufd_pool_set look(void)
{
    return ready_look(admin);
}

static int start(void **state)
{
    (void)state;
    if (!enough_pages())
        return 0;
    daemon_start(&daemon_of_test, with_pool);
    if (dmabufd_connect(&admin, NULL) < 0)
        return -1;
    ready_await(admin);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (!admin)
        return 0;
    admin = dmabufd_disconnect(admin);
    daemon_stop(&daemon_of_test);
    return 0;
}

#define NEED_PAGES() \
    do {             \
        if (!admin)  \
            skip();  \
    } while (0)

/* ---- what there is ---- */

static void says_what_it_has(void **state)
{
    struct dmabufd_pool_set set;
    uint64_t in_files = 0, runs = 0;

    (void)state;
    NEED_PAGES();
    set = look();
    assert_int_equal(set.target, POOL * HUGE);
    assert_int_equal(set.ready, POOL * HUGE);
    for (unsigned int i = 0; i < DMABUFD_POOL_CLASSES; i++)
        in_files += set.files[i] * (HUGE << i);
    assert_int_equal(in_files, set.ready);
    assert_true(set.files[0] > 0 && set.files[1] > 0);
    for (unsigned int i = 0; i < DMABUFD_POOL_RUNS; i++)
        runs += set.runs[i];
    assert_true(runs > 0 && set.largest_run >= HUGE && set.largest_run <= set.ready);
}

static void shows_where_it_is(void **state)
{
    struct dmabufd_pool_map map;
    uint64_t seen = 0;

    (void)state;
    NEED_PAGES();
    assert_int_equal(dmabufd_pool_get_map(admin, &map), 0);
    assert_true(map.count > 0 && map.count <= DMABUFD_POOL_CELLS);
    for (uint32_t i = 0; i < map.count; i++)
        seen += map.ready[i];
    assert_true(seen > 0 && map.ready[map.count - 1] > 0);
}

/* ---- grants ---- */

static int allocate_some(void *data)
{
    dmabufd_buffer *buffer;
    size_t spans;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    for (uint64_t size = HUGE; size <= 2 * HUGE; size *= 2) {
        unsigned char *bytes;

        CHECK(dmabufd_alloc(d, size, 0, &buffer) == 0);
        bytes = dmabufd_buffer_data(buffer);
        for (uint64_t at = 0; at < size; at += 4096)
            CHECK(bytes[at] == 0);
        memset(bytes, 0xa5, size);
        CHECK(dmabufd_buffer_page_size(buffer) == HUGE && dmabufd_buffer_size(buffer) == size);
        CHECK(dmabufd_buffer_chunk_count(buffer) == 1);
        dmabufd_buffer_spans(buffer, &spans);
        CHECK(spans >= 1 && spans <= size / HUGE);
        CHECK(dmabufd_free(buffer) == 0);
    }
    dmabufd_disconnect(d);
    return 0;
}

static void grants_and_makes_again(void **state)
{
    struct leftovers before;
    struct dmabufd_pool_set set;

    (void)state;
    NEED_PAGES();
    set = look();
    leftovers_read(&daemon_of_test, &before);
    run_as(TEST_CLIENT_UID, allocate_some, NULL);
    assert_int_equal(look().grants, set.grants + 2);
    assert_int_equal(look().misses, set.misses);
    ready_await(admin);
    assert_int_equal(look().refilled, set.refilled + 3 * HUGE);
    leftovers_settle(&daemon_of_test, &before);
}

/* ---- what left the daemon ---- */

struct kept {
    unsigned char *memory;
    int fd;
    ino_t ino;
};

static void take_and_free(dmabufd *d, struct kept *kept)
{
    dmabufd_buffer *buffer;
    struct stat st;

    assert_int_equal(dmabufd_alloc(d, HUGE, HUGE, &buffer), 0);
    kept->fd = fcntl(dmabufd_buffer_fd(buffer), F_DUPFD_CLOEXEC, 0);
    assert_true(kept->fd >= 0);
    assert_int_equal(fstat(kept->fd, &st), 0);
    kept->ino = st.st_ino;
    kept->memory = mmap(NULL, HUGE, PROT_READ | PROT_WRITE, MAP_SHARED, kept->fd, 0);
    assert_true(kept->memory != MAP_FAILED);
    memset(kept->memory, 0x11, HUGE);
    assert_int_equal(dmabufd_free(buffer), 0);
}

static bool is_empty(void *data)
{
    struct stat st;

    return fstat(*(int *)data, &st) == 0 && st.st_blocks == 0;
}

/* The first owner keeps a descriptor and a mapping, and writes through both when the page could long be
 * another's: enough is granted for all of the pool to have been made anew. */
static void never_grants_again(void **state)
{
    dmabufd_buffer *buffers[2 * POOL];
    dmabufd *first, *later;
    struct kept kept;
    size_t count = 0;

    (void)state;
    NEED_PAGES();
    assert_int_equal(dmabufd_connect(&first, NULL), 0);
    assert_int_equal(dmabufd_connect(&later, NULL), 0);
    take_and_free(first, &kept);
    wait_until(is_empty, &kept.fd);
    ready_await(admin);
    while (count < 2 * POOL && dmabufd_alloc(later, HUGE, HUGE, &buffers[count]) == 0)
        memset(dmabufd_buffer_data(buffers[count++]), 0x22, HUGE);
    assert_true(count >= POOL);
    /* There may be no page left for it: this is SIGBUS for the first owner, and nobody else's. */
    if (madvise(kept.memory, HUGE, MADV_POPULATE_WRITE) == 0)
        memset(kept.memory, 0x33, HUGE);
    assert_true(pwrite(kept.fd, "x", 1, 0) <= 0);
    for (size_t i = 0; i < count; i++) {
        const unsigned char *bytes = dmabufd_buffer_data(buffers[i]);
        struct stat st;

        assert_int_equal(fstat(dmabufd_buffer_fd(buffers[i]), &st), 0);
        assert_true(st.st_ino != kept.ino);
        for (uint64_t at = 0; at < HUGE; at += 4096)
            assert_int_equal(bytes[at], 0x22);
    }
    munmap(kept.memory, HUGE);
    close(kept.fd);
    dmabufd_disconnect(first);
    dmabufd_disconnect(later);
    ready_await(admin);
}

/* ---- when the pool is in the way ---- */

/* Neither the kernel nor the pool has enough pages alone, or not in that form. */
static void gives_up_pages(void **state)
{
    uint64_t size = (huge_pages_free(HUGE) + 5) * HUGE;
    struct leftovers before;
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)state;
    NEED_PAGES();
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, size, HUGE, &buffer), 0);
    assert_int_equal(dmabufd_buffer_page_size(buffer), HUGE);
    assert_int_equal(ready_check(buffer), 0);
    assert_true(look().ready < look().target);
    dmabufd_disconnect(d);
    ready_await(admin);
    leftovers_settle(&daemon_of_test, &before);
}

/* Three pages are no size that the pool has. */
static const struct dmabufd_constraints few_segments = { .max_segments = 64 };

static int die_with_buffers(void *data)
{
    dmabufd_buffer *buffer;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_alloc(d, HUGE, HUGE, &buffer) == 0);
    CHECK(dmabufd_alloc_constrained(d, 3 * HUGE, 0, &few_segments, &buffer) == 0);
    raise(SIGKILL);
    return 0;
}

static void survives_its_clients(void **state)
{
    struct leftovers before;

    (void)state;
    NEED_PAGES();
    leftovers_read(&daemon_of_test, &before);
    for (int i = 0; i < 20; i++) {
        pid_t pid = spawn_as(TEST_CLIENT_UID, die_with_buffers, NULL);

        assert_int_equal(join(pid), 128 + SIGKILL);
    }
    ready_await(admin);
    leftovers_settle(&daemon_of_test, &before);
}

/* ---- whoever runs the daemon ---- */

static int may_not(void *data)
{
    struct dmabufd_pool_set *list;
    struct dmabufd_pool_map map;
    size_t count;
    dmabufd *d;

    (void)data;
    CHECK(dmabufd_connect(&d, NULL) == 0);
    CHECK(dmabufd_pool(d, &list, &count) == 0 && count > 0);
    free(list);
    CHECK(dmabufd_pool_resize(d, HUGE, 0, 0, NULL) == -EPERM);
    CHECK(dmabufd_last_code() == DMABUFD_CODE_DENIED);
    CHECK(dmabufd_pool_get_map(d, &map) == -EPERM);
    dmabufd_disconnect(d);
    return 0;
}

static void belongs_to_its_owner(void **state)
{
    struct dmabufd_pool_set set;

    (void)state;
    NEED_PAGES();
    if (geteuid() == 0)
        run_as(TEST_CLIENT_UID, may_not, NULL);
    set = look();
    assert_int_equal(dmabufd_pool_resize(admin, 12345, 0, 1, NULL), -EOPNOTSUPP);
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, 999, 1, NULL), -EOPNOTSUPP);
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, set.node, UINT64_MAX, NULL), -E2BIG);
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, set.node, UINT64_C(1) << 40, NULL), -E2BIG);
    assert_int_equal(look().target, set.target);
}

static bool is_starved(void *data)
{
    struct dmabufd_pool_set set = look();

    (void)data;
    return set.ready < set.target && !set.refilling;
}

static bool host_has(void *data)
{
    return huge_pages_free(HUGE) >= *(uint64_t *)data;
}

static void grows_and_shrinks(void **state)
{
    uint64_t all = huge_pages_free(HUGE) + POOL;
    struct dmabufd_pool_set set;

    (void)state;
    NEED_PAGES();
    set = look();
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, set.node, all + 7, NULL), 0);
    wait_until(is_starved, NULL);
    assert_int_equal(look().ready, all * HUGE);
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, set.node, 0, &set), 0);
    assert_int_equal(set.target, 0);
    ready_await(admin);
    wait_until(host_has, &all);
    assert_int_equal(look().ready, 0);
    assert_int_equal(dmabufd_pool_resize(admin, HUGE, set.node, POOL, NULL), 0);
    ready_await(admin);
    assert_int_equal(look().ready, POOL * HUGE);
}

static bool has_gigantic(void *data)
{
    struct dmabufd_pool_set *list;
    size_t count, i = 0;
    uint64_t ready;

    assert_int_equal(dmabufd_pool(admin, &list, &count), 0);
    while (i < count && (list[i].page_size != GIB || list[i].node != *(uint32_t *)data))
        i++;
    assert_true(i < count);
    ready = list[i].ready;
    free(list);
    return ready == GIB;
}

/* A set of its own. Where there is no such page on the build machine, the virtual one has it. */
static void gigantic_page(void **state)
{
    struct leftovers before;
    dmabufd_buffer *buffer;
    uint32_t node;
    dmabufd *d;

    (void)state;
    NEED_PAGES();
    if (huge_pages_free(GIB) == 0)
        skip();
    node = look().node;
    leftovers_read(&daemon_of_test, &before);
    assert_int_equal(dmabufd_pool_resize(admin, GIB, node, 1, NULL), 0);
    wait_until(has_gigantic, &node);
    assert_int_equal(dmabufd_connect(&d, NULL), 0);
    assert_int_equal(dmabufd_alloc(d, GIB, 0, &buffer), 0);
    assert_int_equal(dmabufd_buffer_page_size(buffer), GIB);
    assert_int_equal(dmabufd_pool_resize(admin, GIB, node, 0, NULL), 0);
    memset(dmabufd_buffer_data(buffer), 1, HUGE);
    dmabufd_disconnect(d);
    ready_await(admin);
    leftovers_settle(&daemon_of_test, &before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(says_what_it_has),       cmocka_unit_test(shows_where_it_is),
        cmocka_unit_test(grants_and_makes_again), cmocka_unit_test(never_grants_again),
        cmocka_unit_test(gives_up_pages),         cmocka_unit_test(survives_its_clients),
        cmocka_unit_test(belongs_to_its_owner),   cmocka_unit_test(grows_and_shrinks),
        cmocka_unit_test(gigantic_page),
    };

    return cmocka_run_group_tests_name("pool", tests, start, stop);
}
