/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufctl: what its files share. Each command is one file and one struct command; dmabufctl.c
 * picks it. The tool uses the library only through its public header.
 */
#ifndef CLIENT_CTL_H
#define CLIENT_CTL_H

#include <stdbool.h>
#include <stddef.h>

#include "client/dmabufd.h"

#define CTL_OK     0
#define CTL_FAILED 1
#define CTL_USAGE  2

/** The options before the command. */
struct ctl {
    const char *socket; /* NULL: the library's choice */
    bool json;
};

struct command {
    const char *name;
    const char *summary; /* one line of the list of commands */
    const char *help;    /* what --help of the command shows */
    /** @argv[0] is the name of the command. Return: exit status. */
    int (*run)(const struct ctl *ctl, int argc, char **argv);
};

extern const struct command ctl_alloc, ctl_device, ctl_list, ctl_run, ctl_status;
extern const struct command ctl_names, ctl_open, ctl_pool, ctl_unpublish;

/** ctl_error() - "dmabufctl: sentence" on stderr. Return: CTL_FAILED. */
int ctl_error(const char *format, ...) __attribute__((format(printf, 1, 2)));

/** ctl_usage() - the same, and where to find help. Return: CTL_USAGE. */
int ctl_usage(const struct command *command, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

/**
 * ctl_option() - what commands do with an option of getopt_long(3) that they do not know
 * @option: as returned; 'h' shows the help
 * Return: exit status.
 */
int ctl_option(const struct command *command, int option);

/** ctl_connect() - dmabufd_connect() to the chosen socket; says why not. */
int ctl_connect(const struct ctl *ctl, dmabufd **ret);

#endif
