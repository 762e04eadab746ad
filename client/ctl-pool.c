/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl pool: the huge pages that the daemon holds ready, and how many it is to hold. */
#include "client/ctl-pool.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "common/parse.h"

#define MIB      (UINT64_C(1) << 20)
#define GIB      (UINT64_C(1) << 30)
#define BAR_MAX  40
#define CLASS(i) ((2 * MIB) << (i))

static const char help[] =
    "Usage: dmabufctl pool\n"
    "       dmabufctl pool resize [--node=N] [--reserve] [--no-wait] 2M|1G PAGES\n"
    "Show the pool: huge pages that the daemon holds ready, so that buffers are granted without\n"
    "waiting. Or say how many pages of a size it is to hold.\n"
    "\n"
    "  -n, --node=N   pages of NUMA node N (default: spread evenly over all nodes)\n"
    "  -r, --reserve  have the kernel make the huge pages that are missing (nr_hugepages); for "
    "root\n"
    "      --no-wait  do not wait until the pages are ready\n"
    "  -h, --help     show this and exit\n"
    "\n"
    "Resizing, and the picture of the addresses, are for root and the user that runs the daemon.\n";

const char *pool_state(const struct dmabufd_pool_set *set)
{
    if (set->refilling)
        return set->ready <= set->target ? "refilling" : "giving back";
    if (set->ready < set->target)
        return "starved";
    return set->target == 0 ? "unused" : "full";
}

uint64_t pool_missing(const struct dmabufd_pool_set *set)
{
    return set->refilling || set->ready >= set->target
               ? 0
               : (set->target - set->ready) / set->page_size;
}

void pool_print_sets(const struct dmabufd_pool_set *list, size_t count)
{
    static const char *const titles[] = { "pages of", "node",   "target",   "ready", "largest run",
                                          "grants",   "misses", "refilled", "state" };
    struct table table = TABLE(titles);

    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%s", size_text(list[i].page_size).text);
        table_cell(&table, "%" PRIu32, list[i].node);
        table_cell(&table, "%s", size_text(list[i].target).text);
        table_cell(&table, "%s", size_text(list[i].ready).text);
        table_cell(&table, "%s", size_text(list[i].largest_run).text);
        table_cell(&table, "%" PRIu64, list[i].grants);
        table_cell(&table, "%" PRIu64, list[i].misses);
        table_cell(&table, "%s", size_text(list[i].refilled).text);
        table_cell(&table, "%s", pool_state(&list[i]));
    }
    table_print(&table);
}

static uint32_t files_of(const struct dmabufd_pool_set *set, unsigned int class)
{
    return class < DMABUFD_POOL_CLASSES ? set->files[class] : 0;
}

/* From the smallest size there is any of to the largest. */
static void print_histogram(const struct dmabufd_pool_set *set)
{
    unsigned int first = DMABUFD_POOL_RUNS, end = 0;
    uint32_t most = 0;

    for (unsigned int i = 0; i < DMABUFD_POOL_RUNS; i++) {
        if (!set->runs[i] && !files_of(set, i))
            continue;
        first = first < i ? first : i;
        end = i + 1;
        most = set->runs[i] > most ? set->runs[i] : most;
    }
    if (end == 0)
        return;
    printf("\nPages of %s on node %" PRIu32 ", by size: files that can be granted as they are, and "
           "runs\nthat are physically adjacent, of at least so much and less than twice that:\n",
           size_text(set->page_size).text, set->node);
    printf("  %9s  %10s  %10s\n", "size", "files", "runs");
    for (unsigned int i = first; i < end; i++) {
        /* What is there shows, however little it is beside the others. */
        uint64_t bar = most ? ((uint64_t)set->runs[i] * BAR_MAX + most - 1) / most : 0;

        printf("  %9s  %10" PRIu32 "  %10" PRIu32 "%s", size_text(CLASS(i)).text, files_of(set, i),
               set->runs[i], bar ? "  " : "");
        for (; bar > 0; bar--)
            putchar('#');
        putchar('\n');
    }
}

static void show_text(const struct dmabufd_pool_set *list, size_t count,
                      const struct dmabufd_pool_map *map)
{
    if (count == 0) {
        puts("This host has no huge pages, so there is no pool.");
        return;
    }
    pool_print_sets(list, count);
    for (size_t i = 0; i < count; i++) {
        if (pool_missing(&list[i]) > 0)
            printf("Of pages of %s on node %" PRIu32 ", %" PRIu64
                   " are missing: raise nr_hugepages, or see 'dmabufctl pool resize --help'.\n",
                   size_text(list[i].page_size).text, list[i].node, pool_missing(&list[i]));
    }
    for (size_t i = 0; i < count; i++)
        print_histogram(&list[i]);
    putchar('\n');
    if (!map)
        puts("Where it is, only root and the user that runs the daemon are told.");
    else if (map->count > 0)
        pool_print_map(map, stdout);
}

