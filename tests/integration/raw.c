/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The protocol by hand; see raw.h. */
#include "tests/integration/raw.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#define PATIENCE_SECONDS 20

int raw_connect(void)
{
    struct timeval patience = { .tv_sec = PATIENCE_SECONDS };
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    const char *path = getenv(PROTO_SOCKET_ENV);
    int sock = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);

    if (sock < 0 || !path || strlen(path) >= sizeof(address.sun_path))
        return -EINVAL;
    strcpy(address.sun_path, path);
    if (setsockopt(sock, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience)) < 0 ||
        setsockopt(sock, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
        connect(sock, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int error = errno;

        close(sock);
        return -error;
    }
    return sock;
}

int raw_greeted(void)
{
    unsigned char bytes[PROTO_REQUEST_MAX];
    int sock = raw_connect();
    struct raw_reply reply;
    int r;

    if (sock < 0)
        return sock;
    r = raw_send(sock, bytes, raw_hello(bytes, 1, PROTO_VERSION, PROTO_VERSION, "raw"), -1, 0);
    if (r == 0)
        r = raw_receive(sock, &reply);
    if (r == 1 && reply.message->id == 1 &&
        reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_HELLO)
        return sock;
    close(sock);
    return r < 0 ? r : -EPROTO;
}

int raw_send(int sock, const void *bytes, size_t size, int fd, size_t fd_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * RAW_FDS_MAX)];
    } control = { 0 };
    struct iovec iov = { .iov_base = (void *)bytes, .iov_len = size };
    struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (fd_count > RAW_FDS_MAX)
        return -EINVAL;
    if (fd_count > 0) {
        control.align.cmsg_level = SOL_SOCKET;
        control.align.cmsg_type = SCM_RIGHTS;
        control.align.cmsg_len = CMSG_LEN(sizeof(int) * fd_count);
        for (size_t i = 0; i < fd_count; i++)
            memcpy(CMSG_DATA(&control.align) + i * sizeof(int), &fd, sizeof(fd));
        msg.msg_control = control.bytes;
        msg.msg_controllen = CMSG_SPACE(sizeof(int) * fd_count);
    }
    return sendmsg(sock, &msg, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

size_t raw_pack(const proto_request *request, void *out)
{
    ssize_t size = message_encode_request(request, out);

    /* Only a mistake in the test itself. */
    if (size <= 0)
        abort();
    return (size_t)size;
}

size_t raw_hello(void *out, uint64_t id, uint32_t min, uint32_t max, const char *program)
{
    Dmabufd__Proto__HelloRequest hello = DMABUFD__PROTO__HELLO_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    hello.version_min = min;
    hello.version_max = max;
    hello.program = (char *)program;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_HELLO;
    request.hello = &hello;
    return raw_pack(&request, out);
}

size_t raw_allocate(void *out, uint64_t id, uint64_t size, uint64_t page_size)
{
    Dmabufd__Proto__AllocateRequest allocate = DMABUFD__PROTO__ALLOCATE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    allocate.size = size;
    allocate.page_size = page_size;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_ALLOCATE;
    request.allocate = &allocate;
    return raw_pack(&request, out);
}

size_t raw_free(void *out, uint64_t id, uint64_t buffer)
{
    Dmabufd__Proto__FreeRequest body = DMABUFD__PROTO__FREE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.buffer = buffer;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_FREE;
    request.free = &body;
    return raw_pack(&request, out);
}

size_t raw_lookup(void *out, uint64_t id)
{
    Dmabufd__Proto__LookupRequest lookup = DMABUFD__PROTO__LOOKUP_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_LOOKUP;
    request.lookup = &lookup;
    return raw_pack(&request, out);
}

size_t raw_list(void *out, uint64_t id, uint64_t after)
{
    Dmabufd__Proto__ListRequest list = DMABUFD__PROTO__LIST_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    list.after = after;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_LIST;
    request.list = &list;
    return raw_pack(&request, out);
}

size_t raw_status(void *out, uint64_t id)
{
    Dmabufd__Proto__StatusRequest status = DMABUFD__PROTO__STATUS_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_STATUS;
    request.status = &status;
    return raw_pack(&request, out);
}

size_t raw_register(void *out, uint64_t id, uint64_t size)
{
    Dmabufd__Proto__RegisterRequest body = DMABUFD__PROTO__REGISTER_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.size = size;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_REGISTER_MEMORY;
    request.register_memory = &body;
    return raw_pack(&request, out);
}

size_t raw_share(void *out, uint64_t id, uint64_t buffer)
{
    Dmabufd__Proto__ShareRequest body = DMABUFD__PROTO__SHARE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.buffer = buffer;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_SHARE;
    request.share = &body;
    return raw_pack(&request, out);
}

size_t raw_publish(void *out, uint64_t id, uint64_t buffer, const char *name, uint32_t mode)
{
    Dmabufd__Proto__PublishRequest body = DMABUFD__PROTO__PUBLISH_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.buffer = buffer;
    body.name = (char *)name;
    body.group = UINT32_MAX;
    body.mode = mode;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_PUBLISH;
    request.publish = &body;
    return raw_pack(&request, out);
}

size_t raw_open(void *out, uint64_t id, const char *name, uint32_t access)
{
    Dmabufd__Proto__OpenRequest body = DMABUFD__PROTO__OPEN_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.name = (char *)name;
    body.access = (Dmabufd__Proto__Access)access;
    body.owner = UINT32_MAX;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_OPEN;
    request.open = &body;
    return raw_pack(&request, out);
}

size_t raw_names(void *out, uint64_t id, const char *after)
{
    Dmabufd__Proto__NamesRequest body = DMABUFD__PROTO__NAMES_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.after = (char *)after;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_NAMES;
    request.names = &body;
    return raw_pack(&request, out);
}

size_t raw_unpublish(void *out, uint64_t id, const char *name)
{
    Dmabufd__Proto__UnpublishRequest body = DMABUFD__PROTO__UNPUBLISH_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.name = (char *)name;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_UNPUBLISH;
    request.unpublish = &body;
    return raw_pack(&request, out);
}

size_t raw_chunks(void *out, uint64_t id, uint64_t buffer, uint32_t first)
{
    Dmabufd__Proto__ChunksRequest body = DMABUFD__PROTO__CHUNKS_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.buffer = buffer;
    body.first = first;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_CHUNKS;
    request.chunks = &body;
    return raw_pack(&request, out);
}

size_t raw_pool(void *out, uint64_t id, uint32_t set)
{
    Dmabufd__Proto__PoolRequest body = DMABUFD__PROTO__POOL_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.set = set;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL;
    request.pool = &body;
    return raw_pack(&request, out);
}

size_t raw_pool_resize(void *out, uint64_t id, uint64_t page_size, uint32_t node, uint64_t pages)
{
    Dmabufd__Proto__PoolResizeRequest body = DMABUFD__PROTO__POOL_RESIZE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    body.page_size = page_size;
    body.node = node;
    body.pages = pages;
    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL_RESIZE;
    request.pool_resize = &body;
    return raw_pack(&request, out);
}

size_t raw_pool_map(void *out, uint64_t id)
{
    Dmabufd__Proto__PoolMapRequest body = DMABUFD__PROTO__POOL_MAP_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;

    request.id = id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_POOL_MAP;
    request.pool_map = &body;
    return raw_pack(&request, out);
}

int raw_send_allocate(int sock, uint64_t id, uint64_t size)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    return raw_send(sock, bytes, raw_allocate(bytes, id, size, 4096), -1, 0);
}

