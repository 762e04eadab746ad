/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A keeper without its process; see rig.h. */
#include "tests/unit/rig.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/support.h"

#define PATIENCE_MS  10000U
#define MEMORY_LIMIT (UINT64_C(1) << 30)

static void need(bool ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "rig: %s: %s\n", what, strerror(errno));
    exit(99);
}

static int on_message(void *data, const void *bytes, size_t size, struct wire_fds *fds)
{
    struct rig *rig = data;

    return service_request(&rig->service, bytes, size, fds);
}

static void on_closed(void *data, int error)
{
    struct rig *rig = data;

    rig->ended = true;
    rig->end_error = error;
    rig->service.link = channel_free(rig->service.link);
}

static void on_drained(void *data)
{
    struct rig *rig = data;

    service_drained(&rig->service);
}

static const struct channel_ops link_ops = { on_message, on_drained, on_closed };

static void on_idle(void *data)
{
    struct rig *rig = data;

    rig->idle++;
}

struct backend *rig_fake(const char *script)
{
    struct backend_config config = { .name = "fake", .fake = script };
    struct backend *backend = NULL;

    need(backend_open(&config, &backend, NULL) == 0, "fake backend");
    return backend;
}

void rig_start_broker(struct rig *rig)
{
    int pair[2];

    need(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) == 0, "link");
    need(channel_new(rig->base, pair[0], WIRE_NOBODY, sizeof(struct link_request), false, &link_ops,
                     rig, &rig->service.link) == 0,
         "channel");
    rig->broker = pair[1];
    rig->ended = false;
    rig->end_error = 0;
    rig->service.broker_starts++;
}

void rig_end_broker(struct rig *rig)
{
    fd_close(&rig->broker);
    rig->service.link = channel_free(rig->service.link);
    service_broker_gone(&rig->service);
}

void rig_open(struct rig *rig, struct backend *backend, uint32_t max_clients, uint32_t max_buffers)
{
    const struct store_limits limits = {
        .clients = max_clients,
        .buffers = 1 << 20,
        .buffers_of_client = max_buffers,
        .shares = 1 << 20,
        .pool = 1 << 10,
        .user = { { 1 << 20, QUOTA_UNLIMITED, QUOTA_UNLIMITED, QUOTA_UNLIMITED, 1 << 20,
                    1 << 20 } },
    };

    *rig = (struct rig){ .backend = backend, .broker = -1 };
    rig->base = event_base_new();
    need(rig->base != NULL, "event loop");
    need(memory_init(&rig->memory, MEMORY_LIMIT, 0, NULL) == 0, "memory");
    need(service_init(&rig->service, rig->base, backend, &rig->memory, &limits, NULL) == 0,
         "service");
    rig->service.idle = on_idle;
    rig->service.idle_data = rig;
    rig_start_broker(rig);
}

void rig_pump(struct rig *rig)
{
    /* Twice: what the first round did may have made more ready. */
    for (int i = 0; i < 2; i++)
        need(event_base_loop(rig->base, EVLOOP_NONBLOCK) >= 0, "event loop");
}

bool rig_await_worker(struct rig *rig)
{
    struct pollfd wait = { .fd = workers_fd(rig->service.workers), .events = POLLIN };
    int r;

    /* A fuzzer has its timers. */
    do {
        r = poll(&wait, 1, PATIENCE_MS);
    } while (r < 0 && errno == EINTR);
    return r == 1;
}

bool rig_await(struct rig *rig, bool (*come)(void *data), void *data)
{
    uint64_t until = support_now_ms() + PATIENCE_MS;

    while (!come(data)) {
        struct pollfd wait = { .fd = workers_fd(rig->service.workers), .events = POLLIN };

        if (support_now_ms() >= until)
            return false;
        /* Timers of the keeper are no descriptors. */
        poll(&wait, 1, 1);
        rig_pump(rig);
    }
    return true;
}

