/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The shortest useful program: memory for a device and the addresses to give to it. */
#include <dmabufd.h>
#include <err.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int main(void)
{
    dmabufd *d;
    dmabufd_buffer *buffer;
    uint64_t dma_addr, contiguous;

    if (dmabufd_connect(&d, NULL) < 0 || dmabufd_alloc(d, 1 << 20, 0, &buffer) < 0)
        errx(1, "%s", dmabufd_last_error());

    char *data = dmabufd_buffer_data(buffer);

    strcpy(data + 5000, "hello, device");
    dmabufd_translate(d, data + 5000, &dma_addr, &contiguous);
    printf("tell the device: %#" PRIx64 ", good for %" PRIu64 " bytes\n", dma_addr, contiguous);

    dmabufd_free(buffer);
    dmabufd_disconnect(d);
    return 0;
}
