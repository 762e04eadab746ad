/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Connecting, the greeting, and the end; see connection.h. */
#include "client/connection.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "client/buffer.h"
#include "client/call.h"
#include "client/event.h"
#include "client/last-error.h"
#include "client/registry.h"

static const char *choose_path(const char *path)
{
    const char *env = secure_getenv(PROTO_SOCKET_ENV);

    if (path)
        return path;
    return env && *env ? env : PROTO_DEFAULT_SOCKET;
}

static const char *hint(int error)
{
    switch (error) {
    case ENOENT:
    case ECONNREFUSED:
        return ": is dmabufd running?";
    case EACCES:
        return ": this user is not in the group that may use it";
    default:
        return "";
    }
}

static int connect_socket(dmabufd *d, const char *path, struct fault *fault)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    size_t length = strlen(path);
    int r;

    if (length >= sizeof(address.sun_path))
        return fault_set(fault, DMABUFD_CODE_OK, ENAMETOOLONG,
                         "the path of the socket has %zu bytes, at most %zu are possible", length,
                         sizeof(address.sun_path) - 1);
    memcpy(address.sun_path, path, length + 1);
    do {
        r = connect(d->sock, (const struct sockaddr *)&address, sizeof(address));
    } while (r < 0 && errno == EINTR);
    if (r < 0) {
        int error = errno;

        return fault_set(fault, DMABUFD_CODE_OK, error, "%s: %s%s", path, strerror(error),
                         hint(error));
    }
    return 0;
}

/* What the program calls itself, as far as it can be printed. */
static void program_name(char out[PROTO_PROGRAM_MAX + 1])
{
    size_t n = 0;

    for (const char *p = program_invocation_short_name; *p && n < PROTO_PROGRAM_MAX; p++)
        out[n++] = *p >= 0x20 && *p < 0x7f ? *p : '?';
    out[n] = '\0';
}

static int greet(dmabufd *d, struct fault *fault)
{
    char program[PROTO_PROGRAM_MAX + 1];
    Dmabufd__Proto__HelloRequest hello;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct reply reply;
    int r;

    program_name(program);
    dmabufd__proto__hello_request__init(&hello);
    hello.version_min = PROTO_VERSION;
    hello.version_max = PROTO_VERSION;
    hello.program = program;
    hello.features = PROTO_FEATURE_EVENTS;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_HELLO;
    request.hello = &hello;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_HELLO, &reply, fault);
    if (r < 0)
        return r;
    d->hello = reply.hello;
    d->hello.info.backend = d->hello.backend;
    d->hello.info.backend_reason = d->hello.backend_reason;
    return 0;
}

static dmabufd *new_connection(void)
{
    dmabufd *d = aligned_alloc(_Alignof(dmabufd), sizeof(*d));

    if (!d)
        return NULL;
    memset(d, 0, offsetof(dmabufd, rx));
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->room, NULL);
    LIST_INIT(&d->calls);
    LIST_INIT(&d->buffers);
    LIST_INIT(&d->told);
    event_init(d);
    d->sock = -1;
    d->hello.max_in_flight = 1;
    return d;
}

/* One that has no socket. */
static void free_connection(dmabufd *d)
{
    pthread_cond_destroy(&d->room);
    pthread_mutex_destroy(&d->lock);
    free(d);
}

int dmabufd_connect(dmabufd **ret, const char *socket_path)
{
    NO_CANCELLATION;
    struct fault *fault = last_error();
    dmabufd *d = new_connection();
    int r;

    if (!d)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a connection");
    r = arena_init(&d->arena, 0, fault);
    if (r < 0) {
        free_connection(d);
        return r;
    }
    r = registry_open_socket(d);
    if (r < 0) {
        fault_set(fault, DMABUFD_CODE_OK, -r, "cannot make a socket: %s", strerror(-r));
        arena_deinit(&d->arena);
        free_connection(d);
        return r;
    }
    r = connect_socket(d, choose_path(socket_path), fault);
    if (r == 0)
        r = greet(d, fault);
    if (r < 0) {
        dmabufd_disconnect(d);
        return r;
    }
    *ret = d;
    return 0;
}

dmabufd *dmabufd_disconnect(dmabufd *d)
{
    NO_CANCELLATION;

    if (!d)
        return NULL;
    buffer_drop_all(d);
    registry_close_socket(d);
    arena_deinit(&d->arena);
    free_connection(d);
    return NULL;
}

const struct dmabufd_info *dmabufd_get_info(const dmabufd *d)
{
    return &d->hello.info;
}
