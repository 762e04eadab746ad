/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The handlers of requests, one each. They check what the broker can judge and ask the keeper for
 * the rest. Return 0 if answered or under way, else a negative errno with @fault, which dispatch()
 * sends as the answer.
 */
#ifndef BROKER_REQUEST_H
#define BROKER_REQUEST_H

#include "daemon/broker/session.h"

#define REQUEST_HANDLER(name)                                                             \
    int name(struct session *session, const proto_request *request, struct wire_fds *fds, \
             struct fault *fault)

REQUEST_HANDLER(request_hello);
REQUEST_HANDLER(request_allocate);
REQUEST_HANDLER(request_free);
REQUEST_HANDLER(request_lookup);
REQUEST_HANDLER(request_register);
REQUEST_HANDLER(request_list);
REQUEST_HANDLER(request_status);
REQUEST_HANDLER(request_share);
REQUEST_HANDLER(request_publish);
REQUEST_HANDLER(request_open);
REQUEST_HANDLER(request_names);
REQUEST_HANDLER(request_unpublish);
REQUEST_HANDLER(request_chunks);
REQUEST_HANDLER(request_pool);
REQUEST_HANDLER(request_pool_resize);
REQUEST_HANDLER(request_pool_map);

#endif
