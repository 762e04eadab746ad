/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The keeper's life: open the backend and the socket, give up what privilege is not needed any more,
 * start workers and broker, serve, tell systemd that all is well, and release everything in order at
 * the end.
 */
#include "daemon/keeper/keeper.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/clock.h"
#include "config.h"
#include "daemon/closer.h"
#include "daemon/keeper/heartbeat.h"
#include "daemon/keeper/supervisor.h"
#include "daemon/listen.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/privilege.h"

/* How long jobs that hang may stop the end. */
#define PATIENCE_SECONDS 3

/* A device that is in use is looked at again after so long. */
#define WAIT_TICK_MS 250

struct keeper {
    const struct options *options;
    uint32_t max_clients; /* as the limit of descriptors allows */
    struct store_limits limits;
    struct event_base *base;
    struct event *term_event;
    struct event *int_event;
    struct event *patience; /* ticks while stopping */
    uint32_t hanging;       /* jobs, at the last tick */
    struct event *beat_event;
    struct listen_socket listen;
    struct memory memory;
    struct backend *backend;
    struct service service;
    struct supervisor supervisor;
    struct heartbeat heartbeat;
    uint64_t
        waiting_since; /* now_ns() when the backend began to wait for a device; 0: it did not */
    bool began;        /* there is something to stop */
    bool announced;
    bool stopping;
    int status;
};

static uint32_t at_most(uint64_t n, uint64_t most)
{
    return (uint32_t)(n < most ? n : most);
}

static uint32_t fit(const char *option, uint32_t wanted, uint32_t most, uint64_t descriptors)
{
    if (wanted > most)
        log_notice("--%s is %u instead of %u: the limit of file descriptors is %llu (LimitNOFILE=)",
                   option, most, wanted, (unsigned long long)descriptors);
    return at_most(wanted, most);
}

/*
 * A buffer is one or two descriptors of the keeper (its memory, and a long scatter list): three
 * eighths of them for buffers use three fourths at most, and one user can have half of that. An
 * eighth is for read-only files of buffers, again half of it for one user, and a sixteenth for the
 * pool, whose files have short lists. A client
 * is one descriptor of the broker and up to eight in replies that it does not read
 * (SESSION_FDS_MAX), which also count as in flight for the broker's user.
 */
static void settle_limits(struct keeper *keeper)
{
    struct rlimit limit = { 0 };
    uint64_t n;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur != limit.rlim_max) {
        limit.rlim_cur = limit.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &limit) < 0)
            log_warning("cannot raise the limit of file descriptors: %s", strerror(errno));
    }
    n = getrlimit(RLIMIT_NOFILE, &limit) < 0 ? 1024 : limit.rlim_cur;
    keeper->max_clients =
        fit("max-clients", keeper->options->max_clients, at_most(n / 12, LINK_CLIENTS_MAX), n);
    keeper->limits.clients = keeper->max_clients + LINK_CLIENTS_SPARE;
    keeper->limits.buffers = at_most(n / 8 * 3, UINT32_C(1) << 24);
    keeper->limits.shares = at_most(n / 8, UINT32_MAX);
    keeper->limits.pool = at_most(n / 16, UINT32_MAX);
    keeper->limits.buffers_of_client =
        fit("max-buffers", keeper->options->max_buffers, keeper->limits.buffers / 2, n);
    keeper->limits.user = (struct quota_limits){ {
        [QUOTA_BUFFERS] = keeper->limits.buffers / 2,
        [QUOTA_SMALL] = keeper->options->memory_limit_per_user,
        [QUOTA_2M] = QUOTA_UNLIMITED,
        [QUOTA_1G] = QUOTA_UNLIMITED,
        [QUOTA_SHARES] = keeper->limits.shares / 2,
        [QUOTA_NAMES] = PROTO_NAMES_MAX / 4,
    } };
}

