/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies by the device for a client; see orders.h. */
#include "tests/vm/orders.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define BATCH_MAX 64U
#define HALF_PAGE UINT64_C(2048)

/* "Copy this for me": from a client to the root side. */
struct order {
    uint64_t source;
    uint64_t destination;
    uint64_t length;
};

/* How they travel: a count, that many of them, and an answer to all; a count of 0: that was all. */
struct batch {
    int sock;
    uint64_t count;
    struct order orders[BATCH_MAX];
};

unsigned char order_pattern(uint64_t offset, unsigned int seed)
{
    return (unsigned char)(offset * 31 + (offset >> 12) * 7 + seed);
}

void order_fill(dmabufd_buffer *buffer, unsigned int seed)
{
    unsigned char *data = dmabufd_buffer_data(buffer);

    for (uint64_t i = 0; i < dmabufd_buffer_size(buffer); i++)
        data[i] = order_pattern(i, seed);
}

static int flush(struct batch *batch)
{
    int result = -1;

    if (batch->count == 0)
        return 0;
    CHECK(write_all(batch->sock, &batch->count, sizeof(batch->count)));
    CHECK(write_all(batch->sock, batch->orders, batch->count * sizeof(batch->orders[0])));
    CHECK(read_all(batch->sock, &result, sizeof(result)));
    CHECK(result == 0);
    batch->count = 0;
    return 0;
}

/* Cut wherever either list has a boundary, and to what the device takes at once. */
static int add_range(struct batch *batch, dmabufd_buffer *source, uint64_t source_offset,
                     dmabufd_buffer *destination, uint64_t destination_offset, uint64_t length)
{
    while (length > 0) {
        uint64_t from, from_length, to, to_length, now = length;

        CHECK(dmabufd_buffer_translate(source, source_offset, &from, &from_length) == 0);
        CHECK(dmabufd_buffer_translate(destination, destination_offset, &to, &to_length) == 0);
        now = now < from_length ? now : from_length;
        now = now < to_length ? now : to_length;
        now = now < EDU_TRANSFER_MAX ? now : EDU_TRANSFER_MAX;
        if (batch->count == BATCH_MAX)
            CHECK(flush(batch) == 0);
        batch->orders[batch->count++] = (struct order){ from, to, now };
        source_offset += now;
        destination_offset += now;
        length -= now;
    }
    return 0;
}

int order_range(int sock, dmabufd_buffer *source, uint64_t source_offset,
                dmabufd_buffer *destination, uint64_t destination_offset, uint64_t length)
{
    struct batch batch = { .sock = sock };

    CHECK(add_range(&batch, source, source_offset, destination, destination_offset, length) == 0);
    return flush(&batch);
}

/* Bytes around @at of one buffer to those around @to_at of the other. */
static int add_edge(struct batch *batch, dmabufd_buffer *from, uint64_t at, dmabufd_buffer *to,
                    uint64_t to_at)
{
    return add_range(batch, from, at - ORDER_EDGE, to, to_at - ORDER_EDGE, 2 * ORDER_EDGE);
}

static int check_edge(uint64_t at, dmabufd_buffer *to, uint64_t to_at, unsigned int seed)
{
    const unsigned char *data = (unsigned char *)dmabufd_buffer_data(to) + to_at - ORDER_EDGE;

    for (uint64_t i = 0; i < 2 * ORDER_EDGE; i++)
        CHECK(data[i] == order_pattern(at - ORDER_EDGE + i, seed));
    CHECK(data[-1] == 0 && data[2 * ORDER_EDGE] == 0);
    return 0;
}

int order_edge(int sock, dmabufd_buffer *from, dmabufd_buffer *to, uint64_t at, unsigned int seed)
{
    struct batch batch = { .sock = sock };

    CHECK(add_edge(&batch, from, at, to, at) == 0 && flush(&batch) == 0);
    return check_edge(at, to, at, seed);
}

int order_places(int sock, dmabufd_buffer *from, dmabufd_buffer *to, size_t most)
{
    uint64_t size = dmabufd_buffer_size(to);
    unsigned char *result = dmabufd_buffer_data(to);
    const struct dmabufd_span *spans;
    size_t count;

    CHECK(order_range(sock, from, 0, to, 0, 1) == 0);
    CHECK(result[0] == order_pattern(0, 1) && result[1] == 0);
    CHECK(order_range(sock, from, size - 16, to, size - 16, 16) == 0);
    CHECK(result[size - 1] == order_pattern(size - 1, 1) && result[size - 17] == 0);
    CHECK(order_edge(sock, from, to, size / 2, 1) == 0);
    spans = dmabufd_buffer_spans(to, &count);
    for (size_t i = 1; i < count && i <= most; i++)
        CHECK(order_edge(sock, from, to, spans[i].offset, 1) == 0);
    return 0;
}

