/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The listening socket; see listen.h. */
#include "daemon/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/log.h"
#include "proto/limits.h"

static int from_systemd(int count, struct listen_socket *ret, struct fault *fault)
{
    int fd = SD_LISTEN_FDS_START;

    if (count > 1)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "%d sockets were passed, one is expected", count);
    if (sd_is_socket_unix(fd, SOCK_SEQPACKET, 1, NULL, 0) <= 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "the socket passed is not a listening AF_UNIX SOCK_SEQPACKET socket: the "
                         "socket unit needs ListenSequentialPacket=");
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) < 0 || fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, errno, "fcntl: %s", strerror(errno));
    *ret = (struct listen_socket){ .fd = fd };
    return 0;
}

/* Whether somebody listens there; an errno of connect(2) if not. */
static int probe(const struct sockaddr_un *address)
{
    CLEANUP_FD int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return errno;
    if (connect(fd, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno == EAGAIN)
        return 0;
    return errno;
}

/* A socket file nobody listens on is left from a daemon that was killed; its broker ends a moment
 * after it. */
static int remove_stale(const struct sockaddr_un *address, struct fault *fault)
{
    int error = probe(address);
    struct stat st;

    for (int i = 0; error == 0 && i < 20; i++) {
        usleep(50000);
        error = probe(address);
    }
    if (error == 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, EADDRINUSE,
                         "another daemon serves %s: end it or name another --socket",
                         address->sun_path);
    if (error == ECONNREFUSED && lstat(address->sun_path, &st) == 0 && S_ISSOCK(st.st_mode))
        unlink(address->sun_path);
    return 0;
}

static void make_directory(const char *path)
{
    CLEANUP_FREE char *copy = strdup(path);

    if (copy && mkdir(dirname(copy), 0755) < 0 && errno != EEXIST)
        log_warning("cannot make the directory of %s: %s", path, strerror(errno));
}

static int make(const struct options *options, const char *path, struct listen_socket *ret,
                struct fault *fault)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    CLEANUP_FD int fd = -1;
    mode_t old;
    int r;

    if (strlen(path) >= sizeof(address.sun_path))
        return fault_set(fault, DMABUFD_CODE_INVALID, ENAMETOOLONG,
                         "the socket path has more than %zu bytes", sizeof(address.sun_path) - 1);
    strcpy(address.sun_path, path);
    make_directory(path);
    r = remove_stale(&address, fault);
    if (r < 0)
        return r;
    fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return fault_set(fault, DMABUFD_CODE_INTERNAL, errno, "socket: %s", strerror(errno));
    /* Born with its final mode. Its group is changed by name, but not through a link that somebody
     * may have put there meanwhile. */
    old = umask(0777 & ~options->socket_mode);
    r = bind(fd, (const struct sockaddr *)&address, sizeof(address)) < 0 ? -errno : 0;
    umask(old);
    if (r < 0)
        return fault_set(fault, DMABUFD_CODE_INVALID, -r, "cannot make the socket %s: %s", path,
                         strerror(-r));
    if ((options->socket_group != (gid_t)-1 &&
         lchown(path, (uid_t)-1, options->socket_group) < 0) ||
        listen(fd, SOMAXCONN) < 0 || !(ret->path = strdup(path))) {
        r = fault_set(fault, DMABUFD_CODE_INVALID, errno, "cannot set up the socket %s: %s", path,
                      strerror(errno));
        unlink(path);
        return r;
    }
    ret->fd = TAKE_FD(fd);
    return 0;
}

int listen_open(const struct options *options, struct listen_socket *ret, struct fault *fault)
{
    int count = sd_listen_fds(1);

    *ret = (struct listen_socket){ .fd = -1 };
    if (count > 0)
        return from_systemd(count, ret, fault);
    return make(options, options->socket ? options->socket : PROTO_DEFAULT_SOCKET, ret, fault);
}

void listen_close(struct listen_socket *listen)
{
    if (listen->path)
        unlink(listen->path);
    free(listen->path);
    listen->path = NULL;
    fd_close(&listen->fd);
}
