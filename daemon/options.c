/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The command line; see options.h and man/dmabufd.8, which says the same in more words. */
#include "daemon/options.h"

#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "common/parse.h"
#include "config.h"
#include "daemon/link.h"

#define DEFAULT_USER "dmabufd"

static const char help_text[] =
    "Usage: dmabufd [OPTION]...\n"
    "Serve pinned DMA memory and its addresses to unprivileged processes.\n"
    "\n"
    "  -b, --backend=NAME      auto, iommufd, pagemap or fake (default: auto)\n"
    "  -d, --device=BDF        PCI address of a device bound to vfio-pci in no-IOMMU mode that\n"
    "                          iommufd may use at start; repeatable\n"
    "      --device-timeout=SECONDS\n"
    "                          wait so long for such a device while it is in use (default: 60)\n"
    "  -s, --socket=PATH       listen there (default: the socket systemd passes, else\n"
    "                          " PROTO_DEFAULT_SOCKET ")\n"
    "  -m, --socket-mode=MODE  octal mode of the socket (default: 0660)\n"
    "  -g, --socket-group=GRP  group of the socket (default: unchanged)\n"
    "  -u, --user=USER         run the broker as this user, a name or a number, when started\n"
    "                          as root (default: " DEFAULT_USER ")\n"
    "      --memory-limit=SIZE limit of memory outside huge pages for all clients together\n"
    "                          (default: 80% of the memory of the host)\n"
    "      --memory-limit-per-user=SIZE\n"
    "                          limit of that memory for the clients of one user (default: half\n"
    "                          of memory-limit)\n"
    "      --memory-reserve=SIZE\n"
    "                          available memory to leave to the host (default: 128M)\n"
    "      --max-clients=N     connections (default: 1024)\n"
    "      --max-clients-per-user=N\n"
    "                          connections of one user (default: half of max-clients)\n"
    "      --max-buffers=N     buffers one client can hold (default: 65536)\n"
    "      --hang-timeout=SECONDS\n"
    "                          replace a broker that does not answer for so long; 0: never\n"
    "                          (default: 10)\n"
    "      --pool=SIZE:PAGES[@NODE]\n"
    "                          huge pages of SIZE, 2M or 1G, to hold ready, on all NUMA nodes\n"
    "                          together or on this one; repeatable (default: none)\n"
    "      --fake=SCRIPT       layout and faults of the fake backend, see dmabufd(8)\n"
    "      --debug             log more, physical addresses included\n"
    "  -h, --help              show this and exit\n"
    "  -V, --version           show the version and exit\n"
    "\n"
    "Sizes take a suffix K, M, G or T (powers of 1024). See dmabufd(8).\n";

enum long_only {
    OPT_MEMORY_LIMIT = 256,
    OPT_MEMORY_LIMIT_PER_USER,
    OPT_MEMORY_RESERVE,
    OPT_MAX_CLIENTS,
    OPT_MAX_CLIENTS_PER_USER,
    OPT_MAX_BUFFERS,
    OPT_HANG_TIMEOUT,
    OPT_DEVICE_TIMEOUT,
    OPT_POOL,
    OPT_FAKE,
    OPT_DEBUG,
    OPT_BROKER,
};

static const struct option long_options[] = {
    { "backend", required_argument, NULL, 'b' },
    { "device", required_argument, NULL, 'd' },
    { "device-timeout", required_argument, NULL, OPT_DEVICE_TIMEOUT },
    { "socket", required_argument, NULL, 's' },
    { "socket-mode", required_argument, NULL, 'm' },
    { "socket-group", required_argument, NULL, 'g' },
    { "user", required_argument, NULL, 'u' },
    { "memory-limit", required_argument, NULL, OPT_MEMORY_LIMIT },
    { "memory-limit-per-user", required_argument, NULL, OPT_MEMORY_LIMIT_PER_USER },
    { "memory-reserve", required_argument, NULL, OPT_MEMORY_RESERVE },
    { "max-clients", required_argument, NULL, OPT_MAX_CLIENTS },
    { "max-clients-per-user", required_argument, NULL, OPT_MAX_CLIENTS_PER_USER },
    { "max-buffers", required_argument, NULL, OPT_MAX_BUFFERS },
    { "hang-timeout", required_argument, NULL, OPT_HANG_TIMEOUT },
    { "pool", required_argument, NULL, OPT_POOL },
    { "fake", required_argument, NULL, OPT_FAKE },
    { "debug", no_argument, NULL, OPT_DEBUG },
    { "broker", no_argument, NULL, OPT_BROKER },
    { "help", no_argument, NULL, 'h' },
    { "version", no_argument, NULL, 'V' },
    { 0 },
};

