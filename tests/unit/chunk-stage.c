/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The daemon's part; see chunk-stage.h. What it sends is made before, so that it needs no descriptor
 * while it plays. */
#include "tests/unit/chunk-stage.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/memfd.h"
#include "tests/unit/support.h"

/* In the names of mappings, by which they are found. */
#define NAME "unit-chunk"

struct stage stage;
dmabufd *client;

static size_t fds_before;

/* ---- the kernel ---- */

static int fail_mapping;
static void *foreign;

void stage_fail_mapping(int number)
{
    fail_mapping = number;
}

void *stage_foreign(void)
{
    return foreign;
}

void *__real_mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset);
void *__wrap_mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset);

/* As kernels before 6.13 do it: what was there is gone when it fails. */
void *__wrap_mmap64(void *address, size_t size, int prot, int flags, int fd, off_t offset)
{
    if (fd < 0 || !(flags & MAP_FIXED) || fail_mapping == 0 || --fail_mapping > 0)
        return __real_mmap64(address, size, prot, flags, fd, offset);
    munmap(address, size);
    foreign = __real_mmap64(address, PAGE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0);
    errno = ENOMEM;
    return MAP_FAILED;
}

unsigned int stage_mappings(void)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned int count = 0;
    char line[512];

    assert_non_null(maps);
    while (fgets(line, sizeof(line), maps))
        count += strstr(line, NAME) != NULL;
    fclose(maps);
    return count;
}

/* ---- the daemon ---- */

uint64_t stage_total(const struct play *play)
{
    uint64_t pages = play->missing_pages;

    for (uint32_t i = 0; i < play->count; i++)
        pages += play->pages[i];
    return pages * PAGE;
}

/* Another descriptor of the file, as the client is to have it. */
static int for_client(int fd, bool read_only)
{
    int copy = -1;

    if (read_only)
        assert_int_equal(memfd_reopen_readonly(fd, &copy), 0);
    else
        copy = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    return copy;
}

static void make_chunk(uint32_t i)
{
    enum defect defect = i == stage.play.bad ? stage.play.chunk : GOOD;
    uint64_t size = stage.play.pages[i] * PAGE + (defect == ODD_SIZE ? 512 : 0);
    int fd;

    if (defect == EMPTY)
        size = 0;
    if (defect == TOO_LARGE)
        size = stage_total(&stage.play) + PAGE;
    assert_int_equal(memfd_open(NAME, 0, &fd), 0);
    assert_int_equal(ftruncate(fd, (off_t)size), 0);
    if (size > 0)
        assert_int_equal(fallocate(fd, 0, 0, (off_t)size), 0);
    assert_int_equal(pwrite(fd, &i, size > 0 ? sizeof(i) : 0, 0), size > 0 ? sizeof(i) : 0);
    if (defect == HOLE)
        assert_int_equal(fallocate(fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, PAGE), 0);
    if (defect != UNSEALED)
        assert_int_equal(fcntl(fd, F_ADD_SEALS,
                               F_SEAL_GROW | F_SEAL_SHRINK |
                                   (defect == WRITE_SEALED ? F_SEAL_WRITE : 0)),
                         0);
    stage.chunks[i] = fd;
    stage.given[i] = for_client(fd, stage.play.read_only != (defect == OTHER_RIGHT));
}

static void make_token(void)
{
    enum defect defect = stage.play.token;
    CLEANUP_FD int fd = -1;

    if (defect == NO_FILE) {
        stage.token = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        return;
    }
    assert_int_equal(memfd_open("unit-token", 0, &fd), 0);
    assert_int_equal(ftruncate(fd, (off_t)PAGE), 0);
    stage.token = for_client(fd, stage.play.read_only != (defect == OTHER_RIGHT));
    assert_int_equal(fcntl(fd, F_ADD_SEALS,
                           F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL |
                               (defect == UNSEALED ? 0 : F_SEAL_WRITE)),
                     0);
}

static void say_grant(uint64_t id, bool with_token)
{
    Dmabufd__Proto__BufferReply buffer = DMABUFD__PROTO__BUFFER_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    struct wire_fds fds = { .fd = { stage.token }, .count = with_token };
    const struct play *play = &stage.play;
    struct dmabufd_span span = { 0, ADDRESS, stage_total(play) };

    buffer.buffer = BUFFER_ID;
    buffer.size = stage_total(play);
    buffer.page_size = PAGE;
    buffer.mode = DMABUFD__PROTO__ADDRESS_MODE__MODE_FAKE;
    buffer.pin = DMABUFD__PROTO__PIN_STRENGTH__PIN_NONE;
    buffer.span_count = 1;
    buffer.spans.data = (uint8_t *)&span;
    buffer.spans.len = sizeof(span);
    buffer.access = play->read_only ? DMABUFD__PROTO__ACCESS__ACCESS_READ_ONLY
                                    : DMABUFD__PROTO__ACCESS__ACCESS_READ_WRITE;
    buffer.chunk_count = play->said ? play->said : play->count;
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_BUFFER;
    reply.buffer = &buffer;
    fake_say(&stage.fake, &reply, &fds);
    stage.grants++;
}

