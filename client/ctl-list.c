/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufctl list: buffers of this connection, and the totals of all.
 *
 * No connection can see the buffers of another, and that of dmabufctl is new: the list proper is
 * always empty here. The command says so, because it is the question people ask first.
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/ctl-output.h"
#include "client/ctl.h"
#include "common/cleanup.h"

static const char help[] =
    "Usage: dmabufctl list\n"
    "List the buffers of this connection, and the totals of the daemon. Nobody can see the "
    "buffers\n"
    "of another connection, and the one dmabufctl makes is new, so its list is empty; what\n"
    "'dmabufctl alloc --hold' holds is in its own output and in the totals.\n";

static void show_text(const struct dmabufd_buffer_info *list, size_t count,
                      const struct dmabufd_status *status)
{
    static const char *const titles[] = {
        "buffer", "size", "page size", "spans", "holds", "holders"
    };
    struct table table = TABLE(titles);

    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%" PRIu64, list[i].id);
        table_cell(&table, "%s", size_text(list[i].size).text);
        table_cell(&table, "%s", size_text(list[i].page_size).text);
        table_cell(&table, "%" PRIu32, list[i].span_count);
        table_cell(&table, "%" PRIu32, list[i].holds);
        table_cell(&table, "%" PRIu32, list[i].holders);
    }
    if (count > 0)
        table_print(&table);
    else
        puts("This connection holds no buffer, and nobody can see those of another.");
    printf("All together: %" PRIu32 " buffers with %s, %" PRIu32 " connections with this one.\n",
           status->buffers, size_text(status->bytes).text, status->clients);
}

static void show_json(const struct dmabufd_buffer_info *list, size_t count,
                      const struct dmabufd_status *status)
{
    json_t *buffers = json_array();

    for (size_t i = 0; i < count; i++)
        json_array_append_new(
            buffers,
            json_pack("{s:o,s:o,s:o,s:o,s:o,s:o}", "id", output_number(list[i].id), "size",
                      output_number(list[i].size), "page_size", output_number(list[i].page_size),
                      "spans", output_number(list[i].span_count), "holds",
                      output_number(list[i].holds), "holders", output_number(list[i].holders)));
    output_json(json_pack("{s:o,s:{s:o,s:o,s:o}}", "buffers", buffers, "totals", "clients",
                          output_number(status->clients), "buffers", output_number(status->buffers),
                          "bytes", output_number(status->bytes)));
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP_FREE struct dmabufd_buffer_info *list = NULL;
    struct dmabufd_status status;
    size_t count = 0;
    dmabufd *d;
    int option = getopt_long(argc, argv, "h", options, NULL);

    if (option >= 0)
        return ctl_option(&ctl_list, option);
    if (optind < argc)
        return ctl_usage(&ctl_list, "list takes no argument");
    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    if (dmabufd_list(d, &list, &count) < 0 || dmabufd_get_status(d, &status) < 0) {
        ctl_error("%s", dmabufd_last_error());
        dmabufd_disconnect(d);
        return CTL_FAILED;
    }
    if (ctl->json)
        show_json(list, count, &status);
    else
        show_text(list, count, &status);
    dmabufd_disconnect(d);
    return CTL_OK;
}

const struct command ctl_list = {
    .name = "list", .summary = "buffers of this connection, totals of all", .help = help, .run = run
};
