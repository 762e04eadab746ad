/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Options: the command line of dmabufd as numbers, checked. No effect on the system in here. */
#ifndef DAEMON_OPTIONS_H
#define DAEMON_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define OPTIONS_DEVICES_MAX 16
#define OPTIONS_POOLS_MAX   32
#define OPTIONS_ANY_NODE    UINT32_MAX

/** --pool: huge pages to hold ready. */
struct options_pool {
    uint64_t page_size; /* bytes */
    uint64_t pages;
    uint32_t node; /* OPTIONS_ANY_NODE: all of them together */
};

struct options {
    const char *backend;                      /* "auto", "iommufd", "pagemap", "fake" */
    const char *devices[OPTIONS_DEVICES_MAX]; /* PCI addresses, donors in order of preference */
    size_t device_count;
    const char *socket; /* path; NULL: from systemd, else the default */
    mode_t socket_mode;
    gid_t socket_group;    /* (gid_t)-1: leave */
    uid_t user;            /* of the broker; (uid_t)-1: not running as root */
    gid_t group;           /* of the broker */
    uint64_t memory_limit; /* bytes of memory outside huge pages for all clients together */
    uint64_t memory_limit_per_user; /* bytes of it for the clients of one user; 0: half of it */
    uint64_t memory_reserve;        /* bytes of MemAvailable that are left to the host */
    uint32_t max_clients;
    uint32_t max_clients_per_user; /* 0: half of max_clients */
    uint32_t max_buffers;          /* of one client */
    uint32_t hang_timeout;         /* of the broker, seconds; 0: never */
    uint32_t device_timeout;       /* for a device that is in use, seconds; 0: not at all */
    struct options_pool pools[OPTIONS_POOLS_MAX];
    size_t pool_count;
    const char *fake; /* script of the fake backend */
    bool debug;
    bool broker; /* internal: this process is the broker */
};

enum options_result {
    OPTIONS_RUN,
    OPTIONS_DONE,  /* --help or --version was answered: exit 0 */
    OPTIONS_ERROR, /* explained on stderr: exit 2 */
};

/** options_parse() - fill @options from the command line; strings point into @argv. */
enum options_result options_parse(struct options *options, int argc, char **argv);

#endif