static void say_error(uint64_t id)
{
    Dmabufd__Proto__Error error = DMABUFD__PROTO__ERROR__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    static char text[] = "no";

    error.code = DMABUFD__PROTO__ERROR_CODE__ERROR_NO_MEMORY;
    error.errno_value = ENOMEM;
    error.text = text;
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_ERROR;
    reply.error = &error;
    fake_say(&stage.fake, &reply, NULL);
}

/* Return: whether the connection goes on. */
static bool say_chunks(uint64_t id, const Dmabufd__Proto__ChunksRequest *request)
{
    Dmabufd__Proto__ChunksReply chunks = DMABUFD__PROTO__CHUNKS_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    struct wire_fds fds = WIRE_FDS_NONE;
    const struct play *play = &stage.play;
    uint32_t n = play->count - request->first, first = request->first;

    assert_int_equal(request->buffer, BUFFER_ID);
    assert_true(first < play->count);
    if (play->end_at && first >= play->end_at)
        return false;
    if (play->refuse_at && first >= play->refuse_at) {
        say_error(id);
        return true;
    }
    if (n <= (play->batch ? play->batch : PROTO_FDS_MAX))
        n += play->too_many;
    else
        n = play->batch ? play->batch : PROTO_FDS_MAX;
    if (play->nothing_at && first >= play->nothing_at)
        n = 0;
    for (uint32_t i = 0; i < n; i++)
        fds.fd[i] = stage.given[first + i < play->count ? first + i : 0];
    fds.count = n;
    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_CHUNKS;
    reply.chunks = &chunks;
    fake_say(&stage.fake, &reply, &fds);
    return true;
}

static void say_free(uint64_t id)
{
    Dmabufd__Proto__FreeReply body = DMABUFD__PROTO__FREE_REPLY__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;

    reply.id = id;
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_FREE;
    reply.free = &body;
    stage.frees++;
    fake_say(&stage.fake, &reply, NULL);
}

static void *serve(void *unused)
{
    const proto_request *request;
    struct wire_fds fds;
    bool goes_on = true;

    (void)unused;
    while (goes_on && (request = fake_request(&stage.fake, &fds))) {
        switch (request->body_case) {
        case DMABUFD__PROTO__REQUEST__BODY_CHUNKS:
            goes_on = say_chunks(request->id, request->chunks);
            break;
        case DMABUFD__PROTO__REQUEST__BODY_FREE:
            assert_int_equal(request->free->buffer, BUFFER_ID);
            say_free(request->id);
            break;
        case DMABUFD__PROTO__REQUEST__BODY_STATUS:
            fake_say_status(&stage.fake, request->id);
            break;
        default:
            say_grant(request->id, fds.count == 0);
            break;
        }
        wire_fds_close(&fds);
    }
    fd_close(&stage.fake.sock);
    return NULL;
}

void stage_begin(const struct play *play)
{
    fds_before = support_fds();
    stage = (struct stage){ .play = *play };
    fail_mapping = 0;
    foreign = NULL;
    for (uint32_t i = 0; i < play->count; i++)
        make_chunk(i);
    make_token();
    assert_int_equal(fake_meet(&stage.fake, 0, &client), 0);
    assert_int_equal(pthread_create(&stage.thread, NULL, serve, NULL), 0);
}

static void drop_chunks(void)
{
    for (uint32_t i = 0; i < stage.play.count; i++) {
        close(stage.chunks[i]);
        close(stage.given[i]);
    }
}

void stage_mend(void)
{
    drop_chunks();
    stage.play.chunk = GOOD;
    stage.play.refuse_at = 0;
    for (uint32_t i = 0; i < stage.play.count; i++)
        make_chunk(i);
}

void stage_end(void)
{
    dmabufd_disconnect(client);
    pthread_join(stage.thread, NULL);
    drop_chunks();
    close(stage.token);
    assert_int_equal(stage_mappings(), 0);
    assert_int_equal(support_fds(), fds_before);
}

/* Of this process, when the player has closed what it sent. */
size_t stage_fds(void)
{
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(client, &status), 0);
    return support_fds();
}

int stage_ask(dmabufd_buffer **ret)
{
    const struct play *play = &stage.play;

    if (play->is_open)
        return dmabufd_open(client, "x", play->read_only ? DMABUFD_READ_ONLY : DMABUFD_READ_WRITE,
                            DMABUFD_OWNER_ANY, ret);
    return dmabufd_alloc(client, stage_total(play), PAGE, ret);
}
