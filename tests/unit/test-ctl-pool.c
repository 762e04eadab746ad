/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * 'dmabufctl pool' (client/ctl-pool.h) against a daemon and a sysfs that are played here: what it
 * shows, what it asks for, and when it stops to wait. The picture is test-ctl-pool-map.c's.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "client/ctl-hugepages.h"
#include "client/ctl-pool.h"
#include "common/cleanup.h"
#include "tests/unit/fake-daemon.h"

#define MIB2 (UINT64_C(2) << 20)
#define GIB1 (UINT64_C(1) << 30)

/* ---- the daemon ---- */

struct player {
    struct fake fake;
    struct dmabufd_pool_set sets[4];
    uint32_t count;
    uint64_t available; /* pages that the host has for each set */
    bool denies_map;
    struct dmabufd_pool_map map;
    unsigned int resizes;
};

static struct player player;
static pthread_t thread;
static char errors[4096], output[65536];

static void say_set(uint64_t id, uint32_t index)
{
    const struct dmabufd_pool_set *set = &player.sets[index];
    Dmabufd__Proto__PoolReply body = DMABUFD__PROTO__POOL_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    if (player.count > 0) {
        body.set_count = player.count;
        body.set = index;
        body.node = set->node;
        body.page_size = set->page_size;
        body.target = set->target;
        body.ready = set->ready;
        body.refilling = set->refilling != 0;
        body.largest_run = set->largest_run;
        body.runs = (uint32_t *)set->runs;
        body.n_runs = DMABUFD_POOL_RUNS;
        body.files = (uint32_t *)set->files;
        body.n_files = DMABUFD_POOL_CLASSES;
    }
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_POOL;
    reply.pool = &body;
    fake_say(&player.fake, &reply, NULL);
}

static void say_map(uint64_t id)
{
    Dmabufd__Proto__PoolMapReply body = DMABUFD__PROTO__POOL_MAP_REPLY__INIT;
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    static char text[] = "not for you";

    reply.id = id;
    if (player.denies_map) {
        error.code = DMABUFD__PROTO__ERROR_CODE__ERROR_DENIED;
        error.errno_value = EPERM;
        error.text = text;
        reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
        reply.error = &error;
    } else {
        body.cell = player.map.cell;
        body.ready.data = player.map.ready;
        body.held.data = player.map.held;
        body.ready.len = body.held.len = player.map.count;
        reply.body_case = DMABUFD__PROTO__REPLY__BODY_POOL_MAP;
        reply.pool_map = &body;
    }
    fake_say(&player.fake, &reply, NULL);
}

static uint32_t resize(const Dmabufd__Proto__PoolResizeRequest *request)
{
    for (uint32_t i = 0; i < player.count; i++) {
        struct dmabufd_pool_set *set = &player.sets[i];

        if (set->page_size == request->page_size && set->node == request->node) {
            player.resizes++;
            set->target = request->pages * set->page_size;
            set->refilling = set->ready != set->target;
            return i;
        }
    }
    fail();
    return 0;
}

/* A page or two each time somebody looks. */
static void work(struct dmabufd_pool_set *set)
{
    uint64_t most = player.available * set->page_size;

    for (int i = 0; i < 2 && set->refilling; i++) {
        if (set->ready > set->target)
            set->ready -= set->page_size;
        else if (set->ready < most)
            set->ready += set->page_size;
        set->refilling =
            set->ready != set->target && (set->ready > set->target || set->ready < most);
    }
}

static void *play(void *unused)
{
    const proto_request *request;
    struct wire_fds fds;

    (void)unused;
    while ((request = fake_request(&player.fake, &fds))) {
        switch (request->body_case) {
        case DMABUFD__PROTO__REQUEST__BODY_POOL:
            work(&player.sets[request->pool->set]);
            say_set(request->id, request->pool->set);
            break;
        case DMABUFD__PROTO__REQUEST__BODY_POOL_RESIZE:
            say_set(request->id, resize(request->pool_resize));
            break;
        default:
            say_map(request->id);
            break;
        }
    }
    fd_close(&player.fake.sock);
    return NULL;
}