static void on_ready(void *data)
{
    struct keeper *keeper = data;

    if (keeper->announced) {
        log_notice("the broker was started again: connections ended, their memory is released");
        return;
    }
    keeper->announced = true;
    log_info("dmabufd " PACKAGE_VERSION " serves %s with backend %s: %s",
             keeper->listen.path ? keeper->listen.path : "the socket it was passed",
             keeper->backend->name, keeper->backend->reason);
    sd_notifyf(0, "READY=1\nSTATUS=Backend %s: %s", keeper->backend->name, keeper->backend->reason);
}

static void on_idle(void *data)
{
    struct keeper *keeper = data;

    event_base_loopbreak(keeper->base);
}

/* The same jobs hang as at the last tick: nothing of them is pinned, and no end of them is in sight. */
static void on_patience(evutil_socket_t fd, short what, void *data)
{
    struct keeper *keeper = data;
    uint32_t jobs = service_hangs(&keeper->service) ? keeper->service.jobs : 0;

    (void)fd;
    (void)what;
    if (jobs > 0 && jobs == keeper->hanging) {
        log_warning("%u files are locked by their clients: not waiting for them", jobs);
        event_base_loopbreak(keeper->base);
    }
    keeper->hanging = jobs;
}

static void stop(struct keeper *keeper)
{
    if (keeper->stopping)
        return;
    keeper->stopping = true;
    if (!keeper->began) {
        event_base_loopbreak(keeper->base);
        return;
    }
    sd_notify(0, "STOPPING=1\nSTATUS=Releasing memory");
    log_info("stopping: %u buffers are released", keeper->service.store.buffers.count);
    service_end(&keeper->service);
    supervisor_end(&keeper->supervisor);
}

/* The clients have been told, and their connections are closed. */
static void on_broker_ended(void *data)
{
    const struct timeval tick = { .tv_sec = PATIENCE_SECONDS };
    struct keeper *keeper = data;

    event_add(keeper->patience, &tick);
    service_stop(&keeper->service);
}

static void on_signal(evutil_socket_t signal, short what, void *data)
{
    (void)signal;
    (void)what;
    stop(data);
}

static void on_hopeless(void *data)
{
    struct keeper *keeper = data;

    log_err("the broker does not come up: giving up");
    keeper->status = 1;
    stop(keeper);
}

/* systemd ends us if it hears nothing for as long as it told us; see heartbeat.h. */
static void on_beat(evutil_socket_t fd, short what, void *data)
{
    static const char *const reasons[] = {
        [HEARTBEAT_WELL] = "is well again",
        [HEARTBEAT_NO_BROKER] = "has no broker that works, and none comes up",
        [HEARTBEAT_WORKERS_HANG] = "has a worker that hangs in the kernel (see /proc/PID/task)",
    };
    struct keeper *keeper = data;
    bool well = keeper->stopping || supervisor_is_well(&keeper->supervisor);
    uint64_t now = now_ns();
    enum heartbeat_sign sign;
    bool is_new;

    (void)fd;
    (void)what;
    sign = heartbeat_look(&keeper->heartbeat, well, workers_hang(keeper->service.workers, now), now,
                          &is_new);
    if (is_new)
        log_warning("systemd's watchdog %s: the daemon %s",
                    sign == HEARTBEAT_WELL ? "is fed again" : "is not fed any more", reasons[sign]);
    if (sign == HEARTBEAT_WELL)
        sd_notify(0, "WATCHDOG=1");
}

