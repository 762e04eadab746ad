/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufd-bench: how fast and how large the daemon and the library are, beside what would be
 * possible. Run by scripts/bench under "dmabufctl run", which gives it a daemon of its own. Judges
 * nothing: a number is a number, and the exit status only says whether there are some.
 */
#include <err.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "bench/bench.h"

static const struct {
    const char *name;
    void (*run)(struct bench *bench);
} rows[] = {
    { "roundtrip", row_roundtrip }, { "cold", row_cold },           { "translate", row_translate },
    { "forms", row_forms },         { "neighbour", row_neighbour }, { "memory", row_memory },
};

#define ROWS_ALL ((1U << ARRAY_LEN(rows)) - 1)

static const char help[] = "Usage: dmabufd-bench [--json] [--quick] [--rows=ROW,...]\n"
                           "Runs under \"dmabufctl run --\"; scripts/bench does all of it.\n"
                           "Rows: roundtrip, cold, translate, forms, neighbour, memory.\n";

struct choices {
    bool json;
    bool quick;
    unsigned int rows; /* bit mask */
};

/* What was so at the time. */
struct circumstances {
    char cpu[128];
    char kernel[160];
    double load_begin;
    double load_end;
    double seconds;
};

const char *format_size(char text[16], uint64_t size)
{
    if (size >= GIB)
        snprintf(text, 16, "%" PRIu64 " GiB", size / GIB);
    else if (size >= MIB)
        snprintf(text, 16, "%" PRIu64 " MiB", size / MIB);
    else
        snprintf(text, 16, "%" PRIu64 " KiB", size / KIB);
    return text;
}

uint64_t meminfo(const char *field)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0 &&
            sscanf(line + strlen(field), "%llu", &kib) == 1)
            break;
        kib = 0;
    }
    fclose(file);
    return (uint64_t)kib * KIB;
}

static double load_now(void)
{
    double load = 0;

    return getloadavg(&load, 1) == 1 ? load : -1;
}

static void look_around(struct circumstances *around)
{
    char line[256];
    struct utsname name;
    FILE *file = fopen("/proc/cpuinfo", "re");

    snprintf(around->cpu, sizeof(around->cpu), "unknown CPU");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "model name : %127[^\n]", around->cpu) == 1)
            break;
    }
    if (file)
        fclose(file);
    if (uname(&name) == 0)
        snprintf(around->kernel, sizeof(around->kernel), "%s %s", name.sysname, name.release);
    around->load_begin = load_now();
}

static unsigned int parse_rows(const char *text)
{
    CLEANUP_FREE char *copy = strdup(text);
    unsigned int mask = 0;

    for (char *name = copy ? strtok(copy, ",") : NULL; name; name = strtok(NULL, ",")) {
        size_t i = 0;

        while (i < ARRAY_LEN(rows) && strcmp(rows[i].name, name) != 0)
            i++;
        if (i == ARRAY_LEN(rows))
            errx(2, "there is no row '%s': see --help", name);
        mask |= 1U << i;
    }
    if (mask == 0)
        errx(2, "--rows: which?");
    return mask;
}

static struct choices parse(int argc, char **argv)
{
    static const struct option options[] = { { "json", no_argument, NULL, 'j' },
                                             { "quick", no_argument, NULL, 'q' },
                                             { "rows", required_argument, NULL, 'r' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct choices choices = { .rows = ROWS_ALL };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0) {
        switch (option) {
        case 'j':
            choices.json = true;
            break;
        case 'q':
            choices.quick = true;
            break;
        case 'r':
            choices.rows = parse_rows(optarg);
            break;
        case 'h':
            fputs(help, stdout);
            exit(0);
        default:
            exit(2);
        }
    }
    if (optind < argc)
        errx(2, "unexpected argument: %s", argv[optind]);
    return choices;
}

/* Buffers of the floor are descriptors of this process. */
static void raise_descriptors(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = limit.rlim_max;
        setrlimit(RLIMIT_NOFILE, &limit);
    }
}

static void open_solo(struct bench *bench)
{
    static char why[128];
    int r = strcmp(dmabufd_get_info(bench->d)->backend, "fake") == 0 ? 1 : solo_open(&bench->solo);

    if (r == 0)
        return;
    if (r > 0)
        snprintf(why, sizeof(why), "none (the fake backend pins nothing)");
    else
        snprintf(why, sizeof(why), "none (io_uring or pagemap: %s)", strerror(-r));
    bench->no_solo = why;
}

static void print_table(const struct bench *bench, const struct circumstances *around)
{
    const struct dmabufd_info *info = dmabufd_get_info(bench->d);

    printf("%s, %d CPUs, %.1f GiB, %s\n", around->cpu, CPU_COUNT(&bench->placement.all),
           (double)meminfo("MemTotal:") / (double)GIB, around->kernel);
    printf("backend %s%s; load %.1f at the start, %.1f at the end, after %.0f s\n", info->backend,
           strcmp(info->backend, "fake") == 0 ? " (NOT REAL: it pins nothing)" : "",
           around->load_begin, around->load_end, around->seconds);
    printf("Medians; ratio: ours / floor, of the medians and of the 99th percentiles.\n");
    report_table(&bench->report);
}

static void print_json(const struct bench *bench, const struct circumstances *around)
{
    const struct dmabufd_info *info = dmabufd_get_info(bench->d);
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:I, s:s, s:b, s:f, s:f, s:f, s:o}", "cpu", around->cpu,
                  "kernel", around->kernel, "cpus", CPU_COUNT(&bench->placement.all), "memory",
                  (json_int_t)meminfo("MemTotal:"), "backend", info->backend, "quick", bench->quick,
                  "load_begin", around->load_begin, "load_end", around->load_end, "seconds",
                  around->seconds, "results", report_json(&bench->report));

    if (!root || json_dumpf(root, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0)
        errx(1, "cannot write JSON");
    printf("\n");
    json_decref(root);
}

int main(int argc, char **argv)
{
    struct choices choices = parse(argc, argv);
    struct bench bench = { .quick = choices.quick, .solo = SOLO_NONE };
    struct circumstances around;
    uint64_t begin = now_ns();

    /* Whatever ends "dmabufctl run" ends this. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    look_around(&around);
    raise_descriptors();
    placement_init(&bench.placement);
    if (dmabufd_connect(&bench.d, NULL) < 0)
        errx(1, "%s", dmabufd_last_error());
    bench.report.progress = isatty(STDERR_FILENO);
    open_solo(&bench);
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (choices.rows & (1U << i))
            rows[i].run(&bench);
    }
    around.load_end = load_now();
    around.seconds = (double)(now_ns() - begin) / 1e9;
    if (choices.json)
        print_json(&bench, &around);
    else
        print_table(&bench, &around);
    report_deinit(&bench.report);
    solo_close(&bench.solo);
    dmabufd_disconnect(bench.d);
    return 0;
}
