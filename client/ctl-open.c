/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl open: become a holder by name, and show what is held. It reads and writes no content. */
#include <getopt.h>

#include "client/ctl-alloc.h"
#include "client/ctl-ids.h"

static const char help[] =
    "Usage: dmabufctl open [OPTION]... NAME\n"
    "Open the buffer that was published as NAME and show its scatter list.\n"
    "\n"
    "  -r, --read-only       for reading only; default: for reading and writing\n"
    "  -o, --owner=USER      only if this user published it\n"
    "  -H, --hold            keep it until SIGINT, SIGTERM or the end of standard input; fails\n"
    "                        if the daemon ends before\n"
    "  -a, --all             show the scatter list in full, not only the first 20 spans\n"
    "  -h, --help            show this and exit\n";

struct request {
    const char *name;
    enum dmabufd_access access;
    uint32_t owner;
    struct ctl_showing showing;
};

static int open_by_name(const struct ctl *ctl, const struct request *request)
{
    dmabufd_buffer *buffer;
    int status = CTL_OK;
    sigset_t signals;
    dmabufd *d;

    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    if (dmabufd_open(d, request->name, request->access, request->owner, &buffer) < 0) {
        status = ctl_error("%s", dmabufd_last_error());
    } else {
        if (request->showing.hold)
            ctl_hold_begin(&signals);
        ctl_show_buffer(ctl, buffer, request->showing.all);
        if (request->showing.hold)
            status = ctl_hold(d, &signals);
        if (dmabufd_free(buffer) < 0 && status == CTL_OK)
            status = ctl_error("%s", dmabufd_last_error());
    }
    dmabufd_disconnect(d);
    return status;
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = {
        { "read-only", no_argument, NULL, 'r' }, { "owner", required_argument, NULL, 'o' },
        { "hold", no_argument, NULL, 'H' },      { "all", no_argument, NULL, 'a' },
        { "help", no_argument, NULL, 'h' },      { 0 },
    };
    struct request request = { .access = DMABUFD_READ_WRITE, .owner = DMABUFD_OWNER_ANY };
    int option;

    while ((option = getopt_long(argc, argv, "ro:Hah", options, NULL)) >= 0) {
        switch (option) {
        case 'r':
            request.access = DMABUFD_READ_ONLY;
            break;
        case 'o':
            if (parse_user(optarg, &request.owner) < 0)
                return ctl_usage(&ctl_open, "there is no user '%s'", optarg);
            break;
        default:
            if (!ctl_show_option(&request.showing, option))
                return ctl_option(&ctl_open, option);
            break;
        }
    }
    if (optind + 1 != argc)
        return ctl_usage(&ctl_open, "open takes one name");
    request.name = argv[optind];
    return open_by_name(ctl, &request);
}

const struct command ctl_open = { .name = "open",
                                  .summary = "open a buffer by name and show its scatter list",
                                  .help = help,
                                  .run = run };
