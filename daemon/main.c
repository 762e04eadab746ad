/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufd: one command, two roles. Started by a person or systemd it is the keeper, which starts
 * the same binary again as the broker. */
#include <fcntl.h>

#include "common/cleanup.h"
#include "daemon/broker/broker.h"
#include "daemon/keeper/keeper.h"
#include "daemon/options.h"

/* Started without them, our own files would be what others read from and write to. */
static void fill_standard_streams(void)
{
    int fd;

    do {
        fd = open("/dev/null", O_RDWR);
    } while (fd >= 0 && fd <= STDERR_FILENO);
    fd_close(&fd);
}

int main(int argc, char **argv)
{
    struct options options;

    fill_standard_streams();
    switch (options_parse(&options, argc, argv)) {
    case OPTIONS_RUN:
        return options.broker ? broker_run() : keeper_run(&options);
    case OPTIONS_DONE:
        return 0;
    case OPTIONS_ERROR:
        break;
    }
    return 2;
}
