/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl names: what this user finds by name. */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "client/ctl-ids.h"
#include "client/ctl-output.h"
#include "client/ctl.h"
#include "common/cleanup.h"

static const char help[] =
    "Usage: dmabufctl names\n"
    "List the names of buffers that this user may open, and those that it published. A name lasts\n"
    "as long as anybody holds the buffer.\n";

static void show_text(const struct dmabufd_name_info *list, size_t count)
{
    static const char *const titles[] = { "owner", "group", "mode", "size", "holders", "name" };
    struct table table = TABLE(titles);

    if (count == 0) {
        puts("There is no name that this user may open.");
        return;
    }
    for (size_t i = 0; i < count; i++) {
        table_cell(&table, "%s", user_text(list[i].owner).text);
        table_cell(&table, "%s", group_text(list[i].group).text);
        table_cell(&table, "%04" PRIo32, list[i].mode);
        table_cell(&table, "%s", size_text(list[i].size).text);
        table_cell(&table, "%" PRIu32, list[i].holders);
        table_cell(&table, "%s", list[i].name);
    }
    table_print(&table);
}

static void show_json(const struct dmabufd_name_info *list, size_t count)
{
    json_t *names = json_array();
    char mode[8];

    for (size_t i = 0; i < count; i++) {
        snprintf(mode, sizeof(mode), "%04" PRIo32, list[i].mode & 07777);
        json_array_append_new(names, json_pack("{s:s,s:o,s:o,s:o,s:o,s:s,s:o}", "name",
                                               list[i].name, "id", output_number(list[i].id),
                                               "size", output_number(list[i].size), "owner",
                                               output_number(list[i].owner), "group",
                                               output_number(list[i].group), "mode", mode,
                                               "holders", output_number(list[i].holders)));
    }
    output_json(names);
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    CLEANUP_FREE struct dmabufd_name_info *list = NULL;
    int option = getopt_long(argc, argv, "h", options, NULL), r;
    size_t count = 0;
    dmabufd *d;

    if (option >= 0)
        return ctl_option(&ctl_names, option);
    if (optind < argc)
        return ctl_usage(&ctl_names, "names takes no argument");
    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    r = dmabufd_names(d, &list, &count);
    if (r < 0)
        ctl_error("%s", dmabufd_last_error());
    else if (ctl->json)
        show_json(list, count);
    else
        show_text(list, count);
    dmabufd_disconnect(d);
    return r < 0 ? CTL_FAILED : CTL_OK;
}

const struct command ctl_names = {
    .name = "names", .summary = "names of buffers that may be opened", .help = help, .run = run
};
