/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Hearing and telling of events; see event.h. */
#include "client/event.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "client/buffer.h"
#include "client/call.h"
#include "client/last-error.h"

/* Messages that one dispatch reads; what is left rings. */
#define READS_MAX 64

/* What the first version had. */
#define EVENT_SIZE_MIN sizeof(struct dmabufd_event)

void event_init(dmabufd *d)
{
    d->events = (struct events){ .fd = -1, .bell = -1 };
}

void event_close(dmabufd *d)
{
    fd_close(&d->events.fd);
    fd_close(&d->events.bell);
}

static void ring(const dmabufd *d)
{
    /* Fails only if it has been rung 2^64 times. */
    if (d->events.bell >= 0)
        eventfd_write(d->events.bell, 1);
}

void event_arrived(dmabufd *d, const Dmabufd__Proto__Event *message)
{
    if (message->kind != DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING || d->dead)
        return;
    d->events.ending = true;
    ring(d);
}

void event_lost(dmabufd *d)
{
    buffer_revoke_all(d);
    ring(d);
}

void event_nobody_reads(dmabufd *d)
{
    if (!d->events.turned_away)
        return;
    d->events.turned_away = false;
    ring(d);
}

static bool something_to_tell(const dmabufd *d)
{
    const struct events *events = &d->events;

    return (events->ending && !events->ending_told) ||
           (d->dead && (!events->lost_told || !LIST_EMPTY(&d->buffers)));
}

/* Return: whether @ret is one. */
static bool tell(dmabufd *d, struct dmabufd_event *ret)
{
    struct events *events = &d->events;
    dmabufd_buffer *buffer;

    if (!something_to_tell(d))
        return false;
    *ret = (struct dmabufd_event){ .size = sizeof(*ret), .reason = d->death.text };
    if (events->ending && !events->ending_told) {
        ret->kind = DMABUFD_EVENT_ENDING;
        ret->reason = "the daemon is ending";
        events->ending_told = true;
    } else if (!events->lost_told) {
        ret->kind = DMABUFD_EVENT_LOST;
        events->lost_told = true;
    } else {
        buffer = LIST_FIRST(&d->buffers);
        ret->kind = DMABUFD_EVENT_REVOKED;
        ret->buffer = buffer->id;
        ret->data = buffer->data;
        ret->data_size = buffer->size;
        LIST_REMOVE(buffer, entry);
        LIST_INSERT_HEAD(&d->told, buffer, entry);
    }
    return true;
}

/* Makes the program's descriptor unreadable until something else comes. */
static void silence(const dmabufd *d)
{
    struct epoll_event edges[2];
    eventfd_t rung;

    if (d->events.fd < 0)
        return;
    eventfd_read(d->events.bell, &rung);
    epoll_wait(d->events.fd, edges, ARRAY_LEN(edges), 0);
}

static void read_what_is_there(dmabufd *d)
{
    for (int i = 0; i < READS_MAX; i++) {
        if (d->dead)
            return;
        if (d->reading) {
            d->events.turned_away = true;
            return;
        }
        if (!call_read_now(d))
            return;
    }
    ring(d);
}

int dmabufd_dispatch(dmabufd *d, struct dmabufd_event *ret)
{
    NO_CANCELLATION;
    struct dmabufd_event event;
    size_t size = ret->size;
    bool told = false;
    int r = 0;

    if (size < EVENT_SIZE_MIN)
        return fault_set(last_error(), DMABUFD_CODE_OK, EINVAL,
                         "the size of the event is not set: begin with DMABUFD_EVENT_INIT");
    pthread_mutex_lock(&d->lock);
    if (d->sock < 0) {
        r = call_no_connection(d, last_error());
    } else {
        silence(d);
        read_what_is_there(d);
        told = tell(d, &event);
        if (something_to_tell(d))
            ring(d);
    }
    pthread_mutex_unlock(&d->lock);
    if (!told)
        return r;
    event.size = size;
    memcpy(ret, &event, size < sizeof(event) ? size : sizeof(event));
    return 1;
}

static int watch(int epoll, int fd, uint32_t events)
{
    struct epoll_event event = { .events = events };

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
}

static int open_fd(dmabufd *d, struct fault *fault)
{
    CLEANUP_FD int fd = epoll_create1(EPOLL_CLOEXEC);
    /* Rung once: something may have happened already. */
    CLEANUP_FD int bell = fd < 0 ? -1 : eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

    if (bell < 0 || watch(fd, bell, EPOLLIN) < 0 || watch(fd, d->sock, EPOLLIN | EPOLLET) < 0)
        return fault_set(fault, DMABUFD_CODE_OK, errno,
                         "cannot make a descriptor to poll: %s (EMFILE: raise RLIMIT_NOFILE)",
                         strerror(errno));
    d->events.bell = TAKE_FD(bell);
    d->events.fd = TAKE_FD(fd);
    return d->events.fd;
}

int dmabufd_event_fd(dmabufd *d)
{
    NO_CANCELLATION;
    int r;

    pthread_mutex_lock(&d->lock);
    if (d->sock < 0)
        r = call_no_connection(d, last_error());
    else
        r = d->events.fd >= 0 ? d->events.fd : open_fd(d, last_error());
    pthread_mutex_unlock(&d->lock);
    return r;
}