static enum options_result bad(const char *option, const char *value, const char *expected)
{
    fprintf(stderr, "dmabufd: --%s=%s: expected %s\n", option, value, expected);
    return OPTIONS_ERROR;
}

static bool parse_user(struct options *options, const char *text)
{
    const struct passwd *pw = getpwnam(text);
    uint64_t number;

    if (pw) {
        options->user = pw->pw_uid;
        options->group = pw->pw_gid;
        return true;
    }
    if (parse_number(text, 1, UINT32_MAX - 1, &number) < 0)
        return false;
    options->user = (uid_t)number;
    pw = getpwuid(options->user);
    options->group = pw ? pw->pw_gid : (gid_t)number;
    return true;
}

static bool parse_group(gid_t *group, const char *text)
{
    const struct group *gr = getgrnam(text);
    uint64_t number;

    if (gr) {
        *group = gr->gr_gid;
        return true;
    }
    if (parse_number(text, 0, UINT32_MAX - 1, &number) < 0)
        return false;
    *group = (gid_t)number;
    return true;
}

static enum options_result parse_count(const char *option, const char *text, uint32_t min,
                                       uint32_t max, uint32_t *ret)
{
    char expected[64];
    uint64_t number;

    snprintf(expected, sizeof(expected), "a number from %u to %u", min, max);
    if (parse_number(text, min, max, &number) < 0)
        return bad(option, text, expected);
    *ret = (uint32_t)number;
    return OPTIONS_RUN;
}

static enum options_result parse_bytes(const char *option, const char *text, uint64_t *ret)
{
    return parse_size(text, ret) < 0 ? bad(option, text, "a size such as 512M or 4G") : OPTIONS_RUN;
}

static enum options_result parse_backend(struct options *options, const char *text)
{
    static const char *const names[] = { "auto", "iommufd", "pagemap", "fake" };

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        if (strcmp(text, names[i]) == 0) {
            options->backend = text;
            return OPTIONS_RUN;
        }
    }
    return bad("backend", text, "auto, iommufd, pagemap or fake");
}

/* SIZE:PAGES[@NODE] */
static enum options_result parse_pool(struct options *options, const char *text)
{
    static const char expected[] = "a page size, a number of pages and perhaps a node, such as "
                                   "2M:512 or 1G:4@1, at most 32 times";
    const char *colon = strchr(text, ':'), *at = strchr(text, '@');
    struct options_pool *pool = &options->pools[options->pool_count];
    char size[8], pages[24];
    uint64_t node = OPTIONS_ANY_NODE;

    if (options->pool_count == OPTIONS_POOLS_MAX || !colon || (at && at < colon) ||
        (size_t)(colon - text) >= sizeof(size))
        return bad("pool", text, expected);
    snprintf(size, sizeof(size), "%.*s", (int)(colon - text), text);
    snprintf(pages, sizeof(pages), "%.*s", at ? (int)(at - colon - 1) : (int)sizeof(pages),
             colon + 1);
    if (parse_size(size, &pool->page_size) < 0 ||
        (pool->page_size != UINT64_C(2) << 20 && pool->page_size != UINT64_C(1) << 30) ||
        parse_number(pages, 0, UINT32_MAX, &pool->pages) < 0 ||
        (at && parse_number(at + 1, 0, 1023, &node) < 0))
        return bad("pool", text, expected);
    pool->node = (uint32_t)node;
    options->pool_count++;
    return OPTIONS_RUN;
}

/* What is asked for is done at once, or nothing is. */
static enum options_result answer(int option)
{
    switch (option) {
    case 'h':
        fputs(help_text, stdout);
        return OPTIONS_DONE;
    case 'V':
        puts("dmabufd " PACKAGE_VERSION);
        return OPTIONS_DONE;
    default:
        fputs("Try 'dmabufd --help'.\n", stderr);
        return OPTIONS_ERROR;
    }
}

