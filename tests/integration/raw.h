/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Raw: the protocol spoken by hand, for what no library would send: broken messages, requests that
 * are pipelined and never answered for, descriptors where none belong.
 *
 * It asserts nothing, so that child processes can use it: functions say how it went. Nothing here
 * blocks for longer than 20 s.
 */
#ifndef TESTS_RAW_H
#define TESTS_RAW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "proto/message.h"

/** Most descriptors that the kernel puts in one message. */
#define RAW_FDS_MAX 253U

/** A message of the daemon. */
struct raw_reply {
    struct message_arena arena;
    const proto_reply *message; /* in the arena */
    size_t size;                /* bytes it had */
    struct wire_fds fds;        /* the caller's */
};

/** raw_connect() - to $DMABUFD_SOCKET, nothing said yet. Return: the socket or a negative errno. */
int raw_connect(void);

/** raw_greeted() - the same, and HELLO was answered. Return: the socket or a negative errno. */
int raw_greeted(void);

/**
 * raw_send() - a datagram of any bytes, also none, with @fd attached @fd_count times
 * Return: 0 or a negative errno.
 */
int raw_send(int sock, const void *bytes, size_t size, int fd, size_t fd_count);

/** raw_pack() - encode; @out has PROTO_REQUEST_MAX bytes. Return: length. */
size_t raw_pack(const proto_request *request, void *out);

/** Requests as bytes; @out as above. Return: length. */
size_t raw_hello(void *out, uint64_t id, uint32_t min, uint32_t max, const char *program);
size_t raw_allocate(void *out, uint64_t id, uint64_t size, uint64_t page_size);
size_t raw_free(void *out, uint64_t id, uint64_t buffer);
size_t raw_lookup(void *out, uint64_t id);
size_t raw_list(void *out, uint64_t id, uint64_t after);
size_t raw_status(void *out, uint64_t id);
size_t raw_register(void *out, uint64_t id, uint64_t size);
size_t raw_share(void *out, uint64_t id, uint64_t buffer);
size_t raw_publish(void *out, uint64_t id, uint64_t buffer, const char *name, uint32_t mode);
size_t raw_open(void *out, uint64_t id, const char *name, uint32_t access);
size_t raw_names(void *out, uint64_t id, const char *after);
size_t raw_unpublish(void *out, uint64_t id, const char *name);
size_t raw_chunks(void *out, uint64_t id, uint64_t buffer, uint32_t first);
size_t raw_pool(void *out, uint64_t id, uint32_t set);
size_t raw_pool_resize(void *out, uint64_t id, uint64_t page_size, uint32_t node, uint64_t pages);
size_t raw_pool_map(void *out, uint64_t id);

/** Requests, packed and sent. Return: 0 or a negative errno. */
int raw_send_allocate(int sock, uint64_t id, uint64_t size);
int raw_send_free(int sock, uint64_t id, uint64_t buffer);
int raw_send_lookup(int sock, uint64_t id, int fd);
int raw_send_status(int sock, uint64_t id);

/**
 * raw_receive() - the next message
 * Return: 1; 0 when the daemon has ended the connection; -EBADMSG if it does not decode; -EAGAIN
 * after 20 s without any; or another negative errno.
 */
int raw_receive(int sock, struct raw_reply *ret);

/** raw_is_error() - whether that is the refusal of request @id with this code and errno. */
bool raw_is_error(const struct raw_reply *reply, uint64_t id, int code, int error);

/** raw_ended() - the daemon ends the connection, and says nothing before. */
bool raw_ended(int sock);

/** raw_works() - the daemon answers a StatusRequest with this id. */
bool raw_works(int sock, uint64_t id);

/** raw_random() - the next number of a sequence (splitmix64). */
uint64_t raw_random(uint64_t *state);

#endif
