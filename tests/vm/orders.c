/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies by the device for a client; see orders.h. */
#include "tests/vm/orders.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "tests/integration/harness.h"

#define BATCH_MAX 64U

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

static int add_edge(struct batch *batch, dmabufd_buffer *from, dmabufd_buffer *to, uint64_t at)
{
    return add_range(batch, from, at - ORDER_EDGE, to, at - ORDER_EDGE, 2 * ORDER_EDGE);
}

static int check_edge(dmabufd_buffer *to, uint64_t at, unsigned int seed)
{
    const unsigned char *data = dmabufd_buffer_data(to);

    for (uint64_t i = at - ORDER_EDGE; i < at + ORDER_EDGE; i++)
        CHECK(data[i] == order_pattern(i, seed));
    CHECK(data[at - ORDER_EDGE - 1] == 0 && data[at + ORDER_EDGE] == 0);
    return 0;
}

int order_edge(int sock, dmabufd_buffer *from, dmabufd_buffer *to, uint64_t at, unsigned int seed)
{
    struct batch batch = { .sock = sock };

    CHECK(add_edge(&batch, from, to, at) == 0 && flush(&batch) == 0);
    return check_edge(to, at, seed);
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

/* Where a span of either ends and another begins, in order, each place once. Return: how many. */
static size_t boundaries_of(dmabufd_buffer *a, dmabufd_buffer *b, uint64_t *places)
{
    size_t a_count, b_count, count = 0;
    const struct dmabufd_span *in_a = dmabufd_buffer_spans(a, &a_count);
    const struct dmabufd_span *in_b = dmabufd_buffer_spans(b, &b_count);

    for (size_t i = 1, j = 1; i < a_count || j < b_count;) {
        uint64_t next_a = i < a_count ? in_a[i].offset : UINT64_MAX;
        uint64_t next_b = j < b_count ? in_b[j].offset : UINT64_MAX;

        places[count++] = next_a < next_b ? next_a : next_b;
        i += next_a <= next_b;
        j += next_b <= next_a;
    }
    return count;
}

/* The first two of @most are the first and the last one; the rest is by chance. */
static void pick(uint64_t *places, size_t count, size_t most)
{
    unsigned int seed = (unsigned int)time(NULL) ^ (unsigned int)getpid() << 16;
    const char *given = getenv("DMABUFD_TEST_SEED");

    if (given)
        seed = (unsigned int)strtoul(given, NULL, 0);
    fprintf(stderr, "# %zu of %zu boundaries, DMABUFD_TEST_SEED=%u\n", most, count, seed);
    srandom(seed);
    for (size_t i = 1; i < most; i++) {
        size_t other = i == 1 ? count - 1 : i + (size_t)random() % (count - i);
        uint64_t place = places[other];

        places[other] = places[i];
        places[i] = place;
    }
}

static int copy_and_check(int sock, dmabufd_buffer *from, dmabufd_buffer *to,
                          const uint64_t *places, size_t count)
{
    unsigned char *data = dmabufd_buffer_data(to);
    struct batch batch = { .sock = sock };

    for (size_t i = 0; i < count; i++)
        CHECK(add_edge(&batch, from, to, places[i]) == 0);
    CHECK(flush(&batch) == 0);
    for (size_t i = 0; i < count; i++) {
        CHECK(check_edge(to, places[i], 1) == 0);
        memset(data + places[i] - ORDER_EDGE, 0, 2 * (size_t)ORDER_EDGE);
    }
    /* And nowhere else did anything arrive. */
    CHECK(data[0] == 0 && memcmp(data, data + 1, dmabufd_buffer_size(to) - 1) == 0);
    return 0;
}

int order_boundaries(int sock, dmabufd_buffer *from, dmabufd_buffer *to, size_t most)
{
    size_t in_from, in_to, count;
    uint64_t *places;
    int r;

    dmabufd_buffer_spans(from, &in_from);
    dmabufd_buffer_spans(to, &in_to);
    places = calloc(in_from + in_to, sizeof(*places));
    CHECK(places);
    count = boundaries_of(from, to, places);
    if (count > most) {
        pick(places, count, most);
        count = most;
    }
    r = copy_and_check(sock, from, to, places, count);
    free(places);
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
