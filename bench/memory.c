/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "memory": what an idle client and a live buffer of 4 KiB cost, when there are 10,000 clients
 * and 100,000 buffers, or as many as limits allow; each line says how many there were. The daemon's
 * heap and the kernel's memory are told apart:
 *
 *     broker heap, keeper heap   anonymous memory, "Anonymous:" in /proc/PID/smaps_rollup
 *     kernel slab, vmalloc       of the whole host, from /proc/meminfo: on a busy one it is noise
 *     page tables                likewise; mostly those of the clients
 *
 * The floor of the kernel's share is the same number of bare pairs of sockets, or of buffers that
 * one process made alone (solo.h), as far as its descriptors go.
 */
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "bench/bench.h"
#include "bench/crowd.h"

#define ROW "memory"

#define CLIENTS       10000U
#define BUFFERS       100000U
#define CLIENTS_QUICK 200U
#define BUFFERS_QUICK 2000U
/* Descriptors that this program needs for other things. */
#define DESCRIPTORS_SPARE 200U
/* The ring of solo.h has room for no more. */
#define SOLO_MAX 16000U

enum kind { BROKER_HEAP, KEEPER_HEAP, SLAB, VMALLOC, TABLES, KINDS };

static const char *const kind_names[KINDS] = {
    [BROKER_HEAP] = "broker heap", [KEEPER_HEAP] = "keeper heap", [SLAB] = "kernel slab",
    [VMALLOC] = "kernel vmalloc",  [TABLES] = "page tables",
};

/* Bytes. */
struct usage {
    double bytes[KINDS];
};

/* Growth of the host with things that the daemon has nothing to do with. */
struct yardstick {
    struct usage grown;
    unsigned int count; /* 0: not known */
};

/* Of clients or buffers: what is asked for, and what there is. */
struct tally {
    const char *what;
    unsigned int wanted;
    unsigned int there;
    const char *why; /* not all; or NULL */
};

/* Return: bytes; 0 if it cannot be read. */
static double heap_of(pid_t pid)
{
    char path[64], line[256];
    unsigned long long kib = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", (int)pid);
    file = fopen(path, "re");
    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Anonymous: %llu", &kib) == 1)
            break;
    }
    fclose(file);
    return (double)kib * KIB;
}

/* Waits a little, for what the kernel frees late. */
static struct usage look(const struct bench *bench)
{
    usleep(bench->quick ? 100000 : 500000);
    return (struct usage){ .bytes = { [BROKER_HEAP] = heap_of(bench->placement.broker),
                                      [KEEPER_HEAP] = heap_of(bench->placement.keeper),
                                      [SLAB] = (double)meminfo("Slab:"),
                                      [VMALLOC] = (double)meminfo("VmallocUsed:"),
                                      [TABLES] = (double)meminfo("PageTables:") } };
}

static struct usage growth(const struct usage *before, const struct usage *after)
{
    struct usage grown;

    for (enum kind kind = 0; kind < KINDS; kind++)
        grown.bytes[kind] = after->bytes[kind] - before->bytes[kind];
    return grown;
}

static void add(struct bench *bench, const struct tally *tally, enum kind kind, double grown,
                const struct yardstick *floor)
{
    struct result result = { .row = ROW,
                             .where = "-",
                             .unit = UNIT_BYTES,
                             .ours = samples_one(grown / tally->there),
                             .floor_name = "for the kernel's share: a bare pair of sockets, a "
                                           "buffer that a process made alone" };

    if (kind > KEEPER_HEAP && floor->count > 0)
        result.floor = samples_one(floor->grown.bytes[kind] / floor->count);
    snprintf(result.what, sizeof(result.what), "%s, one of %u: %s", tally->what, tally->there,
             kind_names[kind]);
    /* Once is enough. */
    if (tally->why && kind == 0)
        snprintf(result.note, sizeof(result.note), "not %u: %s", tally->wanted, tally->why);
    report_add(&bench->report, &result);
}

/* What did not go when they went. */
static void add_left(struct bench *bench, const struct tally *tally, const struct usage *left)
{
    struct result result = { .row = ROW,
                             .where = "-",
                             .unit = UNIT_BYTES,
                             .ours =
                                 samples_one(left->bytes[BROKER_HEAP] + left->bytes[KEEPER_HEAP]) };

    snprintf(result.what, sizeof(result.what), "%s: what all %u left in both heaps", tally->what,
             tally->there);
    report_add(&bench->report, &result);
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

static unsigned int descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur < DESCRIPTORS_SPARE)
        return 0;
    return limit.rlim_cur > UINT32_MAX ? UINT32_MAX
                                       : (unsigned int)limit.rlim_cur - DESCRIPTORS_SPARE;
}

