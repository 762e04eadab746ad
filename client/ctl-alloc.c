/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl alloc: get buffers, show where they are, keep them for as long as somebody wants. */
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "client/ctl-alloc.h"
#include "client/ctl-ids.h"
#include "client/ctl-output.h"
#include "common/cleanup.h"
#include "common/parse.h"

#define ROWS_SHOWN 20
#define COUNT_MAX  1000000

static const char help[] =
    "Usage: dmabufctl alloc [OPTION]... SIZE\n"
    "Allocate a buffer of SIZE bytes (suffixes K, M, G, T) and show its scatter list: the runs\n"
    "that are contiguous for a device, and their addresses.\n"
    "\n"
    "  -p, --page-size=SIZE  auto, 4K, 2M or 1G (default: auto, the largest that suits)\n"
    "  -c, --count=N         N buffers (default: 1)\n"
    "  -H, --hold            keep them until SIGINT, SIGTERM or the end of standard input; fails\n"
    "                        if the daemon ends before\n"
    "  -a, --all             show scatter lists in full, not only the first 20 spans\n"
    "      --publish=NAME        let others open it by this name; with --hold\n"
    "      --mode=MODE           who may, as of a file (default: 0600)\n"
    "      --group=GROUP         of the name (default: that of this process)\n"
    "\n"
    "What a device can take; the buffer meets it, or the request fails and says how close it "
    "came:\n"
    "      --dma-bits=N          addresses of at most N bits\n"
    "      --max-segments=N      at most N segments\n"
    "      --max-segment-size=SIZE\n"
    "      --boundary=SIZE       no segment crosses a multiple of this\n"
    "      --alignment=SIZE      every segment begins at a multiple of this\n"
    "      --min-span=SIZE       no span but the last is shorter\n"
    "      --contiguous          one span\n"
    "      --node=N              all pages on NUMA node N\n"
    "      --prefer-node=N       as many pages there as it has free\n"
    "\n"
    "  -h, --help            show this and exit\n";

struct request {
    uint64_t size;
    uint64_t page_size;
    uint64_t count;
    struct dmabufd_constraints constraints;
    struct ctl_showing showing;
    const char *publish; /* NULL: not */
    uint32_t mode;
    uint32_t group;
};

static uint64_t largest_span(const struct dmabufd_span *spans, size_t count)
{
    uint64_t largest = 0;

    for (size_t i = 0; i < count; i++)
        largest = spans[i].length > largest ? spans[i].length : largest;
    return largest;
}

/* "0,2", or "unknown". */
static void nodes_text(uint64_t set, char *out, size_t size)
{
    size_t used = (size_t)snprintf(out, size, "%s", set ? "" : "unknown");

    for (unsigned int i = 0; i < 64 && used < size; i++) {
        if (set >> i & 1)
            used += (size_t)snprintf(out + used, size - used, "%s%u", used ? "," : "", i);
    }
}

static void show_text(const dmabufd_buffer *buffer, bool all)
{
    static const char *const titles[] = { "offset", "dma_addr", "length", "bytes" };
    struct table table = TABLE(titles);
    char nodes[256], chunks[48] = "";
    size_t count, shown;
    const struct dmabufd_span *spans = dmabufd_buffer_spans(buffer, &count);

    nodes_text(dmabufd_buffer_nodes(buffer), nodes, sizeof(nodes));
    if (dmabufd_buffer_chunk_count(buffer) > 1)
        snprintf(chunks, sizeof(chunks), ", assembled from %" PRIu32 " chunks",
                 dmabufd_buffer_chunk_count(buffer));
    printf("buffer %" PRIu64 ": %s (%" PRIu64 " bytes) in pages of %s, node %s, mode %s, pin %s, "
           "%s, %zu span%s, largest %s%s\n",
           dmabufd_buffer_id(buffer), size_text(dmabufd_buffer_size(buffer)).text,
           dmabufd_buffer_size(buffer), size_text(dmabufd_buffer_page_size(buffer)).text, nodes,
           dmabufd_mode_string(dmabufd_buffer_mode(buffer)),
           dmabufd_pin_string(dmabufd_buffer_pin(buffer)),
           dmabufd_access_string(dmabufd_buffer_access(buffer)), count, count == 1 ? "" : "s",
           size_text(largest_span(spans, count)).text, chunks);
    shown = all || count <= ROWS_SHOWN ? count : ROWS_SHOWN;
    for (size_t i = 0; i < shown; i++) {
        table_cell(&table, "0x%" PRIx64, spans[i].offset);
        table_cell(&table, "0x%" PRIx64, spans[i].dma_addr);
        table_cell(&table, "%s", size_text(spans[i].length).text);
        table_cell(&table, "%" PRIu64, spans[i].length);
    }
    table_print(&table);
    if (shown < count)
        printf("  ... %zu more (use --all or --json)\n", count - shown);
}