/* Offsets at which a span ends and the next begins, @most of them: then the first, the last, and what
 * chance picks. The caller frees them. */
static int boundaries_of(dmabufd_buffer *buffer, size_t most, uint64_t **ret, size_t *ret_count)
{
    size_t spans_count, count;
    const struct dmabufd_span *spans = dmabufd_buffer_spans(buffer, &spans_count);
    uint64_t *places = calloc(spans_count, sizeof(*places));

    CHECK(places);
    count = spans_count - 1;
    for (size_t i = 0; i < count; i++)
        places[i] = spans[i + 1].offset;
    for (size_t i = 1; i < most && count > most; i++) {
        size_t other = i == 1 ? count - 1 : i + (size_t)random() % (count - i);
        uint64_t place = places[other];

        places[other] = places[i];
        places[i] = place;
    }
    *ret = places;
    *ret_count = count < most ? count : most;
    return 0;
}

/* Where one of the buffers has a boundary the other one is copied from, or to, half a page further on:
 * it would be no proof of either if both had one. */
static int cross(int sock, dmabufd_buffer *from, uint64_t ahead, dmabufd_buffer *to,
                 uint64_t to_ahead, const uint64_t *places, size_t count)
{
    unsigned char *data = dmabufd_buffer_data(to);
    struct batch batch = { .sock = sock };

    for (size_t i = 0; i < count; i++)
        CHECK(add_edge(&batch, from, places[i] + ahead, to, places[i] + to_ahead) == 0);
    CHECK(flush(&batch) == 0);
    for (size_t i = 0; i < count; i++) {
        uint64_t at = places[i] + to_ahead;

        CHECK(check_edge(places[i] + ahead, to, at, 1) == 0);
        memset(data + at - ORDER_EDGE, 0, 2 * (size_t)ORDER_EDGE);
    }
    /* And nowhere else did anything arrive. */
    CHECK(data[0] == 0 && memcmp(data, data + 1, dmabufd_buffer_size(to) - 1) == 0);
    return 0;
}

static unsigned int choose_seed(void)
{
    const char *given = getenv("DMABUFD_TEST_SEED");
    unsigned int seed = (unsigned int)time(NULL) ^ (unsigned int)getpid() << 16;

    return given ? (unsigned int)strtoul(given, NULL, 0) : seed;
}

int order_boundaries(int sock, dmabufd_buffer *from, dmabufd_buffer *to, size_t most)
{
    unsigned int seed = choose_seed();
    uint64_t *in_from = NULL, *in_to = NULL;
    size_t from_count, to_count;
    int r;

    srandom(seed);
    CHECK(boundaries_of(from, most, &in_from, &from_count) == 0);
    CHECK(boundaries_of(to, most, &in_to, &to_count) == 0);
    fprintf(stderr, "# across %zu and %zu boundaries, DMABUFD_TEST_SEED=%u\n", from_count, to_count,
            seed);
    r = cross(sock, from, 0, to, HALF_PAGE, in_from, from_count);
    if (r == 0)
        r = cross(sock, from, HALF_PAGE, to, 0, in_to, to_count);
    free(in_from);
    free(in_to);
    return r;
}

int orders_end(int sock)
{
    const uint64_t none = 0;

    CHECK(write_all(sock, &none, sizeof(none)));
    return 0;
}

/* One order for each device, all at the same time. */
static int copy_at_once(struct edu *edus, const struct order *orders, size_t count)
{
    int r = 0;

    for (int back = 0; back < 2; back++) {
        for (size_t i = 0; i < count && r == 0; i++)
            r = edu_start(&edus[i], back, back ? orders[i].destination : orders[i].source,
                          orders[i].length);
        for (size_t i = 0; i < count && r == 0; i++)
            r = edu_wait(&edus[i]);
    }
    return r;
}

void orders_serve_by(struct edu *edus, size_t devices, int sock)
{
    struct batch batch;

    while (read_all(sock, &batch.count, sizeof(batch.count)) && batch.count > 0) {
        int result = 0;

        assert_in_range(batch.count, 1, BATCH_MAX);
        assert_true(read_all(sock, batch.orders, batch.count * sizeof(batch.orders[0])));
        for (size_t i = 0; i < batch.count && result == 0; i += devices) {
            size_t left = batch.count - i;

            result = copy_at_once(edus, batch.orders + i, left < devices ? left : devices);
        }
        assert_true(write_all(sock, &result, sizeof(result)));
    }
}

void orders_serve(struct edu *edu, int sock)
{
    orders_serve_by(edu, 1, sock);
}
