/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufd-bench: how fast and how large the daemon and the library are, beside what would be
 * possible. Run by scripts/bench under "dmabufctl run", which gives it a daemon of its own. Judges
 * nothing: a number is a number, and the exit status only says whether there are some.
 */
#include <err.h>
#include <fnmatch.h>
#include <getopt.h>
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
    bool in_guest; /* in the virtual machine too: it counts, and measures no time */
} rows[] = {
    { "roundtrip", row_roundtrip, false }, { "translate", row_translate, false },
    { "forms", row_forms, false },         { "heap", row_heap, false },
    { "resolve", row_resolve, false },     { "cold", row_cold, false },
    { "neighbour", row_neighbour, false }, { "pool", row_pool, false },
    { "refill", row_refill, false },       { "getpa", row_getpa, true },
    { "memory", row_memory, true },        { "restart", row_restart, false },
};

#define ROWS_ALL ((1U << ARRAY_LEN(rows)) - 1)

static const char help[] =
    "Usage: dmabufd-bench [OPTION]...\n"
    "Runs under \"dmabufctl run --\"; scripts/bench does all of it.\n"
    "\n"
    "  --quick         a fifth of the time\n"
    "  --rows=PATTERN  rows by shell patterns, separated by commas\n"
    "  --list          show the rows that match, and which also count in a virtual machine\n"
    "  --json=FILE     the same as JSON; \"-\": to stdout instead of the table\n"
    "  --plot=FILE     draw the distributions: .png or .svg\n"
    "  --peer=PROGRAM  dmabufd-bench-dpdk\n"
    "  --guest         this is the virtual machine: only rows that count\n"
    "  --from=FILE     what --guest --json=FILE wrote there, as a part of this report\n";

struct choices {
    const char *json;
    const char *plot;
    const char *peer;
    const char *from;
    bool quick;
    bool list;
    bool guest;
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

    for (char *pattern = copy ? strtok(copy, ",") : NULL; pattern; pattern = strtok(NULL, ",")) {
        unsigned int matching = 0;

        for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
            if (fnmatch(pattern, rows[i].name, 0) == 0)
                matching |= 1U << i;
        }
        if (matching == 0)
            errx(2, "there is no row '%s': see --list", pattern);
        mask |= matching;
    }
    if (mask == 0)
        errx(2, "--rows: which?");
    return mask;
}

static void choose(struct choices *choices, int option)
{
    switch (option) {
    case 'j':
        choices->json = optarg;
        break;
    case 'p':
        if (!report_plot_possible(optarg))
            errx(2, "--plot=%s: a name that ends in .png or .svg", optarg);
        choices->plot = optarg;
        break;
    case 'P':
        choices->peer = optarg;
        break;
    case 'f':
        choices->from = optarg;
        break;
    case 'q':
        choices->quick = true;
        break;
    case 'l':
        choices->list = true;
        break;
    case 'g':
        choices->guest = true;
        break;
    case 'r':
        choices->rows = parse_rows(optarg);
        break;
    case 'h':
        fputs(help, stdout);
        exit(0);
    default:
        exit(2);
    }
}

static struct choices parse(int argc, char **argv)
{
    static const struct option options[] = {
        { "json", required_argument, NULL, 'j' }, { "plot", required_argument, NULL, 'p' },
        { "peer", required_argument, NULL, 'P' }, { "from", required_argument, NULL, 'f' },
        { "quick", no_argument, NULL, 'q' },      { "list", no_argument, NULL, 'l' },
        { "guest", no_argument, NULL, 'g' },      { "rows", required_argument, NULL, 'r' },
        { "help", no_argument, NULL, 'h' },       { 0 }
    };
    struct choices choices = { .rows = ROWS_ALL };
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) >= 0)
        choose(&choices, option);
    if (optind < argc)
        errx(2, "unexpected argument: %s", argv[optind]);
    return choices;
}

static void list_rows(unsigned int mask)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (mask & (1U << i))
            printf("%s%s\n", rows[i].name, rows[i].in_guest ? " guest" : "");
    }
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
    printf(
        "Medians, and 10th to 90th percentiles. Ratios are ours to the floor, of the medians and "
        "of the\n99th percentiles, and ours to the peer, of the medians.\n");
    report_table(&bench->report);
}

/* @path: "-" for stdout. */
static void write_json(const struct bench *bench, const struct circumstances *around,
                       const char *path)
{
    const struct dmabufd_info *info = dmabufd_get_info(bench->d);
    FILE *file = strcmp(path, "-") == 0 ? stdout : fopen(path, "we");
    json_t *root =
        json_pack("{s:s, s:s, s:i, s:I, s:s, s:b, s:f, s:f, s:f, s:o}", "cpu", around->cpu,
                  "kernel", around->kernel, "cpus", CPU_COUNT(&bench->placement.all), "memory",
                  (json_int_t)meminfo("MemTotal:"), "backend", info->backend, "quick", bench->quick,
                  "load_begin", around->load_begin, "load_end", around->load_end, "seconds",
                  around->seconds, "results", report_json(&bench->report));

    if (!file)
        err(1, "%s", path);
    if (!root || json_dumpf(root, file, JSON_INDENT(2) | JSON_REAL_PRECISION(6)) < 0 ||
        fputc('\n', file) == EOF)
        errx(1, "cannot write JSON");
    json_decref(root);
    if (file != stdout && fclose(file) != 0)
        err(1, "%s", path);
}

static void draw(const struct bench *bench, const struct circumstances *around, const char *path)
{
    char title[400];

    snprintf(title, sizeof(title), "%s, %s, backend %s; each dot is a percentile", around->cpu,
             around->kernel, dmabufd_get_info(bench->d)->backend);
    report_plot(&bench->report, title, path);
}

static void measure(struct bench *bench, const struct choices *choices)
{
    for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
        if (!(choices->rows & (1U << i)))
            continue;
        if (choices->guest && !rows[i].in_guest)
            continue;
        rows[i].run(bench);
        report_add_guest(&bench->report, rows[i].name);
    }
}

int main(int argc, char **argv)
{
    struct choices choices = parse(argc, argv);
    struct bench bench = { .quick = choices.quick, .solo = SOLO_NONE, .peer = PEER_NONE };
    struct circumstances around;
    uint64_t begin = now_ns();

    if (choices.list) {
        list_rows(choices.rows);
        return 0;
    }
    /* Whatever ends "dmabufctl run" ends this. */
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    signal(SIGPIPE, SIG_IGN);
    look_around(&around);
    raise_descriptors();
    placement_init(&bench.placement);
    if (dmabufd_connect(&bench.d, NULL) < 0)
        errx(1, "%s", dmabufd_last_error());
    if (choices.from)
        report_load_guest(&bench.report, choices.from);
    bench.report.progress = isatty(STDERR_FILENO);
    open_solo(&bench);
    peer_start(&bench.peer, choices.peer);
    measure(&bench, &choices);
    peer_stop(&bench.peer);
    around.load_end = load_now();
    around.seconds = (double)(now_ns() - begin) / 1e9;
    if (!choices.json || strcmp(choices.json, "-") != 0)
        print_table(&bench, &around);
    if (choices.json)
        write_json(&bench, &around, choices.json);
    if (choices.plot)
        draw(&bench, &around, choices.plot);
    report_deinit(&bench.report);
    solo_close(&bench.solo);
    dmabufd_disconnect(bench.d);
    return 0;
}