/* ---- what dmabufctl.c has ---- */

__attribute__((format(printf, 1, 0))) static void note(const char *format, va_list args)
{
    size_t used = strlen(errors);

    vsnprintf(errors + used, sizeof(errors) - used, format, args);
}

int ctl_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    note(format, args);
    va_end(args);
    return CTL_FAILED;
}

int ctl_usage(const struct command *command, const char *format, ...)
{
    va_list args;

    (void)command;
    va_start(args, format);
    note(format, args);
    va_end(args);
    return CTL_USAGE;
}

int ctl_option(const struct command *command, int option)
{
    (void)command;
    return option == 'h' ? CTL_OK : CTL_USAGE;
}

int ctl_connect(const struct ctl *ctl, dmabufd **ret)
{
    (void)ctl;
    assert_int_equal(fake_meet(&player.fake, 0, ret), 0);
    assert_int_equal(pthread_create(&thread, NULL, play, NULL), 0);
    return 0;
}

/* Words apart by blanks. Return: exit status; what it printed is in output. */
static int run(bool json, const char *words)
{
    char *argv[16] = { NULL }, copy[256];
    const struct ctl ctl = { .json = json };
    int argc = 0, saved = dup(STDOUT_FILENO), status;
    FILE *file = tmpfile();
    size_t n;

    snprintf(copy, sizeof(copy), "%s", words);
    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " "))
        argv[argc++] = word;
    errors[0] = '\0';
    thread = 0;
    fflush(stdout);
    dup2(fileno(file), STDOUT_FILENO);
    optind = 0;
    status = ctl_pool.run(&ctl, argc, argv);
    fflush(stdout);
    dup2(saved, STDOUT_FILENO);
    close(saved);
    if (thread)
        pthread_join(thread, NULL);
    rewind(file);
    n = fread(output, 1, sizeof(output) - 1, file);
    output[n] = '\0';
    fclose(file);
    return status;
}

static int setup(void **state)
{
    (void)state;
    player = (struct player){ .count = 3, .available = 1000 };
    player.sets[0] = (struct dmabufd_pool_set){ .page_size = MIB2, .node = 0 };
    player.sets[1] = (struct dmabufd_pool_set){ .page_size = GIB1, .node = 0 };
    player.sets[2] = (struct dmabufd_pool_set){ .page_size = MIB2, .node = 1 };
    return 0;
}

/* ---- showing ---- */

static void shown_as_text(void **state)
{
    (void)state;
    player.sets[0].target = 8 * MIB2;
    player.sets[0].ready = 5 * MIB2;
    player.sets[0].largest_run = 3 * MIB2;
    player.sets[0].runs[0] = 2;
    player.sets[0].runs[1] = 1;
    player.sets[0].files[0] = 5;
    player.map = (struct dmabufd_pool_map){ .cell = GIB1, .count = 1, .ready = { 1 } };
    assert_int_equal(run(false, "pool"), CTL_OK);
    assert_non_null(strstr(output, "16 MiB   10 MiB        6 MiB"));
    assert_non_null(strstr(output, "starved"));
    assert_non_null(strstr(output, "unused"));
    assert_non_null(strstr(output, "Of pages of 2 MiB on node 0, 3 are missing"));
    assert_non_null(strstr(output, "2  ########################################\n"));
    assert_non_null(strstr(output, "1  ####################\n"));
    assert_non_null(strstr(output, "  0x0  +\n"));
    assert_string_equal(errors, "");
    /* Who may not see where it is, sees the rest. */
    player.denies_map = true;
    assert_int_equal(run(false, "pool"), CTL_OK);
    assert_non_null(strstr(output, "starved"));
    assert_non_null(strstr(output, "only root and the user that runs the daemon"));
    assert_null(strstr(output, "0x0"));
    player.count = 0;
    assert_int_equal(run(false, "pool"), CTL_OK);
    assert_non_null(strstr(output, "no pool"));
}

