/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl status: what the daemon says of itself and of its load. */
#include <getopt.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>

#include "client/ctl-output.h"
#include "client/ctl.h"

static const char help[] =
    "Usage: dmabufctl status\n"
    "Show what the daemon offers (backend and why this one, what its addresses mean, how firmly\n"
    "pages are pinned, page sizes, limits) and how much of it is in use.\n";

static void line(const char *name, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void line(const char *name, const char *format, ...)
{
    va_list args;

    printf("%-14s  ", name);
    va_start(args, format);
    vprintf(format, args);
    va_end(args);
    putchar('\n');
}

static const char *mode_meaning(enum dmabufd_address_mode mode)
{
    switch (mode) {
    case DMABUFD_MODE_PA:
        return "physical addresses, no IOMMU translates";
    case DMABUFD_MODE_IOVA:
        return "I/O virtual addresses, an IOMMU translates";
    case DMABUFD_MODE_FAKE:
        return "addresses that no device can reach, for tests";
    }
    return "";
}

static void show_uptime(uint64_t ns)
{
    uint64_t s = ns / UINT64_C(1000000000);

    if (s >= 86400)
        line("uptime", "%" PRIu64 " d %" PRIu64 " h", s / 86400, s % 86400 / 3600);
    else if (s >= 3600)
        line("uptime", "%" PRIu64 " h %" PRIu64 " min", s / 3600, s % 3600 / 60);
    else
        line("uptime", "%" PRIu64 " min %" PRIu64 " s", s / 60, s % 60);
}

static void show_text(const struct dmabufd_info *info, const struct dmabufd_status *status)
{
    line("daemon", "dmabufd %s", status->version);
    show_uptime(status->uptime_ns);
    line("backend", "%s: %s", info->backend, info->backend_reason);
    line("addresses", "%s: %s", dmabufd_mode_string(info->mode), mode_meaning(info->mode));
    line("pin", "%s", dmabufd_pin_string(info->pin));
    printf("%-14s ", "page sizes");
    for (size_t i = 0; i < 4 && info->page_sizes[i]; i++)
        printf(" %s%s", size_text(info->page_sizes[i]).text,
               i < 3 && info->page_sizes[i + 1] ? "," : "\n");
    line("limits", "%s a buffer, %" PRIu32 " buffers a connection", size_text(info->max_size).text,
         info->max_buffers);
    line("connections", "%" PRIu32 " (this one is number %" PRIu64 " in the log)", status->clients,
         info->client);
    line("buffers", "%" PRIu32 " with %s, of these %s in huge pages", status->buffers,
         size_text(status->bytes).text, size_text(status->huge_bytes).text);
    line("pinned", "%" PRIu32 " buffers", status->pinned);
    line("jobs", "%" PRIu32 " allocations and releases waiting or at work", status->jobs);
    if (status->broker_starts > 1)
        line("broker", "started %" PRIu32 " times: see the log for why it ended",
             status->broker_starts);
    if (status->unreleasable_bytes)
        line("unreleasable", "%s that the kernel refused to unmap: see the log",
             size_text(status->unreleasable_bytes).text);
}

static void show_json(const struct dmabufd_info *info, const struct dmabufd_status *status)
{
    json_t *sizes = json_array();

    for (size_t i = 0; i < 4 && info->page_sizes[i]; i++)
        json_array_append_new(sizes, output_number(info->page_sizes[i]));
    output_json(json_pack(
        "{s:s,s:o,s:s,s:s,s:s,s:s,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o,s:o}", "version",
        status->version, "uptime_ns", output_number(status->uptime_ns), "backend", info->backend,
        "backend_reason", info->backend_reason, "mode", dmabufd_mode_string(info->mode), "pin",
        dmabufd_pin_string(info->pin), "page_sizes", sizes, "max_size",
        output_number(info->max_size), "max_buffers", output_number(info->max_buffers), "client",
        output_number(info->client), "clients", output_number(status->clients), "buffers",
        output_number(status->buffers), "bytes", output_number(status->bytes), "huge_bytes",
        output_number(status->huge_bytes), "pinned", output_number(status->pinned), "jobs",
        output_number(status->jobs), "broker_starts", output_number(status->broker_starts),
        "unreleasable_bytes", output_number(status->unreleasable_bytes)));
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    static const struct option options[] = { { "help", no_argument, NULL, 'h' }, { 0 } };
    struct dmabufd_status status;
    dmabufd *d;
    int option = getopt_long(argc, argv, "h", options, NULL);

    if (option >= 0)
        return ctl_option(&ctl_status, option);
    if (optind < argc)
        return ctl_usage(&ctl_status, "status takes no argument");
    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    if (dmabufd_get_status(d, &status) < 0) {
        ctl_error("%s", dmabufd_last_error());
        dmabufd_disconnect(d);
        return CTL_FAILED;
    }
    if (ctl->json)
        show_json(dmabufd_get_info(d), &status);
    else
        show_text(dmabufd_get_info(d), &status);
    dmabufd_disconnect(d);
    return CTL_OK;
}

const struct command ctl_status = { .name = "status",
                                    .summary = "what the daemon offers and how much is in use",
                                    .help = help,
                                    .run = run };
