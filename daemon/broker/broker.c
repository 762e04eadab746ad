/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The broker's life: become unprivileged, accept connections, end with the link. */
#include "daemon/broker/broker.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "daemon/broker/session.h"
#include "daemon/broker/upstream.h"
#include "daemon/closer.h"
#include "daemon/log.h"
#include "daemon/loop.h"
#include "daemon/privilege.h"

/* Connections accepted in one go. */
#define ACCEPT_BURST 32

/* Out of descriptors or memory: let the queue of the socket hold them for a while. */
static void pause_accepting(struct broker *broker, int error)
{
    struct timeval pause = { .tv_sec = 0, .tv_usec = 100000 };

    log_warning("cannot accept connections for now: %s", strerror(error));
    event_del(broker->accept_event);
    evtimer_add(broker->resume_event, &pause);
}

static void on_resume(evutil_socket_t fd, short what, void *data)
{
    struct broker *broker = data;

    (void)fd;
    (void)what;
    event_add(broker->accept_event, NULL);
}

static void on_accept(evutil_socket_t fd, short what, void *data)
{
    struct broker *broker = data;

    (void)what;
    for (int i = 0; i < ACCEPT_BURST; i++) {
        int client = accept4(fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (client >= 0) {
            session_new(broker, client);
            continue;
        }
        if (errno == EAGAIN)
            return;
        if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
            pause_accepting(broker, errno);
            return;
        }
        /* Anything else is the end of that one connection, before it began. */
    }
}

static void sum_up_offences(struct broker *broker)
{
    uint64_t now = now_ns();
    struct offender sum;

    while (offenders_next(&broker->offenders, now, &sum)) {
        unsigned long long more = sum.more, seconds = (now - sum.since_ns) / NS_PER_S;

        if (sum.others)
            log_notice("malformed messages: %llu more like it from other users in the last %llu s",
                       more, seconds);
        else
            log_notice("malformed messages: %llu more like it from uid %u in the last %llu s", more,
                       sum.uid, seconds);
    }
}

static void on_sweep(evutil_socket_t fd, short what, void *data)
{
    struct broker *broker = data;

    (void)fd;
    (void)what;
    sessions_sweep(broker);
    sum_up_offences(broker);
}

/* The link is the first thing a broker has; the welcome is on it before anything else. */
static int receive_welcome(struct link_welcome *welcome)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct pollfd poll_fd = { .fd = LINK_FD, .events = POLLIN };
    ssize_t n;

    if (poll(&poll_fd, 1, 10000) != 1)
        return -ETIMEDOUT;
    n = wire_recv(LINK_FD, welcome, sizeof(*welcome), &fds);
    if (n < 0)
        return (int)n;
    return n == sizeof(*welcome) ? 0 : -EBADMSG;
}

static int begin(struct broker *broker)
{
    struct timeval sweep = { .tv_sec = SESSION_HELLO_SECONDS };

    slots_init(&broker->sessions, broker->welcome.max_clients + LINK_CLIENTS_SPARE);
    slots_init(&broker->asked, UINT32_MAX);
    broker->listen_fd = LINK_LISTEN_FD;
    broker->base = loop_new();
    if (!broker->base || upstream_open(broker, LINK_FD) < 0)
        return -ENOMEM;
    broker->accept_event =
        event_new(broker->base, broker->listen_fd, EV_READ | EV_PERSIST, on_accept, broker);
    broker->resume_event = evtimer_new(broker->base, on_resume, broker);
    broker->sweep_event = event_new(broker->base, -1, EV_PERSIST, on_sweep, broker);
    if (!broker->accept_event || !broker->resume_event || !broker->sweep_event ||
        event_add(broker->accept_event, NULL) < 0 || event_add(broker->sweep_event, &sweep) < 0)
        return -ENOMEM;
    return upstream_ready(broker);
}

static void end(struct broker *broker)
{
    sessions_free(broker);
    upstream_close(broker);
    slots_deinit(&broker->sessions);
    slots_deinit(&broker->asked);
    if (broker->accept_event)
        event_free(broker->accept_event);
    if (broker->resume_event)
        event_free(broker->resume_event);
    if (broker->sweep_event)
        event_free(broker->sweep_event);
    if (broker->base)
        event_base_free(broker->base);
}

int broker_run(void)
{
    static struct broker broker;
    struct fault fault = { 0 };
    int r;

    log_open("broker", false);
    /* The kernel's name for what was started as /proc/self/exe is "exe". */
    prctl(PR_SET_NAME, "dmabufd-broker", 0, 0, 0);
    /* The keeper stops us by ending the link; a Ctrl-C at a terminal is the keeper's to handle. */
    signal(SIGPIPE, SIG_IGN);
    signal(SIGINT, SIG_IGN);
    signal(SIGTERM, SIG_IGN);
    r = receive_welcome(&broker.welcome);
    if (r < 0) {
        log_err("--broker is for the keeper to use: no link on descriptor %d (%s)", LINK_FD,
                strerror(-r));
        return 2;
    }
    if (privilege_drop(broker.welcome.drop_uid, broker.welcome.drop_gid, &fault) < 0) {
        log_err("%s", fault.text);
        return 1;
    }
    log_open("broker", broker.welcome.debug);
    r = closer_start();
    if (r == 0)
        r = begin(&broker);
    if (r == 0)
        event_base_dispatch(broker.base);
    else
        log_err("cannot begin: %s", strerror(-r));
    end(&broker);
    return r < 0 ? 1 : broker.status;
}
