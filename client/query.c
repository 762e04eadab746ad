/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Asking the daemon without changing anything: the list of buffers, and how it is. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "client/call.h"
#include "client/last-error.h"

static int append(struct dmabufd_buffer_info **list, size_t *count, const struct reply_list *page,
                  struct fault *fault)
{
    struct dmabufd_buffer_info *grown;

    if (page->count == 0)
        return 0;
    grown = reallocarray(*list, *count + page->count, sizeof(*grown));
    if (!grown)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a list of buffers");
    memcpy(grown + *count, page->entry, page->count * sizeof(*grown));
    *list = grown;
    *count += page->count;
    return 0;
}

int dmabufd_list(dmabufd *d, struct dmabufd_buffer_info **ret_list, size_t *ret_count)
{
    NO_CANCELLATION;
    CLEANUP_FREE struct dmabufd_buffer_info *list = NULL;
    /* Buffers come and go between two pages; a list that never ends is another thing. */
    size_t most = 2 * (size_t)d->hello.info.max_buffers + PROTO_LIST_PAGE;
    struct fault *fault = last_error();
    struct reply reply;
    size_t count = 0;
    int r;

    reply.list.next = 0;
    do {
        Dmabufd__Proto__ListRequest body = DMABUFD__PROTO__LIST_REQUEST__INIT;
        proto_request request = DMABUFD__PROTO__REQUEST__INIT;

        body.after = reply.list.next;
        request.body_case = DMABUFD__PROTO__REQUEST__BODY_LIST;
        request.list = &body;
        r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_LIST, &reply, fault);
        if (r == 0)
            r = append(&list, &count, &reply.list, fault);
        if (r < 0)
            return r;
        if (count > most)
            return call_violation(d, "a list of more buffers than there can be", fault);
    } while (reply.list.next != 0);
    *ret_list = TAKE_PTR(list);
    *ret_count = count;
    return 0;
}

int dmabufd_get_status(dmabufd *d, struct dmabufd_status *ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__StatusRequest body = DMABUFD__PROTO__STATUS_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct reply reply;
    int r;

    request.body_case = DMABUFD__PROTO__REQUEST__BODY_STATUS;
    request.status = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_STATUS, &reply, last_error());
    if (r == 0)
        *ret = reply.status;
    return r;
}
