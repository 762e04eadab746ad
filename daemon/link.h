/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Link: the messages between the broker, which talks to clients and has no privilege, and the
 * keeper, which has the privilege and everything that exists.
 *
 * Fixed-size structs, no protobuf, so that the keeper's parser is a size comparison. The keeper
 * checks every field as if the broker were compromised (keeper/service.c); the broker trusts the
 * keeper. Both come from one binary: the layout has no version.
 *
 * The broker sends struct link_request; each op below that speaks of a reply is answered by one struct
 * link_reply with the same tag, in any order.
 *
 * The other way around, the keeper asks whether the broker's event loop still turns: a link_reply with
 * op LINK_PING, which answers nothing, and the broker returns its tag in a link_request with that op.
 */
#ifndef DAEMON_LINK_H
#define DAEMON_LINK_H

#include <stdint.h>

#include "common/dmabufd-types.h"
#include "common/fault.h"
#include "proto/limits.h"

/** Clients the daemon can be configured to serve at once. */
#define LINK_CLIENTS_MAX 16384U
/** Connections beyond that which the broker keeps for as long as it takes to refuse them well. */
#define LINK_CLIENTS_SPARE 64U

/** Replies that may wait on the keeper's side before it stops reading requests. */
#define LINK_QUEUE_MAX 1024U

/** Supplementary groups of a client that the keeper is told of, and how many in a message. */
#define LINK_GROUPS_MAX   256U
#define LINK_GROUPS_CHUNK 16U

/** Descriptors that the keeper gives to a broker it starts. */
#define LINK_FD        3
#define LINK_LISTEN_FD 4

enum link_op {
    LINK_READY = 1,        /* the broker accepts clients from now on */
    LINK_CLIENT_NEW = 2,   /* u.peer */
    LINK_CLIENT_GONE = 3,  /* everything it held is to be released */
    LINK_ALLOC = 4,        /* u.alloc; reply: u.buffer, fds [memfd (table)] */
    LINK_FREE = 5,         /* u.buffer; reply: nothing in u */
    LINK_LOOKUP = 6,       /* one fd; reply: u.buffer, fds [(table)] */
    LINK_LIST = 7,         /* u.after; reply: u.list */
    LINK_STATUS = 8,       /* reply: u.status */
    LINK_REGISTER = 9,     /* u.registration, one fd; reply: u.buffer, fds [(table)] */
    LINK_PING = 10,        /* both ways; tag: the keeper's */
    LINK_SHARE = 20,       /* u.buffer; reply: fds [read-only memfd] */
    LINK_PUBLISH = 21,     /* u.publication; reply: nothing in u */
    LINK_OPEN = 22,        /* u.opening; reply: u.buffer, fds [memfd (table)] */
    LINK_NAMES = 23,       /* u.name, the last one known; reply: u.names */
    LINK_UNPUBLISH = 24,   /* u.name; reply: nothing in u */
    LINK_GROUPS = 25,      /* u.groups, between LINK_CLIENT_NEW and the first request */
    LINK_CHUNKS = 30,      /* u.chunks; reply: fds [1 to PROTO_FDS_MAX memfds] */
    LINK_POOL = 31,        /* u.pool_set; reply: u.pool */
    LINK_POOL_RESIZE = 32, /* u.pool_size; reply: u.pool */
    LINK_POOL_MAP = 33,    /* reply: u.pool_map */
    LINK_OP_END
};

/** What the keeper says unasked: a struct link_reply with this op, tag 0 and nothing else. */
enum link_notice {
    LINK_ENDING = 1000, /* tell the clients, and exit */
};

struct link_peer {
    uint32_t pid;
    uint32_t uid;
    uint32_t gid;
    uint32_t reserved;
};

struct link_groups {
    uint32_t count;
    uint32_t cut; /* the client has more groups than LINK_GROUPS_MAX */
    uint32_t gid[LINK_GROUPS_CHUNK];
};

/** A name in a message ends with a zero byte. */
struct link_name {
    char text[PROTO_NAME_MAX + 1];
};

struct link_publication {
    uint64_t buffer;
    uint32_t group; /* UINT32_MAX: the client's own */
    uint32_t mode;
    struct link_name name;
};

struct link_opening {
    uint32_t access; /* enum dmabufd_access */
    uint32_t owner;  /* UINT32_MAX: anybody */
    struct link_name name;
};

struct link_alloc {
    uint64_t size;      /* bytes, as the client asked */
    uint64_t page_size; /* bytes, 0: the keeper chooses */
    struct dmabufd_constraints constraints;
};

