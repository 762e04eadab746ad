/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers of the protocol that both sides rely on; explained in dmabufd.proto. */
#ifndef PROTO_LIMITS_H
#define PROTO_LIMITS_H

#include <stdint.h>

#define PROTO_VERSION 1U

/** Bits of HelloRequest.features. */
#define PROTO_FEATURE_EVENTS UINT64_C(1)

/** Largest datagram from a client, bytes. */
#define PROTO_REQUEST_MAX 4096U
/** Largest datagram to a client, bytes. */
#define PROTO_REPLY_MAX 16384U
/** Most fds in one datagram, either way. */
#define PROTO_FDS_MAX 4U

/** Requests of one connection that may wait for their reply. */
#define PROTO_IN_FLIGHT_MAX 64U
/** Scatter lists up to this many spans travel inside the message. */
#define PROTO_SPANS_INLINE_MAX 32U
/** Entries in one page of a list. */
#define PROTO_LIST_PAGE 32U
/** Longest name of a buffer, bytes. */
#define PROTO_NAME_MAX 63U
/** Names in one page of a list of them. */
#define PROTO_NAMES_PAGE 16U
/** Names that there can be at once. */
#define PROTO_NAMES_MAX 4096U
/** Memfds that a buffer can be assembled from. */
#define PROTO_CHUNKS_MAX 250U
/** Sizes of memfds and of runs that the pool tells apart: 2 MiB << i. */
#define PROTO_POOL_CLASSES 10U
#define PROTO_POOL_RUNS    24U
/** Cells in the picture of the pool. */
#define PROTO_POOL_CELLS 512U
/** Longest HelloRequest.program, bytes. */
#define PROTO_PROGRAM_MAX 64U

#define PROTO_DEFAULT_SOCKET "/run/dmabufd/dmabufd.sock"
#define PROTO_SOCKET_ENV     "DMABUFD_SOCKET"

#endif
