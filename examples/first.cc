// SPDX-License-Identifier: LGPL-2.1-or-later
// The same as first.c in C++: what was taken goes back in whatever way the scope is left.
#include <cstdio>
#include <cstring>
#include <dmabufd.h>
#include <memory>
#include <stdexcept>

struct Disconnect {
    void operator()(dmabufd *d) const
    {
        dmabufd_disconnect(d);
    }
};

struct Free {
    void operator()(dmabufd_buffer *buffer) const
    {
        dmabufd_free(buffer);
    }
};

typedef std::unique_ptr<dmabufd, Disconnect> Connection;
typedef std::unique_ptr<dmabufd_buffer, Free> Buffer;

static Connection connect()
{
    dmabufd *d;

    if (dmabufd_connect(&d, nullptr) < 0)
        throw std::runtime_error(dmabufd_last_error());
    return Connection(d);
}

static Buffer allocate(const Connection &connection, uint64_t size)
{
    dmabufd_buffer *buffer;

    if (dmabufd_alloc(connection.get(), size, 0, &buffer) < 0)
        throw std::runtime_error(dmabufd_last_error());
    return Buffer(buffer);
}

int main()
try {
    Connection connection = connect();
    Buffer buffer = allocate(connection, 1 << 20);
    char *data = static_cast<char *>(dmabufd_buffer_data(buffer.get()));
    uint64_t dma_addr, contiguous;

    std::strcpy(data + 5000, "hello, device");
    dmabufd_translate(connection.get(), data + 5000, &dma_addr, &contiguous);
    std::printf("tell the device: %#llx, good for %llu bytes\n",
                static_cast<unsigned long long>(dma_addr),
                static_cast<unsigned long long>(contiguous));
    return 0;
} catch (const std::exception &problem) {
    std::fprintf(stderr, "%s\n", problem.what());
    return 1;
}