struct link_registration {
    uint64_t offset; /* bytes */
    uint64_t size;   /* bytes */
    struct dmabufd_constraints constraints;
};

struct link_chunks {
    uint64_t buffer;
    uint32_t first;
    uint32_t reserved;
};

struct link_pool_size {
    uint64_t page_size;
    uint64_t pages;
    uint32_t node;
    uint32_t reserved;
};

struct link_request {
    uint32_t op;
    uint32_t reserved;
    uint64_t tag;    /* the broker's */
    uint64_t client; /* id in the broker's table, unique for the broker's life */
    union {
        struct link_peer peer;
        struct link_alloc alloc;
        struct link_registration registration;
        uint64_t buffer;
        uint64_t after;
        struct link_groups groups;
        struct link_publication publication;
        struct link_opening opening;
        struct link_name name;
        struct link_chunks chunks;
        struct link_pool_size pool_size;
        uint32_t pool_set;
    } u;
};

struct link_buffer {
    uint64_t id;
    uint64_t size;
    uint64_t page_size;
    uint64_t nodes;       /* bit n: some of it is on NUMA node n; 0: not known */
    uint32_t mode;        /* enum dmabufd_address_mode */
    uint32_t pin;         /* enum dmabufd_pin */
    uint32_t span_count;  /* the list is inline up to PROTO_SPANS_INLINE_MAX, else the last fd */
    uint32_t access;      /* enum dmabufd_access, of the descriptor */
    uint32_t chunk_count; /* 0: one memfd; else the memfd is a token */
    uint32_t reserved;
    struct dmabufd_span spans[PROTO_SPANS_INLINE_MAX];
};

struct link_list_entry {
    uint64_t id;
    uint64_t size;
    uint64_t page_size;
    uint32_t span_count;
    uint32_t holds;
    uint32_t holders;
    uint32_t access; /* enum dmabufd_access, of this client */
};

struct link_list {
    uint64_t next;
    uint32_t count;
    uint32_t reserved;
    struct link_list_entry entries[PROTO_LIST_PAGE];
};

struct link_names_entry {
    struct link_name name;
    uint64_t buffer;
    uint64_t size;
    uint32_t owner;
    uint32_t group;
    uint32_t mode;
    uint32_t holders;
};

struct link_names {
    uint32_t count;
    uint32_t more; /* there are more after the last of these */
    struct link_names_entry entries[PROTO_NAMES_PAGE];
};

struct link_status {
    uint32_t clients;
    uint32_t buffers;
    uint64_t bytes;
    uint64_t huge_bytes;
    uint32_t pinned;
    uint32_t jobs;
    uint32_t broker_starts;
    uint32_t reserved;
    uint64_t uptime_ns;
    uint64_t unreleasable_bytes;
};

/** A set of the pool, as in PoolReply. */
struct link_pool {
    uint32_t set_count;
    uint32_t set;
    uint64_t page_size;
    uint64_t target;
    uint64_t ready;
    uint64_t largest_run;
    uint64_t grants;
    uint64_t misses;
    uint64_t refilled;
    uint32_t node;
    uint32_t refilling;
    uint32_t runs[PROTO_POOL_RUNS];
    uint32_t files[PROTO_POOL_CLASSES];
};

struct link_pool_map {
    uint64_t cell;
    uint32_t count;
    uint32_t reserved;
    uint8_t ready[PROTO_POOL_CELLS];
    uint8_t held[PROTO_POOL_CELLS];
};

struct link_reply {
    uint32_t op;   /* of the request */
    int32_t error; /* positive errno, 0: success and u is valid */
    uint64_t tag;
    union {
        struct fault fault; /* with error != 0 */
        struct link_buffer buffer;
        struct link_list list;
        struct link_names names;
        struct link_status status;
        struct link_pool pool;
        struct link_pool_map pool_map;
    } u;
};

/** What a broker needs to know of the keeper's backend; handed over
 *  as the first datagram on the link, before anything else. */
struct link_welcome {
    uint32_t mode;
    uint32_t pin;
    uint64_t page_sizes[4];
    uint64_t max_size;
    uint32_t max_clients;
    uint32_t max_clients_per_user;
    uint32_t max_buffers;
    uint32_t debug;
    uint32_t drop_uid; /* to become; UINT32_MAX: stay who we are (not started as root) */
    uint32_t drop_gid;
    char backend[16];
    char backend_reason[FAULT_TEXT_MAX];
};

#endif
