/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of requests; see dispatch.h. A new request is one line here and one handler. */
#include "daemon/broker/dispatch.h"

#include <errno.h>

#include "daemon/broker/request.h"
#include "daemon/broker/upstream.h"

struct kind {
    Dmabufd__Proto__Request__BodyCase body;
    unsigned int fds;
    bool before_hello;
    bool after_hello;
    int (*handle)(struct session *session, const proto_request *request, struct wire_fds *fds,
                  struct fault *fault);
};

static const struct kind kinds[] = {
    { DMABUFD__PROTO__REQUEST__BODY_HELLO, 0, true, false, request_hello },
    { DMABUFD__PROTO__REQUEST__BODY_ALLOCATE, 0, false, true, request_allocate },
    { DMABUFD__PROTO__REQUEST__BODY_FREE, 0, false, true, request_free },
    { DMABUFD__PROTO__REQUEST__BODY_LOOKUP, 1, false, true, request_lookup },
    { DMABUFD__PROTO__REQUEST__BODY_REGISTER_MEMORY, 1, false, true, request_register },
    { DMABUFD__PROTO__REQUEST__BODY_LIST, 0, false, true, request_list },
    { DMABUFD__PROTO__REQUEST__BODY_STATUS, 0, false, true, request_status },
    { DMABUFD__PROTO__REQUEST__BODY_SHARE, 0, false, true, request_share },
    { DMABUFD__PROTO__REQUEST__BODY_PUBLISH, 0, false, true, request_publish },
    { DMABUFD__PROTO__REQUEST__BODY_OPEN, 0, false, true, request_open },
    { DMABUFD__PROTO__REQUEST__BODY_NAMES, 0, false, true, request_names },
    { DMABUFD__PROTO__REQUEST__BODY_UNPUBLISH, 0, false, true, request_unpublish },
    { DMABUFD__PROTO__REQUEST__BODY_CHUNKS, 0, false, true, request_chunks },
    { DMABUFD__PROTO__REQUEST__BODY_POOL, 0, false, true, request_pool },
    { DMABUFD__PROTO__REQUEST__BODY_POOL_RESIZE, 0, false, true, request_pool_resize },
    { DMABUFD__PROTO__REQUEST__BODY_POOL_MAP, 0, false, true, request_pool_map },
};

static const struct kind *find(Dmabufd__Proto__Request__BodyCase body)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (kinds[i].body == body)
            return &kinds[i];
    }
    return NULL;
}

int dispatch(struct session *session, const proto_request *request, struct wire_fds *fds)
{
    const struct kind *kind = find(request->body_case);
    struct fault fault = { 0 };

    if (!kind)
        return session_malformed(session, "an unknown request");
    if (session->greeted ? !kind->after_hello : !kind->before_hello)
        return session_malformed(session,
                                 session->greeted ? "HELLO twice" : "a request before HELLO");
    if (fds->lost && kind->fds > 0) {
        fault_set(&fault, DMABUFD_CODE_LIMIT, EMFILE,
                  "the daemon is out of file descriptors: raise its LimitNOFILE=");
        session_refuse(session, request->id, &fault);
        return 0;
    }
    if (fds->lost || fds->count != kind->fds)
        return session_malformed(session, "a request with a wrong number of descriptors");
    if (upstream_is_asked(session, request->id))
        return session_malformed(session, "a request id that is still in flight");
    if (kind->handle(session, request, fds, &fault) < 0)
        session_refuse(session, request->id, &fault);
    return 0;
}