static json_t *buffer_json(const dmabufd_buffer *buffer)
{
    json_t *list = json_array(), *nodes = json_array();
    size_t count;
    const struct dmabufd_span *spans = dmabufd_buffer_spans(buffer, &count);

    for (unsigned int i = 0; i < 64; i++) {
        if (dmabufd_buffer_nodes(buffer) >> i & 1)
            json_array_append_new(nodes, json_integer(i));
    }
    for (size_t i = 0; i < count; i++)
        json_array_append_new(list,
                              json_pack("{s:o,s:o,s:o}", "offset", output_number(spans[i].offset),
                                        "dma_addr", output_address(spans[i].dma_addr), "length",
                                        output_number(spans[i].length)));
    return json_pack("{s:o,s:o,s:o,s:o,s:s,s:s,s:s,s:o,s:o,s:o,s:o}", "id",
                     output_number(dmabufd_buffer_id(buffer)), "size",
                     output_number(dmabufd_buffer_size(buffer)), "page_size",
                     output_number(dmabufd_buffer_page_size(buffer)), "nodes", nodes, "mode",
                     dmabufd_mode_string(dmabufd_buffer_mode(buffer)), "pin",
                     dmabufd_pin_string(dmabufd_buffer_pin(buffer)), "access",
                     dmabufd_access_string(dmabufd_buffer_access(buffer)), "span_count",
                     output_number(count), "largest_span",
                     output_number(largest_span(spans, count)), "chunk_count",
                     output_number(dmabufd_buffer_chunk_count(buffer)), "spans", list);
}

bool ctl_show_option(struct ctl_showing *showing, int option)
{
    showing->hold |= option == 'H';
    showing->all |= option == 'a';
    return option == 'H' || option == 'a';
}

void ctl_show_buffer(const struct ctl *ctl, const dmabufd_buffer *buffer, bool all)
{
    if (ctl->json)
        output_json(buffer_json(buffer));
    else
        show_text(buffer, all);
    fflush(stdout);
}

/* First and last byte: the memory is really there. */
static void touch(const dmabufd_buffer *buffer)
{
    volatile unsigned char *data = dmabufd_buffer_data(buffer);

    data[0] = 1;
    data[dmabufd_buffer_size(buffer) - 1] = 1;
}

void ctl_hold_begin(sigset_t *ret_signals)
{
    sigemptyset(ret_signals);
    sigaddset(ret_signals, SIGINT);
    sigaddset(ret_signals, SIGTERM);
    sigprocmask(SIG_BLOCK, ret_signals, NULL);
}

/*
 * Until a signal, the end of standard input or of the daemon. In the background of a terminal there
 * is no reading from it, and no end either. Return: exit status.
 */
int ctl_hold(dmabufd *d, const sigset_t *signals)
{
    CLEANUP_FD int fd = signalfd(-1, signals, SFD_CLOEXEC);
    struct pollfd wait[] = { { .fd = STDIN_FILENO, .events = POLLIN },
                             { .fd = fd, .events = POLLIN },
                             { .fd = dmabufd_event_fd(d), .events = POLLIN } };
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    char discard[256];

    signal(SIGTTIN, SIG_IGN);
    while (fd >= 0) {
        if (poll(wait, ARRAY_LEN(wait), -1) < 0)
            continue;
        if (wait[1].revents)
            return CTL_OK;
        if (wait[2].revents && dmabufd_dispatch(d, &event) > 0)
            return ctl_error("the buffers are lost: %s", event.reason);
        if (wait[0].revents & POLLNVAL)
            wait[0].fd = -1;
        else if (wait[0].revents) {
            ssize_t n = read(STDIN_FILENO, discard, sizeof(discard));

            if (n == 0)
                return CTL_OK;
            if (n < 0 && errno != EINTR && errno != EAGAIN)
                wait[0].fd = -1;
        }
    }
    return ctl_error("cannot wait for signals: %s", strerror(errno));
}