int raw_send_free(int sock, uint64_t id, uint64_t buffer)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    return raw_send(sock, bytes, raw_free(bytes, id, buffer), -1, 0);
}

int raw_send_lookup(int sock, uint64_t id, int fd)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    return raw_send(sock, bytes, raw_lookup(bytes, id), fd, 1);
}

int raw_send_status(int sock, uint64_t id)
{
    unsigned char bytes[PROTO_REQUEST_MAX];

    return raw_send(sock, bytes, raw_status(bytes, id), -1, 0);
}

int raw_receive(int sock, struct raw_reply *ret)
{
    unsigned char bytes[PROTO_REPLY_MAX];
    ssize_t n;

    ret->fds = (struct wire_fds)WIRE_FDS_NONE;
    n = wire_recv(sock, bytes, sizeof(bytes), &ret->fds);
    /* What we sent and the daemon did not read any more turns its end into a reset. */
    if (n == 0 || n == -ECONNRESET || n == -EPIPE)
        return 0;
    if (n < 0)
        return (int)n;
    ret->size = (size_t)n;
    ret->message = message_decode_reply(&ret->arena, bytes, ret->size);
    return ret->message ? 1 : -EBADMSG;
}

bool raw_is_error(const struct raw_reply *reply, uint64_t id, int code, int error)
{
    const proto_reply *message = reply->message;

    return message->id == id && message->body_case == DMABUFD__PROTO__REPLY__BODY_ERROR &&
           (int)message->error->code == code && message->error->errno_value == (uint32_t)error &&
           *message->error->text && reply->fds.count == 0;
}

bool raw_ended(int sock)
{
    struct raw_reply reply;

    return raw_receive(sock, &reply) == 0;
}

bool raw_works(int sock, uint64_t id)
{
    struct raw_reply reply;

    return raw_send_status(sock, id) == 0 && raw_receive(sock, &reply) == 1 &&
           reply.message->id == id &&
           reply.message->body_case == DMABUFD__PROTO__REPLY__BODY_STATUS && reply.fds.count == 0;
}

/* Unsigned arithmetic wraps on purpose. */
uint64_t raw_random(uint64_t *state)
{
    uint64_t z;

    *state += UINT64_C(0x9e3779b97f4a7c15);
    z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}