static void shown_as_json(void **state)
{
    json_t *value, *set;

    (void)state;
    player.sets[2].target = player.sets[2].ready = 4 * MIB2;
    player.sets[2].runs[1] = 2;
    player.map = (struct dmabufd_pool_map){ .cell = GIB1, .count = 2, .held = { 0, 255 } };
    for (int i = 0; i < 2; i++) {
        player.denies_map = i == 1;
        assert_int_equal(run(true, "pool"), CTL_OK);
        value = json_loads(output, 0, NULL);
        assert_non_null(value);
        assert_int_equal(json_array_size(json_object_get(value, "sets")), 3);
        set = json_array_get(json_object_get(value, "sets"), 2);
        assert_int_equal(json_integer_value(json_object_get(set, "node")), 1);
        assert_int_equal(json_integer_value(json_object_get(set, "ready")), 4 * MIB2);
        assert_string_equal(json_string_value(json_object_get(set, "state")), "full");
        set = json_array_get(json_object_get(set, "runs"), 0);
        assert_int_equal(json_integer_value(json_object_get(set, "size")), 2 * MIB2);
        assert_int_equal(json_integer_value(json_object_get(set, "count")), 2);
        set = json_object_get(value, "map");
        assert_int_equal(json_is_null(set), i == 1);
        if (i == 0)
            assert_int_equal(json_integer_value(json_array_get(json_object_get(set, "held"), 1)),
                             255);
        json_decref(value);
    }
}

/* ---- resizing ---- */

static void spread_evenly(void **state)
{
    (void)state;
    assert_int_equal(pool_share(7, 3, 0), 3);
    assert_int_equal(pool_share(7, 3, 1), 2);
    assert_int_equal(pool_share(7, 3, 2), 2);
    assert_int_equal(pool_share(0, 3, 0), 0);
    assert_int_equal(run(false, "pool resize 2M 7"), CTL_OK);
    assert_int_equal(player.sets[0].ready, 4 * MIB2);
    assert_int_equal(player.sets[2].ready, 3 * MIB2);
    assert_int_equal(player.sets[1].target, 0);
    assert_int_equal(player.resizes, 2);
    assert_string_equal(errors, "");
    assert_int_equal(run(false, "pool resize --node 1 2M 1"), CTL_OK);
    assert_int_equal(player.sets[0].ready, 4 * MIB2);
    assert_int_equal(player.sets[2].ready, MIB2);
    assert_int_equal(run(false, "pool resize 1G 3 --no-wait"), CTL_OK);
    assert_int_equal(player.sets[1].target, 3 * GIB1);
    assert_int_not_equal(player.sets[1].ready, 3 * GIB1);
    assert_non_null(strstr(output, "refilling"));
}

static void starved_is_a_failure(void **state)
{
    (void)state;
    player.available = 3;
    assert_int_equal(run(false, "pool resize -n 0 2M 5"), CTL_FAILED);
    assert_non_null(strstr(errors, "of 5 pages of 2 MiB on node 0, 2 are missing"));
    assert_non_null(strstr(errors, "nr_hugepages"));
    assert_non_null(strstr(errors, "--reserve"));
    assert_non_null(strstr(output, "starved"));
}

static void wrong_usage(void **state)
{
    static const char *const wrong[] = {
        "pool x",
        "pool -r",
        "pool resize",
        "pool resize 2M",
        "pool resize 2M 1 1",
        "pool resize 4K 1",
        "pool resize 1G x",
        "pool resize 2M -1",
        "pool resize -n x 2M 1",
        "pool resize 1G 9000000000",
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        if (run(false, wrong[i]) != CTL_USAGE)
            fail_msg("%s", wrong[i]);
        assert_string_equal(output, "");
    }
    assert_int_equal(run(false, "pool resize --node=7 2M 1"), CTL_FAILED);
    assert_non_null(strstr(errors, "node 7"));
    player.count = 1;
    assert_int_equal(run(false, "pool resize 1G 1"), CTL_FAILED);
    assert_non_null(strstr(errors, "no pages of 1 GiB"));
    assert_int_equal(player.resizes, 0);
}

/* ---- --reserve ---- */

static char folder[64];

