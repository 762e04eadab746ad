/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "memory": what an idle client and a live buffer of 4 KiB cost: the daemon's own memory, by
 * Private_Dirty in /proc/PID/smaps_rollup, and the kernel's, by /proc/meminfo. The floor of the
 * kernel's share is the same number of bare sockets, or of buffers that a process made alone.
 *
 * The kernel's numbers are those of the whole host: on a busy one they are noise.
 */
#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/crowd.h"

#define ROW "memory"

/* Bytes. */
struct usage {
    double broker;
    double keeper;
    double slab;
    double tables;
};

static double private_dirty(pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return -1;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Private_Dirty: %llu", &kib) == 1)
            break;
    }
    fclose(file);
    return (double)kib * 1024;
}

/* Waits a little, for what the kernel frees late. */
static struct usage look(const struct bench *bench)
{
    usleep(bench->quick ? 100000 : 500000);
    return (struct usage){ .broker = private_dirty(bench->placement.broker),
                           .keeper = private_dirty(bench->placement.keeper),
                           .slab = (double)meminfo("Slab:"),
                           .tables = (double)meminfo("PageTables:") };
}

static void add(struct bench *bench, const char *what, const char *of, double grown, double floor,
                unsigned int count, const char *note)
{
    struct result result = { .row = ROW,
                             .where = "-",
                             .unit = UNIT_BYTES,
                             .ours = samples_one(grown / count),
                             .floor_name =
                                 "for the kernel's share: a bare socket, a buffer made alone" };

    if (floor >= 0)
        result.floor = samples_one(floor / count);
    snprintf(result.what, sizeof(result.what), "%s, %s", what, of);
    snprintf(result.note, sizeof(result.note), "%s", note);
    report_add(&bench->report, &result);
}

static void compare(struct bench *bench, const char *what, unsigned int count,
                    const struct usage *before, const struct usage *after,
                    const struct usage *floor, double left)
{
    char note[96];

    snprintf(note, sizeof(note),
             "%.0f KiB of broker and keeper together stayed when all %u had gone", left / 1024,
             count);
    if (before->broker < 0 || before->keeper < 0)
        report_skip(&bench->report, ROW, what, "-", "the daemon's smaps_rollup cannot be read");
    else {
        add(bench, what, "broker", after->broker - before->broker, -1, count, note);
        add(bench, what, "keeper", after->keeper - before->keeper, -1, count, "");
    }
    add(bench, what, "kernel slab", after->slab - before->slab, floor ? floor->slab : -1, count,
        "");
    add(bench, what, "page tables", after->tables - before->tables, floor ? floor->tables : -1,
        count, "");
}

/* Until only this program is connected and nothing is being released. */
static void wait_for_quiet(struct bench *bench)
{
    struct dmabufd_status status;

    do {
        usleep(10000);
        if (dmabufd_get_status(bench->d, &status) < 0)
            errx(1, "%s", dmabufd_last_error());
    } while (status.clients > 1 || status.jobs > 0 || status.pinned > 0);
}

static struct usage less(const struct usage *a, const struct usage *b)
{
    return (struct usage){ .slab = a->slab - b->slab, .tables = a->tables - b->tables };
}

static bool floor_sockets(const struct bench *bench, unsigned int count, struct usage *ret)
{
    CLEANUP_FREE int *sockets = calloc(count, 2 * sizeof(*sockets));
    struct usage before = look(bench), after;
    unsigned int made = 0;

    while (sockets && made < count &&
           socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets + (size_t)made * 2) == 0)
        made++;
    after = look(bench);
    for (unsigned int i = 0; i < made * 2; i++)
        close(sockets[i]);
    *ret = less(&after, &before);
    return made == count;
}

static bool floor_buffers(const struct bench *bench, unsigned int count, struct usage *ret)
{
    CLEANUP_FREE struct solo_buffer *buffers = calloc(count, sizeof(*buffers));
    struct usage before = look(bench), after;
    unsigned int made = 0;

    while (buffers && !bench->no_solo && made < count &&
           solo_allocate(&bench->solo, SOLO_BY_PIN, PAGE_SMALL, PAGE_SMALL, made, &buffers[made]) ==
               0)
        made++;
    after = look(bench);
    for (unsigned int i = 0; i < made; i++)
        solo_free(&bench->solo, &buffers[i]);
    *ret = less(&after, &before);
    return made == count;
}

static void idle_clients(struct bench *bench, unsigned int each)
{
    CLEANUP_CROWD struct crowd crowd = { 0 };
    unsigned int count = each * CROWD_PROCESSES;
    const char *why;
    struct usage before, after, left, floor;
    bool has_floor = floor_sockets(bench, count, &floor);

    wait_for_quiet(bench);
    crowd_start(&crowd);
    before = look(bench);
    why = crowd_connect(&crowd, each);
    if (why) {
        report_skip(&bench->report, ROW, "idle client", "-", why);
        return;
    }
    after = look(bench);
    crowd_stop(&crowd);
    wait_for_quiet(bench);
    left = look(bench);
    compare(bench, "idle client", count, &before, &after, has_floor ? &floor : NULL,
            left.broker + left.keeper - before.broker - before.keeper);
}

static void live_buffers(struct bench *bench, unsigned int each)
{
    CLEANUP_CROWD struct crowd crowd = { 0 };
    unsigned int count = each * CROWD_PROCESSES;
    const char *why;
    struct usage before, after, left, floor;
    bool has_floor = floor_buffers(bench, count, &floor);

    wait_for_quiet(bench);
    crowd_start(&crowd);
    why = crowd_connect(&crowd, 1);
    before = look(bench);
    if (!why)
        why = crowd_allocate(&crowd, each);
    if (why) {
        report_skip(&bench->report, ROW, "live buffer", "-", why);
        return;
    }
    after = look(bench);
    crowd_stop(&crowd);
    wait_for_quiet(bench);
    left = look(bench);
    compare(bench, "live buffer", count, &before, &after, has_floor ? &floor : NULL,
            left.broker + left.keeper - before.broker - before.keeper);
}

/* In each process. All are one user's, who can hold little more than one connection alone. */
static unsigned int buffers_each(const struct bench *bench)
{
    unsigned int allowed = dmabufd_get_info(bench->d)->max_buffers / CROWD_PROCESSES;
    unsigned int wanted = bench->quick ? 200 : 1000;

    return wanted < allowed ? wanted : allowed;
}

void row_memory(struct bench *bench)
{
    placement_enter(&bench->placement, PLACE_ANY_CPU);
    idle_clients(bench, bench->quick ? 20 : 100);
    live_buffers(bench, buffers_each(bench));
}
