/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * dmabufd-bench-answer: the floor of row "restart". The least that a process can do that is started to
 * serve on a socket: accepts one connection of the listening socket that it was given as descriptor
 * 3, sends the first message back, and waits to be killed.
 */
#include <sys/socket.h>
#include <unistd.h>

int main(void)
{
    char message[64];
    int peer = accept(3, NULL, NULL);
    ssize_t size = peer < 0 ? -1 : recv(peer, message, sizeof(message), 0);

    if (size <= 0 || send(peer, message, (size_t)size, MSG_NOSIGNAL) != size)
        return 1;
    for (;;)
        pause();
}
