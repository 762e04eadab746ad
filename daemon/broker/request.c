/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What each request of a client asks the keeper; see request.h. */
#include "daemon/broker/request.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "daemon/broker/reply.h"
#include "daemon/broker/upstream.h"
#include "daemon/log.h"
#include "daemon/presented.h"

static bool is_presentable(const char *text)
{
    size_t length = strlen(text);

    for (size_t i = 0; i < length; i++) {
        if (!isascii((unsigned char)text[i]) || !isprint((unsigned char)text[i]))
            return false;
    }
    return length <= PROTO_PROGRAM_MAX;
}

static int refuse_connection(const struct session *session, struct fault *fault)
{
    if (session->stuck > 0)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EUSERS,
                         "%u files or sockets that user %u sent do not close and count as its "
                         "connections (at most %u): end whatever does not answer for them",
                         session->stuck, (unsigned int)session->uid,
                         session->broker->welcome.max_clients_per_user);
    return fault_set(fault, DMABUFD_CODE_LIMIT, EUSERS,
                     "the daemon has its limit of connections (%u, of one user %u): end some or "
                     "raise --max-clients or --max-clients-per-user",
                     session->broker->welcome.max_clients,
                     session->broker->welcome.max_clients_per_user);
}

REQUEST_HANDLER(request_hello)
{
    const Dmabufd__Proto__HelloRequest *hello = request->hello;

    (void)fds;
    /* Whoever is refused here cannot go on asking. */
    session->ending = true;
    if (hello->version_min > PROTO_VERSION || hello->version_max < PROTO_VERSION)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EPROTONOSUPPORT,
                         "the daemon speaks version %u of the protocol, the client %u to %u: "
                         "update the older of the two",
                         PROTO_VERSION, hello->version_min, hello->version_max);
    if (!is_presentable(hello->program))
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "program: at most %u printable ASCII characters", PROTO_PROGRAM_MAX);
    if (session->refused)
        return refuse_connection(session, fault);
    if (upstream_greet(session) < 0)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    session->greeted = true;
    session->events = (hello->features & PROTO_FEATURE_EVENTS) != 0;
    session->ending = false;
    log_debug("client %llu (pid %d, uid %u) is '%s'", (unsigned long long)session->id,
              (int)session->pid, session->uid, hello->program);
    reply_hello(session, request->id);
    return 0;
}

static struct dmabufd_constraints read_constraints(const Dmabufd__Proto__Constraints *message)
{
    if (!message)
        return (struct dmabufd_constraints){ 0 };
    return (struct dmabufd_constraints){
        .dma_mask = message->dma_mask,
        .max_segment_size = message->max_segment_size,
        .boundary = message->boundary,
        .alignment = message->alignment,
        .min_span = message->min_span,
        .max_segments = message->max_segments,
        .flags = (message->contiguous ? DMABUFD_CONTIGUOUS : 0) |
                 (message->node_preferred ? DMABUFD_NODE_PREFERRED : 0) |
                 (message->node_strict ? DMABUFD_NODE_STRICT : 0),
        .node = message->node,
    };
}

REQUEST_HANDLER(request_allocate)
{
    struct link_request question = {
        .op = LINK_ALLOC,
        .u.alloc = { .size = request->allocate->size,
                     .page_size = request->allocate->page_size,
                     .constraints = read_constraints(request->allocate->constraints) },
    };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_free)
{
    struct link_request question = { .op = LINK_FREE, .u.buffer = request->free->buffer };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_lookup)
{
    struct link_request question = { .op = LINK_LOOKUP };
    int r = presented_as_buffer(fds->fd[0], fault);

    return r < 0 ? r : upstream_ask(session, request->id, &question, fds, fault);
}

REQUEST_HANDLER(request_register)
{
    const Dmabufd__Proto__RegisterRequest *body = request->register_memory;
    struct link_request question = {
        .op = LINK_REGISTER,
        .u.registration = { .offset = body->offset,
                            .size = body->size,
                            .constraints = read_constraints(body->constraints) },
    };
    int r = presented_as_memory(fds->fd[0], fault);

    return r < 0 ? r : upstream_ask(session, request->id, &question, fds, fault);
}

REQUEST_HANDLER(request_list)
{
    struct link_request question = { .op = LINK_LIST, .u.after = request->list->after };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_status)
{
    struct link_request question = { .op = LINK_STATUS };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_share)
{
    struct link_request question = { .op = LINK_SHARE, .u.buffer = request->share->buffer };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

/* What it may consist of, the keeper checks. */
static int put_name(const char *text, struct link_name *name, struct fault *fault)
{
    size_t length = strlen(text);

    if (length > PROTO_NAME_MAX)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "the name has %zu bytes, at most %u are possible", length, PROTO_NAME_MAX);
    memcpy(name->text, text, length + 1);
    return 0;
}

REQUEST_HANDLER(request_publish)
{
    const Dmabufd__Proto__PublishRequest *body = request->publish;
    struct link_request question = {
        .op = LINK_PUBLISH,
        .u.publication = { .buffer = body->buffer, .group = body->group, .mode = body->mode },
    };
    int r = put_name(body->name, &question.u.publication.name, fault);

    (void)fds;
    return r < 0 ? r : upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_open)
{
    struct link_request question = {
        .op = LINK_OPEN,
        .u.opening = { .access = request->open->access, .owner = request->open->owner },
    };
    int r = put_name(request->open->name, &question.u.opening.name, fault);

    (void)fds;
    return r < 0 ? r : upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_names)
{
    struct link_request question = { .op = LINK_NAMES };
    int r = put_name(request->names->after, &question.u.name, fault);

    (void)fds;
    return r < 0 ? r : upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_unpublish)
{
    struct link_request question = { .op = LINK_UNPUBLISH };
    int r = put_name(request->unpublish->name, &question.u.name, fault);

    (void)fds;
    return r < 0 ? r : upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_chunks)
{
    struct link_request question = {
        .op = LINK_CHUNKS,
        .u.chunks = { .buffer = request->chunks->buffer, .first = request->chunks->first },
    };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_pool)
{
    struct link_request question = { .op = LINK_POOL, .u.pool_set = request->pool->set };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_pool_resize)
{
    const Dmabufd__Proto__PoolResizeRequest *body = request->pool_resize;
    struct link_request question = {
        .op = LINK_POOL_RESIZE,
        .u.pool_size = { .page_size = body->page_size, .pages = body->pages, .node = body->node },
    };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}

REQUEST_HANDLER(request_pool_map)
{
    struct link_request question = { .op = LINK_POOL_MAP };

    (void)fds;
    return upstream_ask(session, request->id, &question, NULL, fault);
}