/* Return: number of buffers; fewer than asked for if one was refused. */
static size_t allocate(dmabufd *d, const struct request *request, dmabufd_buffer **buffers)
{
    for (size_t i = 0; i < request->count; i++) {
        if (dmabufd_alloc_constrained(d, request->size, request->page_size, &request->constraints,
                                      &buffers[i]) < 0) {
            ctl_error("%s", dmabufd_last_error());
            return i;
        }
        touch(buffers[i]);
    }
    return request->count;
}

static void show(const struct ctl *ctl, const struct request *request, dmabufd_buffer **buffers)
{
    if (ctl->json && request->count > 1) {
        json_t *list = json_array();

        for (size_t i = 0; i < request->count; i++)
            json_array_append_new(list, buffer_json(buffers[i]));
        output_json(list);
        fflush(stdout);
    } else {
        for (size_t i = 0; i < request->count; i++)
            ctl_show_buffer(ctl, buffers[i], request->showing.all);
    }
}

static bool publish(const struct request *request, const dmabufd_buffer *buffer)
{
    if (!request->publish ||
        dmabufd_publish(buffer, request->publish, request->mode, request->group) == 0)
        return true;
    ctl_error("%s", dmabufd_last_error());
    return false;
}

static int alloc(const struct ctl *ctl, const struct request *request)
{
    CLEANUP_FREE dmabufd_buffer **buffers = calloc(request->count, sizeof(dmabufd_buffer *));
    int status = CTL_OK;
    sigset_t signals;
    size_t count;
    dmabufd *d;

    if (!buffers)
        return ctl_error("no memory for %" PRIu64 " buffers", request->count);
    if (ctl_connect(ctl, &d) < 0)
        return CTL_FAILED;
    count = allocate(d, request, buffers);
    if (count == request->count && publish(request, buffers[0])) {
        if (request->showing.hold)
            ctl_hold_begin(&signals);
        show(ctl, request, buffers);
        if (request->showing.hold)
            status = ctl_hold(d, &signals);
    } else {
        status = CTL_FAILED;
    }
    while (count > 0) {
        if (dmabufd_free(buffers[--count]) < 0 && status == CTL_OK)
            status = ctl_error("%s", dmabufd_last_error());
    }
    dmabufd_disconnect(d);
    return status;
}

/* In the order of the table of options, where they begin at FIRST_CONSTRAINT. */
enum {
    OPT_DMA_BITS = 256,
    OPT_MAX_SEGMENTS,
    OPT_MAX_SEGMENT_SIZE,
    OPT_BOUNDARY,
    OPT_ALIGNMENT,
    OPT_MIN_SPAN,
    OPT_CONTIGUOUS,
    OPT_PUBLISH,
    OPT_MODE,
    OPT_GROUP,
    OPT_NODE,
    OPT_PREFER_NODE,
};
#define FIRST_CONSTRAINT 4

static int parse_constraint(struct dmabufd_constraints *constraints, int option, const char *text)
{
    uint64_t number;
    int r;

    switch (option) {
    case OPT_DMA_BITS:
        r = parse_number(text, 12, 64, &number);
        if (r == 0)
            constraints->dma_mask = number == 64 ? UINT64_MAX : (UINT64_C(1) << number) - 1;
        return r;
    case OPT_MAX_SEGMENTS:
        r = parse_number(text, 1, UINT32_MAX, &number);
        if (r == 0)
            constraints->max_segments = (uint32_t)number;
        return r;
    case OPT_MAX_SEGMENT_SIZE:
        return parse_size(text, &constraints->max_segment_size);
    case OPT_BOUNDARY:
        return parse_size(text, &constraints->boundary);
    case OPT_ALIGNMENT:
        return parse_size(text, &constraints->alignment);
    case OPT_MIN_SPAN:
        return parse_size(text, &constraints->min_span);
    case OPT_NODE:
    case OPT_PREFER_NODE:
        r = parse_number(text, 0, UINT32_MAX, &number);
        if (r == 0) {
            constraints->node = (uint32_t)number;
            constraints->flags |= option == OPT_NODE ? DMABUFD_NODE_STRICT : DMABUFD_NODE_PREFERRED;
        }
        return r;
    default:
        constraints->flags |= DMABUFD_CONTIGUOUS;
        return 0;
    }
}