static int start_heartbeat(struct keeper *keeper, struct fault *fault)
{
    struct timeval period;
    uint64_t us = 0;

    if (sd_watchdog_enabled(0, &us) <= 0)
        return 0;
    /* Twice as often as it must be. */
    us = us > 2000 ? us / 2 : 1000;
    period = (struct timeval){ (time_t)(us / 1000000), (suseconds_t)(us % 1000000) };
    keeper->heartbeat.hang_ns = keeper->options->hang_timeout * NS_PER_S;
    heartbeat_begin(&keeper->heartbeat, now_ns());
    keeper->beat_event = event_new(keeper->base, -1, EV_PERSIST, on_beat, keeper);
    if (!keeper->beat_event || event_add(keeper->beat_event, &period) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    return 0;
}

static void make_welcome(const struct keeper *keeper, struct link_welcome *welcome)
{
    const struct options *options = keeper->options;

    *welcome = (struct link_welcome){
        .mode = keeper->backend->mode,
        .pin = keeper->backend->pin,
        .max_size = keeper->memory.max_size,
        .max_clients = keeper->max_clients,
        .max_clients_per_user = options->max_clients_per_user ? options->max_clients_per_user
                                                              : (keeper->max_clients + 1) / 2,
        .max_buffers = keeper->limits.buffers_of_client,
        .debug = options->debug,
        .drop_uid = options->user,
        .drop_gid = options->group,
    };
    snprintf(welcome->backend, sizeof(welcome->backend), "%s", keeper->backend->name);
    snprintf(welcome->backend_reason, sizeof(welcome->backend_reason), "%s",
             keeper->backend->reason);
    memory_page_sizes(welcome->page_sizes);
}

/* Evenly, the first ones get what is left over. Return: pages that found no set. */
static uint64_t spread_pool(struct keeper *keeper, const struct options_pool *wanted,
                            struct fault *fault)
{
    struct pool *pool = &keeper->service.pool;
    uint64_t left = wanted->pages;
    uint32_t sets = 0;

    for (uint32_t i = 0; i < pool->set_count; i++)
        sets += pool->sets[i].page_size == wanted->page_size;
    for (uint32_t i = 0; i < pool->set_count && sets > 0; i++) {
        struct pool_set *set = &pool->sets[i];
        uint64_t pages = (left + sets - 1) / sets;

        if (set->page_size != wanted->page_size)
            continue;
        if (refill_resize(&keeper->service, set, pages * set->page_size, fault) < 0)
            break;
        left -= pages;
        sets--;
    }
    return left;
}

/* A host without such pages, or with fewer, is no reason not to serve. */
static void start_pool(struct keeper *keeper)
{
    for (size_t i = 0; i < keeper->options->pool_count; i++) {
        const struct options_pool *wanted = &keeper->options->pools[i];
        struct pool_set *set = pool_find(&keeper->service.pool, wanted->page_size, wanted->node);
        struct fault fault = { .text = "this host has no such pages there" };
        bool done;

        if (wanted->node == OPTIONS_ANY_NODE)
            done = spread_pool(keeper, wanted, &fault) == 0;
        else
            done = set && refill_resize(&keeper->service, set, wanted->pages * wanted->page_size,
                                        &fault) == 0;
        if (!done)
            log_warning("--pool=%lluK:%llu: not all of it: %s",
                        (unsigned long long)(wanted->page_size >> 10),
                        (unsigned long long)wanted->pages, fault.text);
    }
}

/* See backend.h. Serves nobody yet, but ends when it is told to. */
static int on_wait(void *data, struct fault *fault)
{
    const struct timeval tick = { .tv_usec = WAIT_TICK_MS * 1000 };
    struct keeper *keeper = data;
    uint32_t timeout = keeper->options->device_timeout;

    if (!keeper->waiting_since) {
        keeper->waiting_since = now_ns();
        if (timeout > 0) {
            log_notice("waiting for %u s at most: %s", timeout, fault->text);
            sd_notifyf(0, "STATUS=Waiting for %u s at most: %s", timeout, fault->text);
        }
    }
    if (now_ns() - keeper->waiting_since >= timeout * NS_PER_S) {
        char why[FAULT_TEXT_MAX];

        snprintf(why, sizeof(why), "%s", fault->text);
        return fault_set(fault, fault->code, EBUSY, "%.230s; waited for %u s (--device-timeout)",
                         why, timeout);
    }
    /* Also where the wait is longer than systemd's patience with a start. */
    sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%u", 10 * 1000000);
    event_base_loopexit(keeper->base, &tick);
    event_base_dispatch(keeper->base);
    if (keeper->stopping)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, ECANCELED, "told to end while waiting");
    return 0;
}

