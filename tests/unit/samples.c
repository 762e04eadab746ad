/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One message of each kind; see samples.h. */
#include "tests/unit/samples.h"

#include <errno.h>
#include <string.h>

static char *long_name(void)
{
    static char text[PROTO_NAME_MAX + 1];

    memset(text, 'n', sizeof(text) - 1);
    return text;
}

static void put_sharing_request(size_t which, proto_request *request)
{
    static Dmabufd__Proto__ShareRequest share = DMABUFD__PROTO__SHARE_REQUEST__INIT;
    static Dmabufd__Proto__PublishRequest publish = DMABUFD__PROTO__PUBLISH_REQUEST__INIT;
    static Dmabufd__Proto__OpenRequest open_one = DMABUFD__PROTO__OPEN_REQUEST__INIT;
    static Dmabufd__Proto__NamesRequest names = DMABUFD__PROTO__NAMES_REQUEST__INIT;
    static Dmabufd__Proto__UnpublishRequest unpublish = DMABUFD__PROTO__UNPUBLISH_REQUEST__INIT;

    share.buffer = publish.buffer = UINT64_MAX;
    publish.name = open_one.name = names.after = unpublish.name = long_name();
    publish.group = open_one.owner = UINT32_MAX;
    publish.mode = 0666;
    open_one.access = DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE;
    /* The bodies are numbered from 20 in this order. */
    request->body_case = (Dmabufd__Proto__Request__BodyCase)(which - SAMPLE_SHARE_REQUEST +
                                                             DMABUFD__PROTO__REQUEST__BODY_SHARE);
    switch (which) {
    case SAMPLE_SHARE_REQUEST:
        request->share = &share;
        break;
    case SAMPLE_PUBLISH_REQUEST:
        request->publish = &publish;
        break;
    case SAMPLE_OPEN_REQUEST:
        request->open = &open_one;
        break;
    case SAMPLE_NAMES_REQUEST:
        request->names = &names;
        break;
    default:
        request->unpublish = &unpublish;
        break;
    }
}

static void put_pool_request(size_t which, proto_request *request)
{
    static Dmabufd__Proto__ChunksRequest chunks = DMABUFD__PROTO__CHUNKS_REQUEST__INIT;
    static Dmabufd__Proto__PoolRequest pool = DMABUFD__PROTO__POOL_REQUEST__INIT;
    static Dmabufd__Proto__PoolResizeRequest resize = DMABUFD__PROTO__POOL_RESIZE_REQUEST__INIT;
    static Dmabufd__Proto__PoolMapRequest map = DMABUFD__PROTO__POOL_MAP_REQUEST__INIT;

    chunks.buffer = resize.page_size = resize.pages = UINT64_MAX;
    chunks.first = pool.set = resize.node = UINT32_MAX;
    /* The bodies are numbered from 40 in this order. */
    request->body_case = (Dmabufd__Proto__Request__BodyCase)(which - SAMPLE_CHUNKS_REQUEST +
                                                             DMABUFD__PROTO__REQUEST__BODY_CHUNKS);
    switch (which) {
    case SAMPLE_CHUNKS_REQUEST:
        request->chunks = &chunks;
        break;
    case SAMPLE_POOL_REQUEST:
        request->pool = &pool;
        break;
    case SAMPLE_POOL_RESIZE_REQUEST:
        request->pool_resize = &resize;
        break;
    default:
        request->pool_map = &map;
        break;
    }
}

const proto_request *sample_request(size_t which)
{
    static Dmabufd__Proto__HelloRequest hello = DMABUFD__PROTO__HELLO_REQUEST__INIT;
    static Dmabufd__Proto__AllocateRequest allocate = DMABUFD__PROTO__ALLOCATE_REQUEST__INIT;
    static Dmabufd__Proto__FreeRequest free_one = DMABUFD__PROTO__FREE_REQUEST__INIT;
    static Dmabufd__Proto__LookupRequest lookup = DMABUFD__PROTO__LOOKUP_REQUEST__INIT;
    static Dmabufd__Proto__ListRequest list = DMABUFD__PROTO__LIST_REQUEST__INIT;
    static Dmabufd__Proto__StatusRequest status = DMABUFD__PROTO__STATUS_REQUEST__INIT;
    static char program[] = "unit test";
    static proto_request request;

    hello.version_min = 1;
    hello.version_max = 3;
    hello.program = program;
    allocate.size = UINT64_MAX - 1;
    allocate.page_size = 4096;
    free_one.buffer = UINT64_C(0x100000001);
    list.after = UINT64_C(0x500000007);
    dmabufd__proto__request__init(&request);
    request.id = which == SAMPLE_ALLOCATE ? UINT64_MAX : which + 1;
    /* The bodies of a request are numbered from 2 in this order. */
    request.body_case = (Dmabufd__Proto__Request__BodyCase)(which + 2);
    switch (which) {
    case SAMPLE_HELLO:
        request.hello = &hello;
        break;
    case SAMPLE_ALLOCATE:
        request.allocate = &allocate;
        break;
    case SAMPLE_FREE:
        request.free = &free_one;
        break;
    case SAMPLE_LOOKUP:
        request.lookup = &lookup;
        break;
    case SAMPLE_LIST_REQUEST:
        request.list = &list;
        break;
    case SAMPLE_STATUS_REQUEST:
        request.status = &status;
        break;
    default:
        if (which < SAMPLE_CHUNKS_REQUEST)
            put_sharing_request(which, &request);
        else
            put_pool_request(which, &request);
        break;
    }
    return &request;
}

