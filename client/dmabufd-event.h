/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What happens to a connection unasked; a part of <dmabufd.h>, which includes it: include that. */
#ifndef DMABUFD_EVENT_H
#define DMABUFD_EVENT_H

#include <stddef.h>
#include <stdint.h>

#include <dmabufd.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Events: what happens to a connection that no call asked for. A program that does not want to know
 * need not do anything: its calls fail with -ENOTCONN then.
 */

/** What happened. There may be more kinds in the future: ignore what you do not know. */
enum dmabufd_event_kind {
    /** The daemon is being stopped and will end the connection, at once or nearly so: stop devices.
     *  It may be lost without this. */
    DMABUFD_EVENT_ENDING = 1,
    /** The connection has ended. The daemon, or the kernel on its behalf, unpins what was held through
     *  it. There is one for each connection; make another connection to go on. */
    DMABUFD_EVENT_LOST = 2,
    /** A buffer is revoked: its addresses may belong to other memory by now, and no device may use
     *  them. It does not translate any more. Its memory is this process's as before; free it with
     *  dmabufd_free(). After LOST, one for each buffer, those of heaps too. */
    DMABUFD_EVENT_REVOKED = 3,
};

/** struct dmabufd_event - begin with DMABUFD_EVENT_INIT */
struct dmabufd_event {
    size_t size; /**< of this struct: what the caller knows of */
    enum dmabufd_event_kind kind;
    uint64_t buffer;    /**< REVOKED: dmabufd_buffer_id() of it, else 0 */
    void *data;         /**< REVOKED: dmabufd_buffer_data() of it, else NULL */
    uint64_t data_size; /**< REVOKED: dmabufd_buffer_size() of it, else 0 */
    const char *reason; /**< a sentence, never NULL; valid until dmabufd_disconnect() */
};

/* No kind yet, without what the compiler of the other language warns of. */
#ifdef __cplusplus
#define DMABUFD_EVENT_NOTHING static_cast<enum dmabufd_event_kind>(0)
#else
#define DMABUFD_EVENT_NOTHING (enum dmabufd_event_kind)0
#endif

#define DMABUFD_EVENT_INIT                                                  \
    {                                                                       \
        sizeof(struct dmabufd_event), DMABUFD_EVENT_NOTHING, 0, NULL, 0, "" \
    }

/**
 * dmabufd_event_fd() - a descriptor to poll(2) for events
 *
 * It is readable (POLLIN) while dmabufd_dispatch() has something to tell or to look at; that is not
 * always an event, because replies to calls of other threads come the same way. Do nothing else
 * with it: it stays the library's, is closed by dmabufd_disconnect(), and in a child after fork().
 * Each call on a connection returns the same one. One that was told everything is not readable.
 *
 * Return: the descriptor, close-on-exec; -EMFILE, -ENFILE or -ENOMEM; -ENOTCONN: this is a child.
 */
int dmabufd_event_fd(dmabufd *d);

/**
 * dmabufd_dispatch() - take note of what the daemon sent, and of the next event
 * @ret: its size is set; the rest is filled in, as far as the caller knows it, if there is one
 *
 *     struct dmabufd_event event = DMABUFD_EVENT_INIT;
 *
 *     while (dmabufd_dispatch(d, &event) > 0)
 *         if (event.kind == DMABUFD_EVENT_ENDING || event.kind == DMABUFD_EVENT_REVOKED)
 *             stop_devices();
 *
 * Never waits, nor needs dmabufd_event_fd(). The loss of a connection is noticed by this and by
 * calls that talk to the daemon, nothing else: only from then on do its buffers not translate.
 *
 * Any thread may call it at any time, also while others are in calls that wait for the daemon; each
 * event is told once, to one of them. Events come in the order ENDING, LOST, REVOKED, and after all
 * replies that the daemon sent before. A buffer that was freed before it was told of is left out.
 *
 * Return: 1: @ret is one, there may be more; 0: nothing (more) happened; -EINVAL: the size is less
 * than that of the first version; -ENOTCONN: this is a child of the process that connected.
 */
int dmabufd_dispatch(dmabufd *d, struct dmabufd_event *ret);

#ifdef __cplusplus
}
#endif

#endif
