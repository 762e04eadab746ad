/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Rig: the keeper's service with its workers in this process, and the broker's end of its link in
 * the hands of a test or of a fuzzer. No test framework in here; what cannot be set up ends the
 * program.
 */
#ifndef UNIT_RIG_H
#define UNIT_RIG_H

#include <stdbool.h>
#include <stddef.h>

#include "daemon/keeper/service.h"
#include "daemon/link.h"

struct rig {
    struct event_base *base;
    struct backend *backend;
    struct memory memory;
    struct service service;
    int broker; /* non-blocking */
    bool ended; /* the keeper's end of the link, for this reason: */
    int end_error;
    unsigned int idle; /* how often the service said so */
};

/**
 * rig_open() - start everything
 * @backend: the rig's from now on
 */
void rig_open(struct rig *rig, struct backend *backend, uint32_t max_clients, uint32_t max_buffers);

/** rig_fake() - the fake backend with a script. */
struct backend *rig_fake(const char *script);

/** rig_close() - end the broker, release all, stop. Return: whether nothing was left behind. */
bool rig_close(struct rig *rig);

/** rig_end_broker() - as when the broker's process ends: everything is released. */
void rig_end_broker(struct rig *rig);

/** rig_start_broker() - the next one, with a new link. */
void rig_start_broker(struct rig *rig);

/** rig_pump() - let the keeper do what it can without waiting. */
void rig_pump(struct rig *rig);

/** rig_await_worker() - until a worker has something to report, which stays unread. */
bool rig_await_worker(struct rig *rig);

/** rig_settle() - until no job is under way. Return: false if that takes seconds. */
bool rig_settle(struct rig *rig);

/** rig_await() - until that is so. Return: false if it takes seconds. */
bool rig_await(struct rig *rig, bool (*come)(void *data), void *data);

/** rig_send() - a message over the link, with this descriptor or -1 for none, which stays ours. */
int rig_send(struct rig *rig, const void *bytes, size_t size, int fd);

/** rig_receive() - the next reply. Return: false if none comes within seconds, or the link ended. */
bool rig_receive(struct rig *rig, struct link_reply *ret, struct wire_fds *ret_fds);

/**
 * rig_ask() - send a request with a tag of its own, and wait for its answer
 * @fd: as in rig_send()
 * @fds: of the reply; NULL: they are dropped
 * Return: 0 or the positive errno of the reply; -1: it is none that fits the request, or none came.
 */
int rig_ask(struct rig *rig, struct link_request *request, int fd, struct link_reply *reply,
            struct wire_fds *fds);

/** rig_drain() - pump, and throw away all replies that are there. Return: how many. */
size_t rig_drain(struct rig *rig);

/** rig_memory() - a memfd as a client makes one to register: so many bytes written, sealed. */
int rig_memory(size_t size);

/** rig_empty() - nothing exists: no client, buffer, ready memory, job, charge. */
bool rig_empty(const struct rig *rig);

#endif