/* As long as a sentence can be. */
static char *long_text(void)
{
    static char text[FAULT_TEXT_MAX];

    memset(text, 'x', sizeof(text) - 1);
    return text;
}

static Dmabufd__Proto__HelloReply *hello_reply(void)
{
    static Dmabufd__Proto__HelloReply hello = DMABUFD__PROTO__HELLO_REPLY__INIT;
    static uint64_t page_sizes[4] = { 4096, 1 << 21, 1 << 30, 7 };
    static char backend[] = "iommufd";

    hello.version = 1;
    hello.features = UINT64_MAX;
    hello.mode = DMABUFD__PROTO__ADDRESS_MODE__MODE_IOVA;
    hello.pin = DMABUFD__PROTO__PIN_STRENGTH__PIN_LONGTERM;
    hello.backend = backend;
    hello.backend_reason = long_text();
    hello.page_sizes = page_sizes;
    hello.n_page_sizes = 4;
    hello.max_in_flight = 64;
    hello.max_buffers = UINT32_MAX;
    hello.max_size = UINT64_MAX;
    hello.client = UINT64_MAX;
    return &hello;
}

static Dmabufd__Proto__BufferReply *buffer_reply(void)
{
    static Dmabufd__Proto__BufferReply buffer = DMABUFD__PROTO__BUFFER_REPLY__INIT;
    static struct dmabufd_span spans[PROTO_SPANS_INLINE_MAX];

    for (size_t i = 0; i < PROTO_SPANS_INLINE_MAX; i++)
        spans[i] = (struct dmabufd_span){ i * 4096, UINT64_MAX - i * 8192, 4096 };
    buffer.buffer = UINT64_MAX;
    buffer.size = 4096 * PROTO_SPANS_INLINE_MAX;
    buffer.page_size = 4096;
    buffer.mode = DMABUFD__PROTO__ADDRESS_MODE__MODE_PA;
    buffer.pin = DMABUFD__PROTO__PIN_STRENGTH__PIN_LONGTERM;
    buffer.span_count = PROTO_SPANS_INLINE_MAX;
    buffer.access = DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE;
    buffer.spans.data = (uint8_t *)spans;
    buffer.spans.len = sizeof(spans);
    buffer.chunk_count = PROTO_CHUNKS_MAX;
    return &buffer;
}

static Dmabufd__Proto__ListReply *list_reply(void)
{
    static Dmabufd__Proto__ListReply list = DMABUFD__PROTO__LIST_REPLY__INIT;
    static Dmabufd__Proto__BufferInfo infos[PROTO_LIST_PAGE], *pointers[PROTO_LIST_PAGE];

    for (uint32_t i = 0; i < PROTO_LIST_PAGE; i++) {
        dmabufd__proto__buffer_info__init(&infos[i]);
        infos[i].buffer = UINT64_MAX - i;
        infos[i].size = UINT64_MAX - i;
        infos[i].page_size = 4096;
        infos[i].span_count = UINT32_MAX - i;
        infos[i].holds = UINT32_MAX - i;
        infos[i].holders = UINT32_MAX - i;
        infos[i].access = DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE;
        pointers[i] = &infos[i];
    }
    list.buffers = pointers;
    list.n_buffers = PROTO_LIST_PAGE;
    list.next = UINT64_MAX;
    return &list;
}

static Dmabufd__Proto__StatusReply *status_reply(void)
{
    static Dmabufd__Proto__StatusReply status = DMABUFD__PROTO__STATUS_REPLY__INIT;
    static char version[] = "0.1.0";

    status.daemon_version = version;
    status.clients = status.buffers = status.pinned = UINT32_MAX;
    status.jobs = status.broker_starts = UINT32_MAX;
    status.bytes = status.huge_bytes = UINT64_MAX;
    status.uptime_ns = status.unreleasable_bytes = UINT64_MAX;
    return &status;
}

static Dmabufd__Proto__NamesReply *names_reply(void)
{
    static Dmabufd__Proto__NamesReply names = DMABUFD__PROTO__NAMES_REPLY__INIT;
    static Dmabufd__Proto__NameInfo infos[PROTO_NAMES_PAGE], *pointers[PROTO_NAMES_PAGE];

    for (uint32_t i = 0; i < PROTO_NAMES_PAGE; i++) {
        dmabufd__proto__name_info__init(&infos[i]);
        infos[i].name = long_name();
        infos[i].buffer = infos[i].size = UINT64_MAX - i;
        infos[i].owner = infos[i].group = infos[i].mode = infos[i].holders = UINT32_MAX - i;
        pointers[i] = &infos[i];
    }
    names.names = pointers;
    names.n_names = PROTO_NAMES_PAGE;
    names.more = true;
    return &names;
}