static unsigned int least(unsigned int a, unsigned int b)
{
    return a < b ? a : b;
}

static struct yardstick bare_sockets(const struct bench *bench, unsigned int wanted)
{
    unsigned int count = least(wanted, descriptors() / 2);
    CLEANUP_FREE int *sockets = calloc(count + 1, 2 * sizeof(*sockets));
    struct usage before = look(bench), after;
    struct yardstick yardstick = { .count = 0 };

    while (sockets && yardstick.count < count &&
           socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0,
                      sockets + (size_t)yardstick.count * 2) == 0)
        yardstick.count++;
    after = look(bench);
    for (unsigned int i = 0; i < yardstick.count * 2; i++)
        close(sockets[i]);
    yardstick.grown = growth(&before, &after);
    return yardstick;
}

static struct yardstick lone_buffers(const struct bench *bench, unsigned int wanted)
{
    unsigned int count = least(wanted, least(descriptors(), SOLO_MAX));
    CLEANUP_FREE struct solo_buffer *buffers = calloc(count + 1, sizeof(*buffers));
    struct usage before = look(bench), after;
    struct yardstick yardstick = { .count = 0 };

    while (buffers && !bench->no_solo && yardstick.count < count &&
           solo_allocate(&bench->solo, SOLO_BY_PIN, PAGE_SMALL, PAGE_SMALL, yardstick.count,
                         &buffers[yardstick.count]) == 0)
        yardstick.count++;
    after = look(bench);
    for (unsigned int i = 0; i < yardstick.count; i++)
        solo_free(&bench->solo, &buffers[i]);
    yardstick.grown = growth(&before, &after);
    return yardstick;
}

static void report(struct bench *bench, const struct tally *tally, const struct usage *grown,
                   const struct usage *left, const struct yardstick *floor)
{
    if (tally->there == 0) {
        report_skip(&bench->report, ROW, tally->what, "-", tally->why);
        return;
    }
    for (enum kind kind = 0; kind < KINDS; kind++) {
        if (kind <= KEEPER_HEAP && heap_of(bench->placement.keeper) <= 0)
            report_skip(&bench->report, ROW, tally->what, "-",
                        "the daemon's smaps_rollup cannot be read");
        else
            add(bench, tally, kind, grown->bytes[kind], floor);
    }
    add_left(bench, tally, left);
}

static struct dmabufd_status status(const struct bench *bench)
{
    struct dmabufd_status now;

    if (dmabufd_get_status(bench->d, &now) < 0)
        errx(1, "%s", dmabufd_last_error());
    return now;
}

static void idle_clients(struct bench *bench, unsigned int wanted)
{
    CLEANUP_CROWD struct crowd crowd = { 0 };
    struct tally tally = { .what = "idle client", .wanted = wanted };
    struct yardstick floor = bare_sockets(bench, wanted);
    struct usage before, after, end, grown, left;

    wait_for_quiet(bench);
    crowd_start(&crowd);
    before = look(bench);
    tally.why = crowd_connect(&crowd, wanted / CROWD_PROCESSES);
    tally.there = status(bench).clients - 1;
    after = look(bench);
    grown = growth(&before, &after);
    crowd_stop(&crowd);
    wait_for_quiet(bench);
    end = look(bench);
    left = growth(&before, &end);
    report(bench, &tally, &grown, &left, &floor);
}

static void live_buffers(struct bench *bench, unsigned int wanted)
{
    CLEANUP_CROWD struct crowd crowd = { 0 };
    struct tally tally = { .what = "live buffer", .wanted = wanted };
    struct yardstick floor = lone_buffers(bench, wanted);
    struct usage before, after, end, grown, left;

    wait_for_quiet(bench);
    crowd_start(&crowd);
    tally.why = crowd_connect(&crowd, 1);
    before = look(bench);
    if (!tally.why)
        tally.why = crowd_allocate(&crowd, wanted / CROWD_PROCESSES);
    tally.there = status(bench).buffers;
    after = look(bench);
    grown = growth(&before, &after);
    crowd_stop(&crowd);
    wait_for_quiet(bench);
    end = look(bench);
    left = growth(&before, &end);
    report(bench, &tally, &grown, &left, &floor);
}

void row_memory(struct bench *bench)
{
    placement_enter(&bench->placement, PLACE_ANY_CPU);
    idle_clients(bench, bench->quick ? CLIENTS_QUICK : CLIENTS);
    live_buffers(bench, bench->quick ? BUFFERS_QUICK : BUFFERS);
}
