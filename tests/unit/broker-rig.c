/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A broker without its process; see broker-rig.h. */
#include "tests/unit/broker-rig.h"

#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "daemon/broker/session.h"
#include "daemon/broker/upstream.h"
#include "daemon/log.h"
#include "tests/unit/support.h"

struct broker_rig broker_rig;

static size_t fds_before;

static void make_pair(int pair[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair),
                     0);
}

int broker_rig_setup(void **state)
{
    struct broker *broker = &broker_rig.broker;
    int pair[2];

    (void)state;
    log_open("broker", false);
    fds_before = support_fds();
    memset(&broker_rig, 0, sizeof(broker_rig));
    broker->welcome = (struct link_welcome){ .mode = DMABUFD_MODE_FAKE,
                                             .pin = DMABUFD_PIN_NONE,
                                             .page_sizes = { 4096, 2097152 },
                                             .max_size = UINT64_C(1) << 30,
                                             .max_clients = 16,
                                             .max_clients_per_user = 8,
                                             .max_buffers = 77,
                                             .backend = "fake",
                                             .backend_reason = "a test" };
    slots_init(&broker->sessions, broker->welcome.max_clients + LINK_CLIENTS_SPARE);
    slots_init(&broker->asked, UINT32_MAX);
    broker->base = event_base_new();
    assert_non_null(broker->base);
    make_pair(pair);
    broker_rig.keeper = pair[1];
    return upstream_open(broker, pair[0]);
}

int broker_rig_teardown(void **state)
{
    struct broker *broker = &broker_rig.broker;
    bool clean;

    (void)state;
    sessions_free(broker);
    clean = broker->asked.count == 0 && broker->sessions.count == 0;
    upstream_close(broker);
    slots_deinit(&broker->sessions);
    slots_deinit(&broker->asked);
    event_base_free(broker->base);
    fd_close(&broker_rig.keeper);
    return clean && support_fds() == fds_before ? 0 : -1;
}

void broker_rig_pump(void)
{
    /* Each round may have made more ready. */
    for (int i = 0; i < 20; i++)
        assert_true(event_base_loop(broker_rig.broker.base, EVLOOP_NONBLOCK) >= 0);
}

int broker_rig_connect(void)
{
    int pair[2];

    make_pair(pair);
    session_new(&broker_rig.broker, pair[0]);
    return pair[1];
}

int broker_rig_greeted(uint64_t *ret_client)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int sock = broker_rig_connect();
    struct raw_reply reply;

    assert_int_equal(raw_send(sock, bytes, raw_hello(bytes, 1, 1, 1, "unit"), -1, 0), 0);
    broker_rig_reply(sock, &reply);
    assert_int_equal(reply.message->body_case, DMABUFD__PROTO__REPLY__BODY_HELLO);
    broker_rig_expect(LINK_CLIENT_NEW, reply.message->hello->client);
    if (ret_client)
        *ret_client = reply.message->hello->client;
    return sock;
}

bool broker_rig_asked(struct link_request *ret, struct wire_fds *ret_fds)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    ssize_t n;

    broker_rig_pump();
    for (;;) {
        n = wire_recv(broker_rig.keeper, ret, sizeof(*ret), &fds);
        if (n == -EAGAIN)
            return false;
        assert_int_equal(n, sizeof(*ret));
        if (ret->op != LINK_GROUPS)
            break;
        assert_int_equal(fds.count, 0);
        if (broker_rig.group_messages < ARRAY_LEN(broker_rig.groups))
            broker_rig.groups[broker_rig.group_messages++] = ret->u.groups;
    }
    if (ret_fds) {
        *ret_fds = fds;
        fds.count = 0;
    }
    assert_int_equal(fds.count, 0);
    return true;
}

uint64_t broker_rig_expect(uint32_t op, uint64_t client)
{
    struct link_request request;

    assert_true(broker_rig_asked(&request, NULL));
    assert_int_equal(request.op, op);
    assert_int_equal(request.client, client);
    return request.tag;
}

void broker_rig_answer(const struct link_reply *reply, int fd, size_t fd_count)
{
    assert_int_equal(raw_send(broker_rig.keeper, reply, sizeof(*reply), fd, fd_count), 0);
    broker_rig_pump();
}

void broker_rig_reply(int sock, struct raw_reply *ret)
{
    broker_rig_pump();
    assert_int_equal(raw_receive(sock, ret), 1);
}

bool broker_rig_silent(int sock)
{
    struct raw_reply reply;

    broker_rig_pump();
    return raw_receive(sock, &reply) == -EAGAIN;
}