static void put_sharing_reply(size_t which, proto_reply *reply)
{
    static Dmabufd__Proto__ShareReply share = DMABUFD__PROTO__SHARE_REPLY__INIT;
    static Dmabufd__Proto__PublishReply publish = DMABUFD__PROTO__PUBLISH_REPLY__INIT;
    static Dmabufd__Proto__UnpublishReply unpublish = DMABUFD__PROTO__UNPUBLISH_REPLY__INIT;

    /* The bodies are numbered from 20 in this order. */
    reply->body_case =
        (Dmabufd__Proto__Reply__BodyCase)(which - SAMPLE_SHARE + DMABUFD__PROTO__REPLY__BODY_SHARE);
    switch (which) {
    case SAMPLE_SHARE:
        reply->share = &share;
        break;
    case SAMPLE_PUBLISH:
        reply->publish = &publish;
        break;
    case SAMPLE_NAMES:
        reply->names = names_reply();
        break;
    default:
        reply->unpublish = &unpublish;
        break;
    }
}

static Dmabufd__Proto__PoolReply *pool_reply(void)
{
    static Dmabufd__Proto__PoolReply pool = DMABUFD__PROTO__POOL_REPLY__INIT;
    static uint32_t runs[PROTO_POOL_RUNS], files[PROTO_POOL_CLASSES];

    memset(runs, 0xff, sizeof(runs));
    memset(files, 0xff, sizeof(files));
    pool.set_count = pool.set = pool.node = UINT32_MAX;
    pool.page_size = pool.target = pool.ready = pool.largest_run = UINT64_MAX;
    pool.grants = pool.misses = pool.refilled = UINT64_MAX;
    pool.refilling = true;
    pool.runs = runs;
    pool.n_runs = PROTO_POOL_RUNS;
    pool.files = files;
    pool.n_files = PROTO_POOL_CLASSES;
    return &pool;
}

static Dmabufd__Proto__PoolMapReply *pool_map_reply(void)
{
    static Dmabufd__Proto__PoolMapReply map = DMABUFD__PROTO__POOL_MAP_REPLY__INIT;
    static uint8_t ready[PROTO_POOL_CELLS], held[PROTO_POOL_CELLS];

    memset(ready, 0xff, sizeof(ready));
    memset(held, 0x55, sizeof(held));
    map.cell = UINT64_C(1) << 55;
    map.ready.data = ready;
    map.ready.len = sizeof(ready);
    map.held.data = held;
    map.held.len = sizeof(held);
    return &map;
}

static void put_pool_reply(size_t which, proto_reply *reply)
{
    static Dmabufd__Proto__ChunksReply chunks = DMABUFD__PROTO__CHUNKS_REPLY__INIT;

    /* The bodies are numbered from 50 in this order. */
    reply->body_case = (Dmabufd__Proto__Reply__BodyCase)(which - SAMPLE_CHUNKS +
                                                         DMABUFD__PROTO__REPLY__BODY_CHUNKS);
    switch (which) {
    case SAMPLE_CHUNKS:
        reply->chunks = &chunks;
        break;
    case SAMPLE_POOL:
        reply->pool = pool_reply();
        break;
    default:
        reply->pool_map = pool_map_reply();
        break;
    }
}

const proto_reply *sample_reply(size_t which)
{
    static Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    static Dmabufd__Proto__FreeReply free_one = DMABUFD__PROTO__FREE_REPLY__INIT;
    static Dmabufd__Proto__Event event = DMABUFD__PROTO__EVENT__INIT;
    static proto_reply reply;

    dmabufd__proto__reply__init(&reply);
    reply.id = which + 1;
    /* The bodies of a reply are numbered from 2 in this order. */
    reply.body_case = (Dmabufd__Proto__Reply__BodyCase)(which + 2);
    switch (which) {
    case SAMPLE_ERROR:
        error.code = DMABUFD__PROTO__ERROR_CODE__ERROR_NO_HUGE_PAGES;
        error.errno_value = ENOMEM;
        error.text = long_text();
        reply.error = &error;
        break;
    case SAMPLE_HELLO_REPLY:
        reply.hello = hello_reply();
        break;
    case SAMPLE_BUFFER:
        reply.buffer = buffer_reply();
        break;
    case SAMPLE_FREE_REPLY:
        reply.free = &free_one;
        break;
    case SAMPLE_LIST:
        reply.list = list_reply();
        break;
    case SAMPLE_STATUS:
        reply.status = status_reply();
        break;
    case SAMPLE_EVENT:
        event.kind = DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING;
        reply.id = 0;
        reply.body_case = DMABUFD__PROTO__REPLY__BODY_EVENT;
        reply.event = &event;
        break;
    default:
        if (which < SAMPLE_CHUNKS)
            put_sharing_reply(which, &reply);
        else
            put_pool_reply(which, &reply);
        break;
    }
    return &reply;
}