/* The sizes that there are any of. */
static json_t *classes_json(const uint32_t *numbers, unsigned int count)
{
    json_t *list = json_array();

    for (unsigned int i = 0; i < count; i++) {
        if (numbers[i])
            json_array_append_new(list, json_pack("{s:o,s:o}", "size", output_number(CLASS(i)),
                                                  "count", output_number(numbers[i])));
    }
    return list;
}

json_t *pool_sets_json(const struct dmabufd_pool_set *list, size_t count)
{
    json_t *sets = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            sets,
            json_pack("{s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:b,s:s,s:o,s:o,s:o}", "page_size",
                      output_number(list[i].page_size), "node", output_number(list[i].node),
                      "target", output_number(list[i].target), "ready",
                      output_number(list[i].ready), "largest_run",
                      output_number(list[i].largest_run), "grants", output_number(list[i].grants),
                      "misses", output_number(list[i].misses), "refilled",
                      output_number(list[i].refilled), "refilling", (int)list[i].refilling, "state",
                      pool_state(&list[i]), "missing_pages", output_number(pool_missing(&list[i])),
                      "runs", classes_json(list[i].runs, DMABUFD_POOL_RUNS), "files",
                      classes_json(list[i].files, DMABUFD_POOL_CLASSES)));
    return sets;
}

static int show(const struct ctl *ctl)
{
    CLEANUP_FREE struct dmabufd_pool_set *list = NULL;
    struct dmabufd_pool_map map = { 0 };
    size_t count = 0;
    dmabufd *d;
    int r, seen = 0;

    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    r = dmabufd_pool(d, &list, &count);
    if (r == 0) {
        seen = dmabufd_pool_get_map(d, &map);
        r = seen == -EPERM ? 0 : seen;
    }
    if (r < 0)
        ctl_error("%s", dmabufd_last_error());
    else if (ctl->json)
        output_json(json_pack("{s:o,s:o}", "sets", pool_sets_json(list, count), "map",
                              seen == 0 ? pool_map_json(&map) : json_null()));
    else
        show_text(list, count, seen == 0 ? &map : NULL);
    dmabufd_disconnect(d);
    return r < 0 ? CTL_FAILED : CTL_OK;
}

static int resize(const struct ctl *ctl, struct pool_resize *request, char **arguments, int count)
{
    if (count != 2)
        return ctl_usage(&ctl_pool, "pool resize takes a size of pages and how many");
    if (parse_size(arguments[0], &request->page_size) < 0 ||
        (request->page_size != 2 * MIB && request->page_size != GIB))
        return ctl_usage(&ctl_pool, "'%s' is not a size of huge pages: 2M, 1G", arguments[0]);
    if (parse_number(arguments[1], 0, INT64_MAX / request->page_size, &request->pages) < 0)
        return ctl_usage(&ctl_pool, "'%s' is not a number of pages", arguments[1]);
    return pool_resize(ctl, request);
}

enum { OPT_NO_WAIT = 256 };

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "node", required_argument, NULL, 'n' },
                                             { "reserve", no_argument, NULL, 'r' },
                                             { "no-wait", no_argument, NULL, OPT_NO_WAIT },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    struct pool_resize request = { .node = UINT32_MAX };
    bool for_resize = false;
    uint64_t number;
    int option;

    while ((option = getopt_long(argc, argv, "n:rh", options, NULL)) >= 0) {
        switch (option) {
        case 'n':
            if (parse_number(optarg, 0, UINT32_MAX - 1, &number) < 0)
                return ctl_usage(&ctl_pool, "'%s' is not the number of a node", optarg);
            request.node = (uint32_t)number;
            break;
        case 'r':
            request.reserve = true;
            break;
        case OPT_NO_WAIT:
            request.no_wait = true;
            break;
        default:
            return ctl_option(&ctl_pool, option);
        }
        for_resize = true;
    }
    if (optind < argc && strcmp(argv[optind], "resize") == 0)
        return resize(ctl, &request, argv + optind + 1, argc - optind - 1);
    if (optind < argc)
        return ctl_usage(&ctl_pool, "pool can be resized, not '%s'", argv[optind]);
    if (for_resize)
        return ctl_usage(&ctl_pool, "these options are for 'pool resize'");
    return show(ctl);
}

const struct command ctl_pool = { .name = "pool",
                                  .summary = "huge pages that are held ready, and how many",
                                  .help = help,
                                  .run = run };