static int begin(struct keeper *keeper, struct fault *fault)
{
    const struct options *options = keeper->options;
    struct backend_config config = { .name = options->backend,
                                     .devices = options->devices,
                                     .device_count = options->device_count,
                                     .fake = options->fake,
                                     .wait = on_wait,
                                     .wait_data = keeper };
    int r;

    r = listen_open(options, &keeper->listen, fault);
    if (r == 0)
        r = memory_init(&keeper->memory, options->memory_limit, options->memory_reserve, fault);
    if (r == 0)
        r = backend_open(&config, &keeper->backend, fault);
    if (r == 0)
        r = privilege_keep_needed(fault);
    if (r == 0 && closer_start() < 0)
        r = fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "cannot start a thread");
    if (r == 0)
        r = service_init(&keeper->service, keeper->base, keeper->backend, &keeper->memory,
                         &keeper->limits, fault);
    if (r < 0)
        return r;
    keeper->began = true;
    start_pool(keeper);
    keeper->service.idle = on_idle;
    keeper->service.idle_data = keeper;
    keeper->supervisor = (struct supervisor){ .service = &keeper->service,
                                              .listen_fd = keeper->listen.fd,
                                              .ready = on_ready,
                                              .hopeless = on_hopeless,
                                              .ended = on_broker_ended,
                                              .data = keeper };
    keeper->supervisor.watch.period_ns = options->hang_timeout * NS_PER_S / WATCH_PERIODS;
    make_welcome(keeper, &keeper->supervisor.welcome);
    r = start_heartbeat(keeper, fault);
    return r < 0 ? r : supervisor_start(&keeper->supervisor, fault);
}

static void end(struct keeper *keeper)
{
    supervisor_stop(&keeper->supervisor);
    service_deinit(&keeper->service);
    backend_close(keeper->backend);
    memory_deinit(&keeper->memory);
    listen_close(&keeper->listen);
    if (keeper->term_event)
        event_free(keeper->term_event);
    if (keeper->int_event)
        event_free(keeper->int_event);
    if (keeper->patience)
        event_free(keeper->patience);
    if (keeper->beat_event)
        event_free(keeper->beat_event);
    event_base_free(keeper->base);
}

int keeper_run(const struct options *options)
{
    /* Not on the stack: threads that hang are left behind (workers_stop()) and may still wake up. */
    static struct keeper keeper;
    struct fault fault = { 0 };
    int r;

    keeper = (struct keeper){ .options = options, .listen = { .fd = -1 } };
    log_open("keeper", options->debug);
    signal(SIGPIPE, SIG_IGN);
    settle_limits(&keeper);
    keeper.supervisor.service = &keeper.service;
    keeper.base = loop_new();
    if (!keeper.base) {
        log_err("cannot make an event loop");
        return 1;
    }
    keeper.term_event = evsignal_new(keeper.base, SIGTERM, on_signal, &keeper);
    keeper.int_event = evsignal_new(keeper.base, SIGINT, on_signal, &keeper);
    keeper.patience = event_new(keeper.base, -1, EV_PERSIST, on_patience, &keeper);
    if (keeper.term_event && keeper.int_event && keeper.patience &&
        event_add(keeper.term_event, NULL) == 0 && event_add(keeper.int_event, NULL) == 0)
        r = begin(&keeper, &fault);
    else
        r = fault_set(&fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    if (r == 0) {
        event_base_dispatch(keeper.base);
        log_info("ended");
    } else if (keeper.stopping) {
        sd_notify(0, "STOPPING=1");
        log_info("ended: %s", fault.text);
    } else {
        log_err("%s", fault.text);
        sd_notifyf(0, "STATUS=%s\nERRNO=%d", fault.text, fault.error);
        keeper.status = 1;
    }
    end(&keeper);
    return keeper.status;
}
