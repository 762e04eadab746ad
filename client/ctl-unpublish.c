/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl unpublish: take names back. */
#include <getopt.h>

#include "client/ctl.h"

static const char help[] =
    "Usage: dmabufctl unpublish NAME...\n"
    "Take names back. Those who hold the buffers keep them. For the user that published them, and\n"
    "for root.\n";

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    int option = getopt_long(argc, argv, "h", options, NULL);
    int status = CTL_OK;
    dmabufd *d;

    if (option >= 0)
        return ctl_option(&ctl_unpublish, option);
    if (optind == argc)
        return ctl_usage(&ctl_unpublish, "which name?");
    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    for (int i = optind; i < argc; i++) {
        if (dmabufd_unpublish(d, argv[i]) < 0)
            status = ctl_error("%s: %s", argv[i], dmabufd_last_error());
    }
    dmabufd_disconnect(d);
    return status;
}

const struct command ctl_unpublish = {
    .name = "unpublish", .summary = "take names back", .help = help, .run = run
};
