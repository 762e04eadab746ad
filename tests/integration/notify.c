/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a daemon tells systemd; see notify.h. */
#include "tests/integration/notify.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/integration/harness.h"

void notify_open(struct notify *notify, const char *directory)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };

    notify_close(notify);
    snprintf(notify->path, sizeof(notify->path), "%s/notify", directory);
    strcpy(address.sun_path, notify->path);
    notify->text[0] = '\0';
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    assert_true(notify->fd > 0);
    assert_int_equal(bind(notify->fd, (struct sockaddr *)&address, sizeof(address)), 0);
}

void notify_read(struct notify *notify, int timeout_ms)
{
    struct pollfd poll_fd = { .fd = notify->fd, .events = POLLIN };

    while (poll(&poll_fd, 1, timeout_ms) == 1) {
        size_t used = strlen(notify->text);
        char text[1024];
        ssize_t n = recv(notify->fd, text, sizeof(text), MSG_DONTWAIT);

        if (n <= 0)
            break;
        if (used + (size_t)n + 2 > sizeof(notify->text))
            used = 0;
        memcpy(notify->text + used, text, (size_t)n);
        memcpy(notify->text + used + n, "\n", 2);
        timeout_ms = 0;
    }
}

void notify_close(struct notify *notify)
{
    if (notify->fd <= 0)
        return;
    close(notify->fd);
    unlink(notify->path);
    notify->fd = 0;
}
