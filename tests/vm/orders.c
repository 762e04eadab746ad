/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Copies by the device for a client; see orders.h. */
#include "tests/vm/orders.h"

#include "tests/integration/harness.h"

/* "Copy this for me": from a client to the root side. */
struct order {
    uint64_t source;
    uint64_t destination;
    uint64_t length; /* 0: that was all */
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

/* One contiguous piece, by the device. */
static int copy(int sock, uint64_t source, uint64_t destination, uint64_t length)
{
    struct order order = { source, destination, length };
    int result = -1;

    CHECK(write_all(sock, &order, sizeof(order)));
    CHECK(read_all(sock, &result, sizeof(result)));
    CHECK(result == 0);
    return 0;
}

int order_range(int sock, dmabufd_buffer *source, uint64_t source_offset,
                dmabufd_buffer *destination, uint64_t destination_offset, uint64_t length)
{
    while (length > 0) {
        uint64_t from, from_length, to, to_length, now = length;

        CHECK(dmabufd_buffer_translate(source, source_offset, &from, &from_length) == 0);
        CHECK(dmabufd_buffer_translate(destination, destination_offset, &to, &to_length) == 0);
        now = now < from_length ? now : from_length;
        now = now < to_length ? now : to_length;
        CHECK(copy(sock, from, to, now) == 0);
        source_offset += now;
        destination_offset += now;
        length -= now;
    }
    return 0;
}

int order_edge(int sock, dmabufd_buffer *from, dmabufd_buffer *to, uint64_t at, unsigned int seed)
{
    const unsigned char *data = dmabufd_buffer_data(to);

    CHECK(order_range(sock, from, at - ORDER_EDGE, to, at - ORDER_EDGE, 2 * ORDER_EDGE) == 0);
    for (uint64_t i = at - ORDER_EDGE; i < at + ORDER_EDGE; i++)
        CHECK(data[i] == order_pattern(i, seed));
    CHECK(data[at - ORDER_EDGE - 1] == 0 && data[at + ORDER_EDGE] == 0);
    return 0;
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

int orders_end(int sock)
{
    struct order end = { 0 };

    CHECK(write_all(sock, &end, sizeof(end)));
    return 0;
}

void orders_serve(struct edu *edu, int sock)
{
    struct order order;

    while (read_all(sock, &order, sizeof(order)) && order.length > 0) {
        int result = edu_copy(edu, order.source, order.destination, order.length);

        assert_true(write_all(sock, &result, sizeof(result)));
    }
}