static enum options_result parse_limit(struct options *options, int option, const char *value)
{
    switch (option) {
    case OPT_MEMORY_LIMIT:
        return parse_bytes("memory-limit", value, &options->memory_limit);
    case OPT_MEMORY_LIMIT_PER_USER:
        return parse_bytes("memory-limit-per-user", value, &options->memory_limit_per_user);
    case OPT_MEMORY_RESERVE:
        return parse_bytes("memory-reserve", value, &options->memory_reserve);
    case OPT_MAX_CLIENTS:
        return parse_count("max-clients", value, 1, LINK_CLIENTS_MAX, &options->max_clients);
    case OPT_MAX_CLIENTS_PER_USER:
        return parse_count("max-clients-per-user", value, 1, LINK_CLIENTS_MAX,
                           &options->max_clients_per_user);
    case OPT_MAX_BUFFERS:
        return parse_count("max-buffers", value, 1, 1U << 20, &options->max_buffers);
    case OPT_HANG_TIMEOUT:
        return parse_count("hang-timeout", value, 0, 3600, &options->hang_timeout);
    case OPT_DEVICE_TIMEOUT:
        return parse_count("device-timeout", value, 0, 86400, &options->device_timeout);
    default:
        return answer(option);
    }
}

static enum options_result parse_one(struct options *options, int option, const char *value)
{
    switch (option) {
    case 'b':
        return parse_backend(options, value);
    case 'd':
        if (options->device_count == OPTIONS_DEVICES_MAX)
            return bad("device", value, "at most 16 devices");
        options->devices[options->device_count++] = value;
        return OPTIONS_RUN;
    case 's':
        options->socket = value;
        return OPTIONS_RUN;
    case 'm':
        return parse_mode(value, 0777, &options->socket_mode) == 0
                   ? OPTIONS_RUN
                   : bad("socket-mode", value, "an octal mode such as 0660");
    case 'g':
        return parse_group(&options->socket_group, value)
                   ? OPTIONS_RUN
                   : bad("socket-group", value, "a group of this host or a number");
    case 'u':
        return parse_user(options, value)
                   ? OPTIONS_RUN
                   : bad("user", value, "a user of this host or a number other than 0");
    case OPT_POOL:
        return parse_pool(options, value);
    case OPT_FAKE:
        options->fake = value;
        return OPTIONS_RUN;
    case OPT_DEBUG:
        options->debug = true;
        return OPTIONS_RUN;
    case OPT_BROKER:
        options->broker = true;
        return OPTIONS_RUN;
    default:
        return parse_limit(options, option, value);
    }
}

/* Started as root there must be somebody else to be; the broker never runs as root. */
static enum options_result settle(struct options *options)
{
    struct sysinfo info;

    if (geteuid() == 0 && !options->broker && options->user == (uid_t)-1 &&
        !parse_user(options, DEFAULT_USER)) {
        fputs("dmabufd: there is no user " DEFAULT_USER " for the broker to run as: create it "
              "(systemd-sysusers) or name another with --user\n",
              stderr);
        return OPTIONS_ERROR;
    }
    if (geteuid() == 0 && (options->user == 0 || options->group == 0)) {
        fputs("dmabufd: --user: the broker must not run as root, nor in its group\n", stderr);
        return OPTIONS_ERROR;
    }
    if (geteuid() != 0)
        options->user = (uid_t)-1;
    if (options->fake && strcmp(options->backend, "fake") != 0) {
        fputs("dmabufd: --fake needs --backend=fake\n", stderr);
        return OPTIONS_ERROR;
    }
    if (!options->memory_limit && sysinfo(&info) == 0)
        options->memory_limit = (uint64_t)info.totalram * info.mem_unit / 5 * 4;
    if (!options->memory_limit_per_user)
        options->memory_limit_per_user = options->memory_limit / 2;
    return OPTIONS_RUN;
}

enum options_result options_parse(struct options *options, int argc, char **argv)
{
    int option;

    *options = (struct options){
        .backend = "auto",
        .socket_mode = 0660,
        .socket_group = (gid_t)-1,
        .user = (uid_t)-1,
        .group = (gid_t)-1,
        .memory_reserve = UINT64_C(128) << 20,
        .max_clients = 1024,
        .max_buffers = 65536,
        .hang_timeout = 10,
        .device_timeout = 60,
    };
    while ((option = getopt_long(argc, argv, "b:d:s:m:g:u:hV", long_options, NULL)) >= 0) {
        enum options_result r = parse_one(options, option, optarg);

        if (r != OPTIONS_RUN)
            return r;
    }
    if (optind < argc) {
        fprintf(stderr, "dmabufd: unexpected argument: %s\n", argv[optind]);
        return OPTIONS_ERROR;
    }
    return settle(options);
}
