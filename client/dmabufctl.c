/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufctl: look at a dmabufd, try it, and start a private one. This file reads the options before
 * the command and picks the command.
 */
#include <getopt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "client/ctl.h"
#include "config.h"

static const struct command *const commands[] = { &ctl_status, &ctl_alloc,     &ctl_list,
                                                  &ctl_run,    &ctl_device,    &ctl_names,
                                                  &ctl_open,   &ctl_unpublish, &ctl_pool };

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static const char help_text[] =
    "Usage: dmabufctl [--socket=PATH] [--json] COMMAND [ARGUMENT]...\n"
    "Look at dmabufd, the daemon that hands out DMA memory, and try it.\n"
    "\n"
    "  -s, --socket=PATH  of the daemon (default: $DMABUFD_SOCKET, else\n"
    "                     /run/dmabufd/dmabufd.sock)\n"
    "  -j, --json         answer in JSON; addresses are strings, since JSON numbers lose bits\n"
    "  -h, --help         show this and exit\n"
    "  -V, --version      show the version and exit\n"
    "\n"
    "Commands:\n";

static const char help_end[] = "\n"
                               "'dmabufctl COMMAND --help' tells more. Exit status: 0 done, 1 "
                               "refused or failed, 2 wrong usage;\n"
                               "of run, that of its command. See dmabufctl(1).\n";

__attribute__((format(printf, 1, 0))) static void verror(const char *format, va_list args)
{
    fputs("dmabufctl: ", stderr);
    vfprintf(stderr, format, args);
    fputc('\n', stderr);
}

int ctl_error(const char *format, ...)
{
    va_list args;

    va_start(args, format);
    verror(format, args);
    va_end(args);
    return CTL_FAILED;
}

int ctl_usage(const struct command *command, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    verror(format, args);
    va_end(args);
    if (command)
        fprintf(stderr, "Try 'dmabufctl %s --help'.\n", command->name);
    else
        fputs("Try 'dmabufctl --help'.\n", stderr);
    return CTL_USAGE;
}

int ctl_option(const struct command *command, int option)
{
    if (option != 'h') {
        fprintf(stderr, "Try 'dmabufctl %s --help'.\n", command->name);
        return CTL_USAGE;
    }
    fputs(command->help, stdout);
    return CTL_OK;
}

int ctl_connect(const struct ctl *ctl, dmabufd **ret)
{
    int r = dmabufd_connect(ret, ctl->socket);

    if (r < 0)
        ctl_error("%s", dmabufd_last_error());
    return r;
}

static void help(void)
{
    fputs(help_text, stdout);
    for (size_t i = 0; i < COMMAND_COUNT; i++)
        printf("  %-9s %s\n", commands[i]->name, commands[i]->summary);
    fputs(help_end, stdout);
}

static int run_command(const struct ctl *ctl, int argc, char **argv)
{
    int status = CTL_USAGE;
    size_t i;

    for (i = 0; i < COMMAND_COUNT; i++) {
        if (strcmp(commands[i]->name, argv[0]) == 0)
            break;
    }
    if (i == COMMAND_COUNT)
        return ctl_usage(NULL, "there is no command '%s'", argv[0]);
    optind = 0; /* getopt_long(3) begins anew */
    status = commands[i]->run(ctl, argc, argv);
    if (fflush(stdout) != 0 || ferror(stdout))
        return ctl_error("cannot write to standard output");
    return status;
}

int main(int argc, char **argv)
{
    static const struct option options[] = { { "socket", required_argument, NULL, 's' },
                                             { "json", no_argument, NULL, 'j' },
                                             { "help", no_argument, NULL, 'h' },
                                             { "version", no_argument, NULL, 'V' },
                                             { 0 } };
    struct ctl ctl = { 0 };
    int option;

    while ((option = getopt_long(argc, argv, "+s:jhV", options, NULL)) >= 0) {
        switch (option) {
        case 's':
            ctl.socket = optarg;
            break;
        case 'j':
            ctl.json = true;
            break;
        case 'h':
            help();
            return CTL_OK;
        case 'V':
            puts("dmabufctl " PACKAGE_VERSION);
            return CTL_OK;
        default:
            fputs("Try 'dmabufctl --help'.\n", stderr);
            return CTL_USAGE;
        }
    }
    if (optind == argc)
        return ctl_usage(NULL, "which command?");
    return run_command(&ctl, argc - optind, argv + optind);
}