static int parse_publication(struct request *request, int option, const char *text)
{
    switch (option) {
    case OPT_MODE:
        return parse_mode(text, 0666, &request->mode);
    case OPT_GROUP:
        return parse_group(text, &request->group);
    default:
        request->publish = text;
        return 0;
    }
}

static const struct option options[] = {
    { "page-size", required_argument, NULL, 'p' },
    { "count", required_argument, NULL, 'c' },
    { "hold", no_argument, NULL, 'H' },
    { "all", no_argument, NULL, 'a' },
    { "dma-bits", required_argument, NULL, OPT_DMA_BITS },
    { "max-segments", required_argument, NULL, OPT_MAX_SEGMENTS },
    { "max-segment-size", required_argument, NULL, OPT_MAX_SEGMENT_SIZE },
    { "boundary", required_argument, NULL, OPT_BOUNDARY },
    { "alignment", required_argument, NULL, OPT_ALIGNMENT },
    { "min-span", required_argument, NULL, OPT_MIN_SPAN },
    { "contiguous", no_argument, NULL, OPT_CONTIGUOUS },
    { "publish", required_argument, NULL, OPT_PUBLISH },
    { "mode", required_argument, NULL, OPT_MODE },
    { "group", required_argument, NULL, OPT_GROUP },
    { "node", required_argument, NULL, OPT_NODE },
    { "prefer-node", required_argument, NULL, OPT_PREFER_NODE },
    { "help", no_argument, NULL, 'h' },
    { 0 },
};

static int run(const struct ctl *ctl, int argc, char **argv)
{
    struct request request = { .count = 1, .mode = 0600, .group = DMABUFD_GROUP_OWN };
    int option;

    while ((option = getopt_long(argc, argv, "p:c:Hah", options, NULL)) >= 0) {
        switch (option) {
        case 'p':
            if (strcmp(optarg, "auto") == 0)
                request.page_size = 0;
            else if (parse_size(optarg, &request.page_size) < 0 || request.page_size == 0)
                return ctl_usage(&ctl_alloc, "'%s' is not a page size: auto, 4K, 2M, 1G", optarg);
            break;
        case 'c':
            if (parse_number(optarg, 1, COUNT_MAX, &request.count) < 0)
                return ctl_usage(&ctl_alloc, "'%s' is not a number from 1 to %d", optarg,
                                 COUNT_MAX);
            break;
        case OPT_DMA_BITS:
        case OPT_MAX_SEGMENTS:
        case OPT_MAX_SEGMENT_SIZE:
        case OPT_BOUNDARY:
        case OPT_ALIGNMENT:
        case OPT_MIN_SPAN:
        case OPT_CONTIGUOUS:
        case OPT_NODE:
        case OPT_PREFER_NODE:
            if (parse_constraint(&request.constraints, option, optarg) < 0)
                return ctl_usage(&ctl_alloc, "'%s' is not what --%s takes", optarg,
                                 options[option - OPT_DMA_BITS + FIRST_CONSTRAINT].name);
            break;
        case OPT_PUBLISH:
        case OPT_MODE:
        case OPT_GROUP:
            if (parse_publication(&request, option, optarg) < 0)
                return ctl_usage(&ctl_alloc, "'%s' is not what --%s takes", optarg,
                                 options[option - OPT_DMA_BITS + FIRST_CONSTRAINT].name);
            break;
        default:
            if (!ctl_show_option(&request.showing, option))
                return ctl_option(&ctl_alloc, option);
            break;
        }
    }
    if (optind + 1 != argc)
        return ctl_usage(&ctl_alloc, "alloc takes one size");
    if (request.publish && (!request.showing.hold || request.count > 1))
        return ctl_usage(&ctl_alloc, "--publish goes with --hold, and with one buffer: a name ends "
                                     "with the last who holds it");
    if (parse_size(argv[optind], &request.size) < 0)
        return ctl_usage(&ctl_alloc, "'%s' is not a size: bytes, or with K, M, G or T",
                         argv[optind]);
    return alloc(ctl, &request);
}

const struct command ctl_alloc = { .name = "alloc",
                                   .summary = "allocate a buffer and show its scatter list",
                                   .help = help,
                                   .run = run };
