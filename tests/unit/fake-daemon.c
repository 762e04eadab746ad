/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* See fake-daemon.h. */
#include "tests/unit/fake-daemon.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "common/cleanup.h"

void fake_say(const struct fake *fake, const proto_reply *reply, const struct wire_fds *fds)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t size = message_encode_reply(reply, bytes);

    assert_true(size > 0);
    assert_int_equal(wire_send(fake->sock, bytes, (size_t)size, fds), 0);
}

void fake_say_event(const struct fake *fake, int kind)
{
    Dmabufd__Proto__Event event = DMABUFD__PROTO__EVENT__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    event.kind = (Dmabufd__Proto__EventKind)kind;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_EVENT;
    reply.event = &event;
    fake_say(fake, &reply, NULL);
}

void fake_say_status(const struct fake *fake, uint64_t id)
{
    Dmabufd__Proto__StatusReply status = DMABUFD__PROTO__STATUS_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    status.clients = 7;
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_STATUS;
    reply.status = &status;
    fake_say(fake, &reply, NULL);
}

const proto_request *fake_request(struct fake *fake, struct wire_fds *ret_fds)
{
    static struct message_arena arena;
    unsigned char bytes[PROTO_REQUEST_MAX];
    const proto_request *request;
    ssize_t n;

    *ret_fds = (struct wire_fds)WIRE_FDS_NONE;
    n = wire_recv(fake->sock, bytes, sizeof(bytes), ret_fds);
    if (n <= 0)
        return NULL;
    request = message_decode_request(&arena, bytes, (size_t)n);
    assert_non_null(request);
    return request;
}

uint64_t fake_hear(struct fake *fake)
{
    struct wire_fds fds;
    const proto_request *request = fake_request(fake, &fds);

    assert_non_null(request);
    if (request->body_case == DMABUFD__PROTO__REQUEST__BODY_HELLO)
        fake->asked = request->hello->features;
    return request->id;
}

static void *greet(void *data)
{
    static char backend[] = "fake";
    static uint64_t page_size = 4096;
    Dmabufd__Proto__HelloReply hello = DMABUFD__PROTO__HELLO_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    struct fake *fake = data;

    fake->sock = accept4(fake->listener, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fake->sock >= 0);
    reply.id = fake_hear(fake);
    hello.version = PROTO_VERSION;
    hello.features = fake->features;
    hello.mode = DMABUFD__PROTO__ADDRESS_MODE__MODE_FAKE;
    hello.pin = DMABUFD__PROTO__PIN_STRENGTH__PIN_NONE;
    hello.backend = hello.backend_reason = backend;
    hello.page_sizes = &page_size;
    hello.n_page_sizes = 1;
    hello.max_in_flight = hello.max_buffers = 8;
    hello.max_size = 1 << 30;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_HELLO;
    reply.hello = &hello;
    fake_say(fake, &reply, NULL);
    return NULL;
}

int fake_meet(struct fake *fake, uint64_t features, dmabufd **ret)
{
    int r;

    *fake = (struct fake){ .address.sun_family = AF_UNIX, .sock = -1, .features = features };
    snprintf(fake->directory, sizeof(fake->directory), "/tmp/dmabufd-test-XXXXXX");
    assert_non_null(mkdtemp(fake->directory));
    snprintf(fake->address.sun_path, sizeof(fake->address.sun_path), "%s/s", fake->directory);
    fake->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
    assert_int_equal(
        bind(fake->listener, (const struct sockaddr *)&fake->address, sizeof(fake->address)), 0);
    assert_int_equal(listen(fake->listener, 1), 0);
    assert_int_equal(pthread_create(&fake->greeter, NULL, greet, fake), 0);
    r = dmabufd_connect(ret, fake->address.sun_path);
    pthread_join(fake->greeter, NULL);
    unlink(fake->address.sun_path);
    rmdir(fake->directory);
    fd_close(&fake->listener);
    return r;
}
