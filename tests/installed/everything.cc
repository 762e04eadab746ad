// SPDX-License-Identifier: LGPL-2.1-or-later
// Every type, constant, initialiser and function of <dmabufd.h>, used from C++ as a program would; built
// and run by scripts/check against the installed library, which also looks whether one is missing here.
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dmabufd.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/mman.h>
#include <unistd.h>

namespace
{

const uint64_t page = 4096;

void expect(bool condition, int line)
{
    if (condition)
        return;
    std::fprintf(stderr, "line %d: %s (code %d)\n", line, dmabufd_last_error(),
                 static_cast<int>(dmabufd_last_code()));
    std::exit(1);
}

#define EXPECT(condition) expect((condition), __LINE__)

// ---- words ----

void check_words()
{
    const enum dmabufd_code codes[] = {
        DMABUFD_CODE_OK,          DMABUFD_CODE_INVALID,       DMABUFD_CODE_TOO_LARGE,
        DMABUFD_CODE_NO_MEMORY,   DMABUFD_CODE_NO_HUGE_PAGES, DMABUFD_CODE_NOT_A_BUFFER,
        DMABUFD_CODE_NOT_HELD,    DMABUFD_CODE_LIMIT,         DMABUFD_CODE_BACKEND,
        DMABUFD_CODE_UNSUPPORTED, DMABUFD_CODE_SHUTTING_DOWN, DMABUFD_CODE_INTERNAL,
        DMABUFD_CODE_CONSTRAINTS, DMABUFD_CODE_NO_NAME,       DMABUFD_CODE_NAME_TAKEN,
        DMABUFD_CODE_DENIED,
    };

    for (size_t i = 1; i < sizeof(codes) / sizeof(codes[0]); i++)
        EXPECT(codes[i] > codes[i - 1]);
    EXPECT(!std::strcmp(dmabufd_mode_string(DMABUFD_MODE_PA), "pa"));
    EXPECT(!std::strcmp(dmabufd_mode_string(DMABUFD_MODE_IOVA), "iova"));
    EXPECT(!std::strcmp(dmabufd_mode_string(DMABUFD_MODE_FAKE), "fake"));
    EXPECT(!std::strcmp(dmabufd_access_string(DMABUFD_READ_ONLY), "read-only"));
    EXPECT(!std::strcmp(dmabufd_access_string(DMABUFD_READ_WRITE), "read-write"));
    EXPECT(!std::strcmp(dmabufd_pin_string(DMABUFD_PIN_NONE), "none"));
    EXPECT(!std::strcmp(dmabufd_pin_string(DMABUFD_PIN_REFERENCE), "reference"));
    EXPECT(!std::strcmp(dmabufd_pin_string(DMABUFD_PIN_LONGTERM), "longterm"));
}

// ---- buffers ----

dmabufd_buffer *allocate(dmabufd *d)
{
    struct dmabufd_constraints constraints = {};
    dmabufd_buffer *buffer = nullptr;

    constraints.flags = DMABUFD_CONTIGUOUS | DMABUFD_NODE_PREFERRED;
    EXPECT(dmabufd_alloc_constrained(d, 4 * page, page, &constraints, &buffer) == 0);
    constraints.flags |= DMABUFD_NODE_STRICT;
    EXPECT(dmabufd_alloc_constrained(d, page, page, &constraints, &buffer) == -EINVAL);
    return buffer;
}

void look_at(const dmabufd_buffer *buffer)
{
    size_t count = 0;
    const struct dmabufd_span *spans = dmabufd_buffer_spans(buffer, &count);

    EXPECT(count == 1 && spans[0].offset == 0 && spans[0].length == 4 * page);
    EXPECT(spans[0].dma_addr != DMABUFD_NO_ADDRESS);
    EXPECT(dmabufd_buffer_size(buffer) == 4 * page && dmabufd_buffer_page_size(buffer) == page);
    EXPECT(dmabufd_buffer_id(buffer) != 0 && dmabufd_buffer_fd(buffer) >= 0);
    EXPECT(dmabufd_buffer_mode(buffer) == DMABUFD_MODE_FAKE);
    EXPECT(dmabufd_buffer_pin(buffer) == DMABUFD_PIN_NONE);
    EXPECT(dmabufd_buffer_access(buffer) == DMABUFD_READ_WRITE);
    EXPECT(dmabufd_buffer_nodes(buffer) <= 1 && dmabufd_buffer_chunk_count(buffer) == 1);
}

void translate(const dmabufd *d, const dmabufd_buffer *buffer)
{
    char *data = static_cast<char *>(dmabufd_buffer_data(buffer));
    const void *pointers[2] = { data + 1, &data };
    struct iovec iovecs[1] = { { data, 5 } };
    struct dmabufd_translation answers[2];
    uint64_t address = 0, other = 0, length = 0;

    EXPECT(dmabufd_translate(d, data + 1, &address, &length) == 0 && length == 4 * page - 1);
    EXPECT(dmabufd_buffer_translate(buffer, 1, &other, &length) == 0 && other == address);
    EXPECT(dmabufd_translate_pointers(d, pointers, 2, answers) == 1);
    EXPECT(answers[0].dma_addr == address && answers[0].length == length);
    EXPECT(answers[1].dma_addr == DMABUFD_NO_ADDRESS);
    EXPECT(dmabufd_translate_iovecs(d, iovecs, 1, answers) == 1 && answers[0].length == 5);
}

void cut(const dmabufd_buffer *buffer)
{
    struct dmabufd_constraints constraints = {};
    struct dmabufd_segments segments;
    struct dmabufd_span segment;
    unsigned int count = 0;

    constraints.max_segment_size = page;
    EXPECT(dmabufd_segments_begin(&segments, buffer, 0, 4 * page, &constraints) == 0);
    while (dmabufd_segments_next(&segments, &segment))
        count += segment.length == page;
    EXPECT(count == 4);
}

void register_own(dmabufd *d)
{
    int fd = memfd_create("own", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    dmabufd_buffer *buffer = nullptr;
    char byte = 1;

    EXPECT(fd >= 0 && ftruncate(fd, static_cast<off_t>(page)) == 0);
    EXPECT(pwrite(fd, &byte, 1, 0) == 1 && fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK) == 0);
    EXPECT(dmabufd_register(d, fd, 0, page, nullptr, &buffer) == 0);
    EXPECT(dmabufd_free(buffer) == 0 && close(fd) == 0);
}

// ---- sharing ----

void share(dmabufd *d, const dmabufd_buffer *buffer)
{
    dmabufd_buffer *second = nullptr;
    int fd = -1;

    EXPECT(dmabufd_share(buffer, &fd) == 0);
    EXPECT(dmabufd_lookup(d, fd, &second) == 0);
    EXPECT(dmabufd_buffer_access(second) == DMABUFD_READ_ONLY);
    EXPECT(dmabufd_free(second) == 0 && close(fd) == 0);
}

void publish(dmabufd *d, const dmabufd_buffer *buffer)
{
    struct dmabufd_name_info *names = nullptr;
    char name[DMABUFD_NAME_MAX + 1] = "everything";
    dmabufd_buffer *second = nullptr;
    size_t count = 0;

    EXPECT(dmabufd_publish(buffer, name, 0600, DMABUFD_GROUP_OWN) == 0);
    EXPECT(dmabufd_names(d, &names, &count) == 0 && count == 1);
    EXPECT(!std::strcmp(names[0].name, name) && names[0].id == dmabufd_buffer_id(buffer));
    std::free(names);
    EXPECT(dmabufd_open(d, name, DMABUFD_READ_WRITE, DMABUFD_OWNER_ANY, &second) == 0);
    EXPECT(dmabufd_unpublish(d, name) == 0 && dmabufd_free(second) == 0);
}

// ---- the daemon ----

void ask(dmabufd *d)
{
    struct dmabufd_buffer_info *buffers = nullptr;
    const struct dmabufd_info *info = dmabufd_get_info(d);
    struct dmabufd_status status;
    size_t count = 0;

    EXPECT(info->mode == DMABUFD_MODE_FAKE && !std::strcmp(info->backend, "fake"));
    EXPECT(dmabufd_get_status(d, &status) == 0 && status.buffers == 1);
    EXPECT(dmabufd_list(d, &buffers, &count) == 0 && count == 1 && buffers[0].holds == 1);
    std::free(buffers);
}

void look_at_pool(dmabufd *d)
{
    struct dmabufd_pool_set *sets = nullptr, set;
    struct dmabufd_pool_map map;
    size_t count = 0;

    static_assert(sizeof(set.files) == DMABUFD_POOL_CLASSES * sizeof(uint32_t), "classes");
    static_assert(sizeof(set.runs) == DMABUFD_POOL_RUNS * sizeof(uint32_t), "runs");
    static_assert(sizeof(map.ready) == DMABUFD_POOL_CELLS, "cells");
    EXPECT(dmabufd_pool(d, &sets, &count) == 0);
    std::free(sets);
    EXPECT(dmabufd_pool_resize(d, 12345, 0, 0, &set) == -EOPNOTSUPP);
    EXPECT(dmabufd_pool_get_map(d, &map) == 0 && map.count <= DMABUFD_POOL_CELLS);
}

void hear(dmabufd *d)
{
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    struct pollfd wait = { dmabufd_event_fd(d), POLLIN, 0 };

    EXPECT(event.size == sizeof(event) && event.kind == DMABUFD_EVENT_NOTHING && !*event.reason);
    EXPECT(wait.fd >= 0 && poll(&wait, 1, 0) >= 0);
    while (dmabufd_dispatch(d, &event) > 0)
        EXPECT(event.kind != DMABUFD_EVENT_ENDING && event.kind != DMABUFD_EVENT_LOST &&
               event.kind != DMABUFD_EVENT_REVOKED);
}

// ---- the heap ----

void use_heap(dmabufd *d)
{
    struct dmabufd_heap_statistics statistics = DMABUFD_HEAP_STATISTICS_INIT;
    struct dmabufd_heap_options options = DMABUFD_HEAP_OPTIONS_INIT;
    dmabufd_heap *heap = nullptr;
    void *objects[3];

    options.flags = DMABUFD_HEAP_KEEP;
    EXPECT(dmabufd_heap_create(d, &options, &heap) == 0);
    objects[0] = dmabufd_heap_alloc(heap, 100, 0);
    objects[1] = dmabufd_heap_zalloc(heap, 100, 256);
    objects[2] = dmabufd_heap_alloc_with(heap, 100, 0,
                                         DMABUFD_HEAP_ALLOC_ZERO | DMABUFD_HEAP_ALLOC_SCATTERED |
                                             DMABUFD_HEAP_ALLOC_NO_GROW);
    for (void *object : objects)
        EXPECT(object && dmabufd_heap_usable_size(heap, object) >= 100);
    EXPECT(dmabufd_heap_get_statistics(heap, &statistics) == 0 && statistics.objects == 3);
    for (void *object : objects)
        EXPECT(dmabufd_heap_free(heap, object) == 0);
    EXPECT(dmabufd_heap_trim(heap) > 0);
    EXPECT(!dmabufd_heap_destroy(heap));
}

} // namespace

int main()
{
    dmabufd_buffer *buffer = nullptr;
    dmabufd *d = nullptr;

    check_words();
    EXPECT(dmabufd_connect(&d, nullptr) == 0);
    EXPECT(dmabufd_alloc(d, 0, 0, &buffer) == -EINVAL &&
           dmabufd_last_code() == DMABUFD_CODE_INVALID);
    buffer = allocate(d);
    look_at(buffer);
    translate(d, buffer);
    cut(buffer);
    register_own(d);
    share(d, buffer);
    publish(d, buffer);
    ask(d);
    look_at_pool(d);
    hear(d);
    use_heap(d);
    EXPECT(dmabufd_free(buffer) == 0 && !dmabufd_disconnect(d));
    std::puts("everything");
    return 0;
}