bool rig_settle(struct rig *rig)
{
    rig_pump(rig);
    while (rig->service.jobs > 0) {
        if (!rig_await_worker(rig))
            return false;
        rig_pump(rig);
    }
    return true;
}

int rig_send(struct rig *rig, const void *bytes, size_t size, int fd)
{
    struct wire_fds fds = { .fd = { fd }, .count = fd >= 0 };

    return wire_send(rig->broker, bytes, size, &fds);
}

bool rig_receive(struct rig *rig, struct link_reply *ret, struct wire_fds *ret_fds)
{
    uint64_t until = support_now_ms() + PATIENCE_MS;

    while (!rig->ended && support_now_ms() < until) {
        struct pollfd wait[] = {
            { .fd = rig->broker, .events = POLLIN },
            { .fd = workers_fd(rig->service.workers), .events = POLLIN },
        };
        ssize_t n;

        rig_pump(rig);
        n = wire_recv(rig->broker, ret, sizeof(*ret), ret_fds);
        if (n != -EAGAIN)
            return n == (ssize_t)sizeof(*ret);
        poll(wait, ARRAY_LEN(wait), 100);
    }
    return false;
}

int rig_ask(struct rig *rig, struct link_request *request, int fd, struct link_reply *reply,
            struct wire_fds *fds)
{
    static uint64_t tag;
    CLEANUP_FDS struct wire_fds unwanted = WIRE_FDS_NONE;

    fds = fds ? fds : &unwanted;
    request->tag = ++tag << 32;
    memset(reply, 0xa5, sizeof(*reply));
    if (rig_send(rig, request, sizeof(*request), fd) < 0 || !rig_receive(rig, reply, fds) ||
        reply->op != request->op || reply->tag != request->tag || reply->error < 0)
        return -1;
    /* A refusal says why, and comes without descriptors. */
    if (reply->error && (reply->u.fault.error != reply->error || strlen(reply->u.fault.text) <= 5 ||
                         fds->count > 0))
        return -1;
    return reply->error;
}

size_t rig_drain(struct rig *rig)
{
    struct link_reply reply;
    size_t count = 0;

    rig_pump(rig);
    for (;;) {
        CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;

        if (wire_recv(rig->broker, &reply, sizeof(reply), &fds) <= 0)
            return count;
        count++;
    }
}

int rig_memory(size_t size)
{
    static const char page[4096];
    int fd = -1;

    need(memfd_open("client", 0, &fd) == 0, "memfd");
    for (size_t at = 0; at < size; at += sizeof(page))
        need(pwrite(fd, page, sizeof(page), (off_t)at) == sizeof(page), "memfd");
    need(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0, "seal");
    return fd;
}

/* Nothing ready, nothing on its way, nobody who held it back. */
static bool pool_is_empty(const struct rig *rig)
{
    const struct pool *pool = &rig->service.pool;

    for (uint32_t i = 0; i < pool->set_count; i++) {
        const struct pool_set *set = &pool->sets[i];

        if (set->ready || set->making || set->jobs || set->count || set->leaving || set->held_back)
            return false;
    }
    return pool->files == 0;
}

bool rig_empty(const struct rig *rig)
{
    const struct store *store = &rig->service.store;

    return store->client_count == 0 && store->buffers.count == 0 && store->bytes == 0 &&
           store->huge_bytes == 0 && store->shares == 0 && store->reserved == 0 &&
           rig->service.names.count == 0 && rig->service.jobs == 0 && rig->service.pinned == 0 &&
           rig->memory.charged == 0 && pool_is_empty(rig);
}

bool rig_close(struct rig *rig)
{
    bool empty;

    rig_end_broker(rig);
    refill_stop(&rig->service);
    empty = rig_settle(rig) && rig_empty(rig) && rig->service.unreleasable == 0;
    service_deinit(&rig->service);
    memory_deinit(&rig->memory);
    rig->backend = backend_close(rig->backend);
    event_base_free(rig->base);
    return empty;
}
