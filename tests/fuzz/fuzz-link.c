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
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/rig.h"

#define CLIENTS     4
#define BUFFERS     8
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

/* A file of the pool, of huge pages that nobody has touched yet. */
static void make_ready(struct pool_set *set, uint64_t page, uint64_t pages)
{
    struct buffer *buffer = buffer_new();
    struct stat st;

    need(buffer && memfd_open("ready", 0, &buffer->fd) == 0 &&
         ftruncate(buffer->fd, (off_t)(pages * PAGE_2M)) == 0 && fstat(buffer->fd, &st) == 0);
    buffer->size = buffer->charged = pages * PAGE_2M;
    buffer->page_size = PAGE_2M;
    buffer->dev = st.st_dev;
    buffer->ino = st.st_ino;
    need(spans_append(&buffer->spans, page * PAGE_2M, buffer->size) == 0);
    need(buffer_seal_list(buffer, NULL) == 0 && pool_add(&rig.service.pool, set, buffer) == 0);
}

/* Two runs, and no more are made: that would be the host's memory. */
static void stock_the_pool(void)
{
    static const struct {
        uint64_t page, pages;
    } files[] = { { 1000, 1 }, { 1001, 2 }, { 1003, 1 }, { 1004, 1 }, { 5000, 1 }, { 5001, 4 } };
    struct pool *pool = &rig.service.pool;
    struct pool_set *set = pool_find(pool, PAGE_2M, 0);

    if (!set)
        return;
    pool->files_max = 0;
    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        make_ready(set, files[i].page, files[i].pages);
    set->target = set->ready;
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

static void alloc_near(struct link_alloc *alloc)
{
    bool huge = alloc->page_size % 3 == 2;

    alloc->page_size = alloc->page_size % 4 ? 0 : PAGE_4K;
    alloc->size %= 16 * PAGE_4K;
    if (!huge)
        return;
    alloc->page_size = PAGE_2M;
    alloc->size = alloc->size % 7 * PAGE_2M;
    alloc->constraints = (struct dmabufd_constraints){
        .flags = alloc->constraints.flags & DMABUFD_CONTIGUOUS,
        .alignment = alloc->constraints.alignment % 2 * 2 * PAGE_2M,
        .max_segments = alloc->constraints.max_segments % 3,
    };
}

static void size_near(struct link_pool_size *size)
{
    size->page_size = size->page_size % 4 ? PAGE_2M : size->page_size % 8 ? PAGE_1G : PAGE_4K;
    size->pages %= 4;
    size->node %= 2;
}

static void bring_near(struct link_request *request)
{
    request->op %= LINK_OP_END + 1;
    request->client = 1 + request->client % (CLIENTS + 1);
    switch (request->op) {
    case LINK_ALLOC:
        alloc_near(&request->u.alloc);
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
    case LINK_CHUNKS:
        request->u.chunks.buffer = some_buffer(request->u.chunks.buffer);
        request->u.chunks.first %= 6;
        break;
    case LINK_POOL:
        request->u.pool_set %= 4;
        break;
    case LINK_POOL_RESIZE:
        size_near(&request->u.pool_size);
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
    stock_the_pool();
    for (size_t i = 0; i < RECORDS_MAX && size >= RECORD; i++) {
        deliver(data);
        data += RECORD;
        size -= RECORD;
    }
    rig_end_broker(&rig);
    refill_stop(&rig.service);
    need(rig_settle(&rig));
    need(rig_empty(&rig));
    rig_start_broker(&rig);
    return 0;
}

struct record {
    uint8_t control;
    struct link_request request;
};

static size_t put_records(const struct record *records, size_t count, uint8_t *bytes)
{
    for (size_t i = 0; i < count; i++) {
        bytes[i * RECORD] = records[i].control;
        memcpy(bytes + i * RECORD + 1, &records[i].request, sizeof(struct link_request));
    }
    return count * RECORD;
}

/* One out of the pool, one out of several, one for which it gives up what it has; and root. */
static size_t pool_seed(uint8_t *bytes)
{
    static const struct dmabufd_constraints one_span = { .flags = DMABUFD_CONTIGUOUS };
    const struct record records[] = {
        { 0, { .op = LINK_CLIENT_NEW, .client = 0, .u.peer = { 1, 0, 0, 0 } } },
        { 0, { .op = LINK_CLIENT_NEW, .client = 1, .u.peer = { 1, 9, 9, 0 } } },
        { PUMP, { .op = LINK_ALLOC, .client = 1, .u.alloc = { .size = 1, .page_size = 2 } } },
        { PUMP, { .op = LINK_ALLOC, .client = 1, .u.alloc = { 3, 2, one_span } } },
        { PUMP, { .op = LINK_CHUNKS, .client = 1, .u.chunks = { .buffer = 1 } } },
        { PUMP, { .op = LINK_SHARE, .client = 1, .u.buffer = 1 } },
        { PUMP | READONLY | 1, { .op = LINK_LOOKUP, .client = 0 } },
        { PUMP, { .op = LINK_CHUNKS, .client = 0, .u.chunks = { .buffer = 1, .first = 1 } } },
        { PUMP, { .op = LINK_POOL, .client = 1 } },
        { PUMP, { .op = LINK_POOL_MAP, .client = 0 } },
        { 0, { .op = LINK_ALLOC, .client = 1, .u.alloc = { 3, 2, one_span } } },
        { PUMP, { .op = LINK_POOL_RESIZE, .client = 1, .u.pool_size = { .page_size = 1 } } },
        { 0, { .op = LINK_CLIENT_GONE, .client = 1 } },
        { PUMP, { .op = LINK_POOL_RESIZE, .client = 0, .u.pool_size = { .page_size = 1 } } },
    };

    return put_records(records, ARRAY_LEN(records), bytes);
}

/* Two clients; one allocates, the other looks it up; both free; and what goes wrong in between. */
size_t fuzz_seed(size_t index, uint8_t *bytes)
{
    static const struct record records[] = {
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

    return index == 3 ? pool_seed(bytes) : put_records(records, count, bytes);
}
