/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Any messages of a broker to the keeper's service (daemon/keeper/service.h). However they went, in
 * the end everything can be released: no client, buffer, job or charge is left.
 *
 * An input is a sequence of records: a byte of control, then a struct link_request.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/rig.h"

#define CLIENTS     4
#define BUFFERS     4
#define RECORDS_MAX 64
#define RECORD      (1 + sizeof(struct link_request))

/* Bits of the control byte. */
#define FDS     0x03U /* how many descriptors come with it */
#define FOREIGN 0x04U /* they are none of ours */
#define SHORT   0x08U /* a byte is missing */
#define PUMP    0x10U /* the workers get their turn afterwards */
#define EXACT   0x20U /* the message as it is, else its numbers are brought near to what exists */
/* The last two choose a buffer. */
#define READONLY 0x40U /* its read-only file, if it has one */

const unsigned int fuzz_runs = 8000;

static struct rig rig;

static void need(bool ok)
{
    if (!ok)
        abort();
}

static uint64_t some_buffer(uint64_t number)
{
    uint32_t cursor = (uint32_t)(number % (CLIENTS * BUFFERS));
    const struct buffer *buffer = slots_next(&rig.service.store.buffers, &cursor);

    return buffer ? buffer->id : number;
}

/* One of few; some have no end. */
static void name_near(struct link_name *name)
{
    name->text[0] = (char)('a' + (unsigned char)name->text[0] % 3);
    if (name->text[1] != 'x')
        name->text[1] = '\0';
}

static void bring_near(struct link_request *request)
{
    request->op %= LINK_OP_END + 1;
    request->client = 1 + request->client % (CLIENTS + 1);
    switch (request->op) {
    case LINK_ALLOC:
        request->u.alloc.size %= 16 * PAGE_4K;
        request->u.alloc.page_size = request->u.alloc.page_size % 4 ? 0 : PAGE_4K;
        break;
    case LINK_REGISTER:
        request->u.registration.offset %= 3 * PAGE_4K;
        request->u.registration.size %= 3 * PAGE_4K;
        if (request->u.registration.size % 4) {
            request->u.registration.offset &= ~(PAGE_4K - 1);
            request->u.registration.size &= ~(PAGE_4K - 1);
        }
        break;
    case LINK_PUBLISH:
        request->u.publication.buffer = some_buffer(request->u.publication.buffer);
        request->u.publication.mode &= 0777;
        name_near(&request->u.publication.name);
        break;
    case LINK_OPEN:
        request->u.opening.access %= 4;
        name_near(&request->u.opening.name);
        break;
    case LINK_NAMES:
    case LINK_UNPUBLISH:
        name_near(&request->u.name);
        break;
    case LINK_GROUPS:
        request->u.groups.count %= LINK_GROUPS_CHUNK + 2;
        break;
    case LINK_FREE:
    case LINK_LIST:
    case LINK_SHARE:
        request->u.buffer = some_buffer(request->u.buffer);
        break;
    default:
        break;
    }
}

static int some_descriptor(uint32_t op, unsigned int control)
{
    uint32_t cursor = control >> 6;
    const struct buffer *buffer = slots_next(&rig.service.store.buffers, &cursor);

    if (op == LINK_REGISTER && !(control & FOREIGN))
        return rig_memory(2 * PAGE_4K);
    if (buffer && buffer->readonly_fd >= 0 && (control & READONLY))
        return fcntl(buffer->readonly_fd, F_DUPFD_CLOEXEC, 0);
    return buffer && !(control & FOREIGN) ? fcntl(buffer->fd, F_DUPFD_CLOEXEC, 0)
                                          : open("/dev/null", O_RDWR | O_CLOEXEC);
}

static void deliver(const uint8_t *record)
{
    CLEANUP_FDS struct wire_fds fds = WIRE_FDS_NONE;
    struct link_request request;
    unsigned int control = record[0];
    int r;

    memcpy(&request, record + 1, sizeof(request));
    if (!(control & EXACT))
        bring_near(&request);
    for (unsigned int i = 0; i < (control & FDS); i++)
        need(wire_fds_put(&fds, some_descriptor(request.op, control)) == 0);
    r = service_request(&rig.service, &request, sizeof(request) - !!(control & SHORT), &fds);
    need(r == 0 || r == -EBADMSG);
    if (control & PUMP)
        rig_drain(&rig);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (!rig.base)
        rig_open(&rig, rig_fake("layout=run:4K"), CLIENTS, BUFFERS);
    for (size_t i = 0; i < RECORDS_MAX && size >= RECORD; i++) {
        deliver(data);
        data += RECORD;
        size -= RECORD;
    }
    rig_end_broker(&rig);
    need(rig_settle(&rig));
    need(rig_empty(&rig));
    rig_start_broker(&rig);
    return 0;
}

/* Two clients; one allocates, the other looks it up; both free; and what goes wrong in between. */
size_t fuzz_seed(size_t index, uint8_t *bytes)
{
    static const struct {
        uint8_t control;
        struct link_request request;
    } records[] = {
        { 0, { .op = LINK_CLIENT_NEW, .client = 0 } },
        { 0, { .op = LINK_CLIENT_NEW, .client = 1 } },
        { PUMP, { .op = LINK_ALLOC, .client = 0, .u.alloc = { .size = 3 * PAGE_4K } } },
        { 0, { .op = LINK_ALLOC, .client = 1, .u.alloc = { .size = 1, .page_size = PAGE_4K } } },
        { PUMP | 1, { .op = LINK_LOOKUP, .client = 1 } },
        { PUMP, { .op = LINK_LIST, .client = 1 } },
        { PUMP, { .op = LINK_STATUS, .client = 0 } },
        { 0, { .op = LINK_GROUPS, .client = 1, .u.groups = { .count = 2, .gid = { 0, 5 } } } },
        { PUMP, { .op = LINK_SHARE, .client = 0, .u.buffer = 0 } },
        { PUMP | READONLY | 1, { .op = LINK_LOOKUP, .client = 1 } },
        { PUMP, { .op = LINK_PUBLISH, .client = 0, .u.publication = { 0, 0, 0666, { "a" } } } },
        { PUMP, { .op = LINK_NAMES, .client = 1, .u.name = { "" } } },
        { PUMP, { .op = LINK_OPEN, .client = 1, .u.opening = { 1, UINT32_MAX, { "a" } } } },
        { PUMP, { .op = LINK_UNPUBLISH, .client = 1, .u.name = { "a" } } },
        { PUMP, { .op = LINK_FREE, .client = 0, .u.buffer = 0 } },
        { PUMP | FOREIGN | 1, { .op = LINK_LOOKUP, .client = 1 } },
        { 0, { .op = LINK_FREE, .client = 1, .u.buffer = 0 } },
        { PUMP | 1,
          { .op = LINK_REGISTER, .client = 1, .u.registration = { .size = 2 * PAGE_4K } } },
        { 0, { .op = LINK_CLIENT_GONE, .client = 1 } },
    };
    size_t count = index == 0 ? ARRAY_LEN(records) : index == 1 ? 6 : index == 2 ? 4 : 0;

    for (size_t i = 0; i < count; i++) {
        bytes[i * RECORD] = records[i].control;
        memcpy(bytes + i * RECORD + 1, &records[i].request, sizeof(struct link_request));
    }
    return count * RECORD;
}
