/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The well-behaved client; see bystander.h. */
#include "tests/integration/bystander.h"

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/integration/raw.h"

#define SIZE    (UINT64_C(1) << 20)
#define PATTERN 0xa7

void bystander_start(struct bystander *bystander, const struct daemon *daemon)
{
    const struct dmabufd_span *spans;

    *bystander = (struct bystander){ .daemon = daemon, .broker = daemon_broker(daemon) };
    assert_true(bystander->broker > 0);
    bystander->ended = mmap(NULL, sizeof(*bystander->ended), PROT_READ | PROT_WRITE,
                            MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(bystander->ended, MAP_FAILED);
    assert_int_equal(dmabufd_connect(&bystander->d, daemon->socket), 0);
    assert_int_equal(dmabufd_alloc(bystander->d, SIZE, 4096, &bystander->buffer), 0);
    memset(dmabufd_buffer_data(bystander->buffer), PATTERN, SIZE);
    spans = dmabufd_buffer_spans(bystander->buffer, &bystander->span_count);
    bystander->spans = calloc(bystander->span_count, sizeof(*spans));
    assert_non_null(bystander->spans);
    memcpy(bystander->spans, spans, bystander->span_count * sizeof(*spans));
}

uint64_t bystander_blames(const struct bystander *bystander)
{
    static const char counted[] = "malformed messages: ";
    FILE *file = fopen(bystander->daemon->log, "re");
    uint64_t blames = 0;
    char line[2048];

    assert_non_null(file);
    while (fgets(line, sizeof(line), file)) {
        const char *number = strstr(line, counted);

        if (strstr(line, ": connection ended\n"))
            blames++;
        if (number && strstr(line, " more like it from "))
            blames += strtoull(number + strlen(counted), NULL, 10);
    }
    fclose(file);
    return blames;
}

static bool is_all_told(void *data)
{
    const struct bystander *bystander = data;

    return bystander_blames(bystander) >= bystander->ended_in_all;
}

void bystander_stop(struct bystander *bystander)
{
    wait_until(is_all_told, bystander);
    dmabufd_disconnect(bystander->d);
    free(bystander->spans);
    munmap(bystander->ended, sizeof(*bystander->ended));
}

void bystander_check(const struct bystander *bystander)
{
    const unsigned char *data = dmabufd_buffer_data(bystander->buffer);
    struct dmabufd_buffer_info *list;
    struct dmabufd_status status;
    size_t count;

    assert_int_equal(dmabufd_get_status(bystander->d, &status), 0);
    assert_int_equal(status.broker_starts, 1);
    assert_int_equal(daemon_broker(bystander->daemon), bystander->broker);
    assert_int_equal(data[0], PATTERN);
    assert_memory_equal(data, data + 1, SIZE - 1);
    for (size_t i = 0; i < bystander->span_count; i++) {
        const struct dmabufd_span *span = &bystander->spans[i];
        uint64_t address, length;

        assert_int_equal(dmabufd_translate(bystander->d, data + span->offset, &address, &length),
                         0);
        assert_int_equal(address, span->dma_addr);
        assert_int_equal(length, span->length);
    }
    assert_int_equal(dmabufd_list(bystander->d, &list, &count), 0);
    assert_int_equal(count, 1);
    assert_int_equal(list->id, dmabufd_buffer_id(bystander->buffer));
    assert_int_equal(list->holders, 1);
    free(list);
}

void bystander_check_alloc(const struct bystander *bystander)
{
    dmabufd_buffer *another;

    assert_int_equal(dmabufd_alloc(bystander->d, 2 * 4096, 4096, &another), 0);
    assert_int_equal(*(uint64_t *)dmabufd_buffer_data(another), 0);
    assert_int_equal(dmabufd_free(another), 0);
}

static bool is_alone(void *data)
{
    const struct bystander *bystander = data;
    struct dmabufd_status status;

    assert_int_equal(dmabufd_get_status(bystander->d, &status), 0);
    return status.clients == 1;
}

void bystander_before(struct bystander *bystander)
{
    leftovers_read(bystander->daemon, &bystander->before);
    wait_until(is_alone, bystander);
    bystander->broker_fds = count_fds(bystander->broker);
}

/* Some are closed late, on another thread, also some of those from before. */
static bool broker_fds_are_back(void *data)
{
    const struct bystander *bystander = data;

    return count_fds(bystander->broker) <= bystander->broker_fds;
}

void bystander_after(struct bystander *bystander)
{
    bystander_check(bystander);
    leftovers_settle(bystander->daemon, &bystander->before);
    wait_until(is_alone, bystander);
    wait_until(broker_fds_are_back, bystander);
}

void bystander_endures(struct bystander *bystander, int (*offence)(void *data), void *data)
{
    char who[64];
    pid_t pid;

    bystander_before(bystander);
    *bystander->ended = 0;
    pid = spawn_as(TEST_CLIENT_UID, offence, data);
    assert_int_equal(join(pid), 0);
    snprintf(who, sizeof(who), "(pid %d, uid %u)", (int)pid,
             getuid() == 0 ? TEST_CLIENT_UID : getuid());
    assert_true(daemon_log_count(bystander->daemon, who) <= *bystander->ended);
    bystander->ended_in_all += *bystander->ended;
    bystander_after(bystander);
    bystander_check_alloc(bystander);
}

bool offence_ends(struct bystander *bystander, bool greeted, const void *bytes, size_t size,
                  size_t fd_count)
{
    int sock = greeted ? raw_greeted() : raw_connect();
    bool ended =
        sock >= 0 && raw_send(sock, bytes, size, STDIN_FILENO, fd_count) == 0 && raw_ended(sock);

    *bystander->ended += ended;
    if (sock >= 0)
        close(sock);
    return ended;
}
