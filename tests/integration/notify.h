/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Notify: a socket in the place of systemd's, which a daemon tells how it is (sd_notify(3)). It must
 * be read: a daemon that is not listened to waits one day.
 */
#ifndef TESTS_NOTIFY_H
#define TESTS_NOTIFY_H

struct notify {
    int fd; /* 0: closed */
    char path[96];
    char text[4096]; /* what came, in lines; from the start if it is too much */
};

/** notify_open() - in this folder; nothing has been told. Closes the one before. */
void notify_open(struct notify *notify, const char *directory);

/** notify_read() - add what was told by now; if that is nothing, wait so long for it. */
void notify_read(struct notify *notify, int timeout_ms);

/** notify_close() - and remove it; allowed on a zeroed struct. */
void notify_close(struct notify *notify);

#endif
