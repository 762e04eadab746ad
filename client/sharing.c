/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sharing: descriptors for reading only, and names. Passing a descriptor on is the program's. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "client/buffer.h"
#include "client/call.h"
#include "client/last-error.h"

_Static_assert(DMABUFD_NAME_MAX == PROTO_NAME_MAX, "one name");

int dmabufd_share(const dmabufd_buffer *buffer, int *ret_fd)
{
    NO_CANCELLATION;
    Dmabufd__Proto__ShareRequest body = DMABUFD__PROTO__SHARE_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    CLEANUP_FD int fd = -1;
    struct reply reply;
    bool alone;
    int r;

    body.buffer = buffer->id;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_SHARE;
    request.share = &body;
    r = call_run(buffer->connection, &request, NULL, DMABUFD__PROTO__REPLY__BODY_SHARE, &reply,
                 fault);
    if (r < 0)
        return r;
    if (reply.fds.lost)
        return fault_set(fault, DMABUFD_CODE_OK, EMFILE,
                         "this process has no descriptor free: raise RLIMIT_NOFILE");
    alone = reply.fds.count == 1;
    fd = wire_fds_take(&reply.fds, 0);
    wire_fds_close(&reply.fds);
    if (!alone || (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDONLY)
        return call_violation(buffer->connection, "a share that is not one read-only descriptor",
                              fault);
    *ret_fd = TAKE_FD(fd);
    return 0;
}

/* Longer ones would not fit into a message; what else is wrong with a name, the daemon tells. */
static int check_length(const char *name, struct fault *fault)
{
    if (strlen(name) > DMABUFD_NAME_MAX)
        return fault_set(fault, DMABUFD_CODE_OK, EINVAL,
                         "the name has %zu bytes, at most %d are possible", strlen(name),
                         DMABUFD_NAME_MAX);
    return 0;
}

int dmabufd_publish(const dmabufd_buffer *buffer, const char *name, uint32_t mode, uint32_t group)
{
    NO_CANCELLATION;
    Dmabufd__Proto__PublishRequest body = DMABUFD__PROTO__PUBLISH_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct reply reply;
    int r = check_length(name, fault);

    if (r < 0)
        return r;
    body.buffer = buffer->id;
    body.name = (char *)name;
    body.mode = mode;
    body.group = group;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_PUBLISH;
    request.publish = &body;
    return call_run(buffer->connection, &request, NULL, DMABUFD__PROTO__REPLY__BODY_PUBLISH, &reply,
                    fault);
}

int dmabufd_open(dmabufd *d, const char *name, enum dmabufd_access access, uint32_t owner,
                 dmabufd_buffer **ret)
{
    NO_CANCELLATION;
    Dmabufd__Proto__OpenRequest body = DMABUFD__PROTO__OPEN_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct reply reply;
    int none = -1;
    int r = check_length(name, fault);

    if (r < 0)
        return r;
    body.name = (char *)name;
    body.access = (Dmabufd__Proto__Access)access;
    body.owner = owner;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_OPEN;
    request.open = &body;
    r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_BUFFER, &reply, fault);
    if (r < 0)
        return r;
    if (reply.buffer.access != access) {
        wire_fds_close(&reply.fds);
        return call_violation(d, "a buffer with another right than was asked for", fault);
    }
    return buffer_adopt(d, &reply, &none, NULL, false, ret, fault);
}

int dmabufd_unpublish(dmabufd *d, const char *name)
{
    NO_CANCELLATION;
    Dmabufd__Proto__UnpublishRequest body = DMABUFD__PROTO__UNPUBLISH_REQUEST__INIT;
    proto_request request = DMABUFD__PROTO__REQUEST__INIT;
    struct fault *fault = last_error();
    struct reply reply;
    int r = check_length(name, fault);

    if (r < 0)
        return r;
    body.name = (char *)name;
    request.body_case = DMABUFD__PROTO__REQUEST__BODY_UNPUBLISH;
    request.unpublish = &body;
    return call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_UNPUBLISH, &reply, fault);
}

static int append(struct dmabufd_name_info **list, size_t *count, const struct reply_names *page,
                  struct fault *fault)
{
    struct dmabufd_name_info *grown;

    if (page->count == 0)
        return 0;
    grown = reallocarray(*list, *count + page->count, sizeof(*grown));
    if (!grown)
        return fault_set(fault, DMABUFD_CODE_OK, ENOMEM, "no memory for a list of names");
    memcpy(grown + *count, page->entry, page->count * sizeof(*grown));
    *list = grown;
    *count += page->count;
    return 0;
}

/* Names come and go between two pages; each page must lead on nevertheless. */
static bool leads_on(const char *after, const struct reply_names *page)
{
    for (size_t i = 0; i < page->count; i++) {
        if (strcmp(page->entry[i].name, after) <= 0)
            return false;
        after = page->entry[i].name;
    }
    return true;
}

int dmabufd_names(dmabufd *d, struct dmabufd_name_info **ret_list, size_t *ret_count)
{
    NO_CANCELLATION;
    CLEANUP_FREE struct dmabufd_name_info *list = NULL;
    struct fault *fault = last_error();
    struct reply reply;
    size_t count = 0;
    int r;

    do {
        Dmabufd__Proto__NamesRequest body = DMABUFD__PROTO__NAMES_REQUEST__INIT;
        proto_request request = DMABUFD__PROTO__REQUEST__INIT;

        if (count > 0)
            body.after = list[count - 1].name;
        request.body_case = DMABUFD__PROTO__REQUEST__BODY_NAMES;
        request.names = &body;
        r = call_run(d, &request, NULL, DMABUFD__PROTO__REPLY__BODY_NAMES, &reply, fault);
        if (r < 0)
            return r;
        if (!leads_on(body.after, &reply.names))
            return call_violation(d, "a list of names that goes in circles", fault);
        r = append(&list, &count, &reply.names, fault);
        if (r < 0)
            return r;
        if (count > 2 * (size_t)PROTO_NAMES_MAX)
            return call_violation(d, "a list of more names than there can be", fault);
    } while (reply.names.more);
    *ret_list = TAKE_PTR(list);
    *ret_count = count;
    return 0;
}