static void write_file(const char *where, const char *name, unsigned int value)
{
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s/%s", folder, where, name);
    file = fopen(path, "we");
    assert_non_null(file);
    fprintf(file, "%u\n", value);
    fclose(file);
}

static unsigned int read_total(const char *where)
{
    unsigned int value = 0;
    char path[256];
    FILE *file;

    snprintf(path, sizeof(path), "%s/%s/nr_hugepages", folder, where);
    file = fopen(path, "re");
    assert_non_null(file);
    assert_int_equal(fscanf(file, "%u", &value), 1);
    fclose(file);
    return value;
}

static const char *const places[] = {
    "kernel/mm/hugepages/hugepages-2048kB",
    "devices/system/node/node0/hugepages/hugepages-2048kB",
    "devices/system/node/node1/hugepages/hugepages-2048kB",
};

static int make_sysfs(void **state)
{
    char command[256];

    setup(state);
    snprintf(folder, sizeof(folder), "/tmp/dmabufd-test-XXXXXX");
    assert_non_null(mkdtemp(folder));
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        snprintf(command, sizeof(command), "mkdir -p %s/%s", folder, places[i]);
        assert_int_equal(system(command), 0);
        write_file(places[i], "nr_hugepages", 10);
        write_file(places[i], "free_hugepages", 4);
    }
    write_file(places[0], "resv_hugepages", 1);
    hugepages_sysfs = folder;
    return 0;
}

static int remove_sysfs(void **state)
{
    char command[256];

    (void)state;
    hugepages_sysfs = "/sys";
    snprintf(command, sizeof(command), "rm -rf %s", folder);
    return system(command);
}

/* Of what it takes, some is ready and some is free. */
static void reserved_on_each_node(void **state)
{
    (void)state;
    player.sets[0].ready = player.sets[0].target = 2 * MIB2;
    assert_int_equal(run(false, "pool resize --reserve 2M 18"), CTL_OK);
    assert_int_equal(read_total(places[0]), 10);
    assert_int_equal(read_total(places[1]), 10 + 9 - 2 - 4);
    assert_int_equal(read_total(places[2]), 10 + 9 - 4);
    assert_non_null(strstr(output, "has 13 pages of 2 MiB on node 0 now, before it had 10"));
    assert_int_equal(run(false, "pool resize --reserve 2M 4"), CTL_OK);
    assert_int_equal(read_total(places[2]), 15);
    assert_non_null(strstr(output, "Enough pages"));
}

static void reserved_of_the_host(void **state)
{
    json_t *value, *list;

    (void)state;
    /* The only node: then what is promised is known, too. */
    player.count = 2;
    assert_int_equal(run(true, "pool resize -r 2M 8"), CTL_OK);
    assert_int_equal(read_total(places[0]), 10 + 8 - 3);
    assert_int_equal(read_total(places[1]), 10);
    value = json_loads(output, 0, NULL);
    assert_non_null(value);
    list = json_object_get(value, "reserved");
    assert_int_equal(json_array_size(list), 1);
    assert_int_equal(json_integer_value(json_object_get(json_array_get(list, 0), "after")), 15);
    assert_int_equal(json_array_size(json_object_get(value, "sets")), 1);
    json_decref(value);
}

/* Nothing is resized to what the kernel could not be asked for. */
static void not_to_be_reserved(void **state)
{
    (void)state;
    hugepages_sysfs = "/nonexistent";
    assert_int_equal(run(false, "pool resize -r 2M 8"), CTL_FAILED);
    assert_non_null(strstr(errors, "cannot read the number of huge pages"));
    assert_int_equal(player.resizes, 0);
}

#define TEST(name)    cmocka_unit_test_setup(name, setup)
#define RESERVE(name) cmocka_unit_test_setup_teardown(name, make_sysfs, remove_sysfs)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(shown_as_text),           TEST(shown_as_json),         TEST(spread_evenly),
        TEST(starved_is_a_failure),    TEST(wrong_usage),           RESERVE(reserved_on_each_node),
        RESERVE(reserved_of_the_host), RESERVE(not_to_be_reserved),
    };

    return cmocka_run_group_tests_name("dmabufctl pool", tests, NULL, NULL);
}
