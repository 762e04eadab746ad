/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Chunk stage: a daemon that is played here, with buffers of several memfds, and that makes every
 * mistake there is; and a kernel that cannot map, if it is told so. Asserts with cmocka. A program that
 * uses it is linked with -Wl,--wrap=mmap64.
 */
#ifndef UNIT_CHUNK_STAGE_H
#define UNIT_CHUNK_STAGE_H

#include <stdbool.h>

#include "tests/unit/fake-daemon.h"

#define PAGE      UINT64_C(4096)
#define BUFFER_ID 42
#define ADDRESS   (UINT64_C(1) << 52)
#define COUNT_MAX 12

/* What is wrong with a descriptor. */
enum defect {
    GOOD,
    UNSEALED,
    WRITE_SEALED,
    OTHER_RIGHT,
    HOLE,
    ODD_SIZE,
    EMPTY,
    TOO_LARGE,
    NO_FILE,
};

/* How the daemon plays. */
struct play {
    bool is_open; /* by name: not new, and its access is: */
    bool read_only;
    uint32_t said;  /* chunk_count of the reply; 0: as many as there are */
    uint32_t count; /* chunks */
    uint32_t pages[COUNT_MAX];
    uint32_t missing_pages; /* of the buffer, that no chunk has */
    uint32_t batch;         /* descriptors in an answer; 0: as many as fit */
    uint32_t too_many;      /* more than that, in the last answer */
    enum defect token, chunk;
    uint32_t bad;        /* which one has the defect */
    uint32_t end_at;     /* ends the connection instead of answering for this; 0: never */
    uint32_t refuse_at;  /* likewise, a refusal */
    uint32_t nothing_at; /* likewise, an answer without a descriptor */
};

struct stage {
    struct fake fake;
    struct play play;
    pthread_t thread;
    int chunks[COUNT_MAX]; /* for reading and writing */
    int given[COUNT_MAX];  /* what the client is sent of them */
    int token;
    unsigned int grants, frees;
};

/** What is on. */
extern struct stage stage;
/** The library's end. */
extern dmabufd *client;

/** stage_fail_mapping() - with ENOMEM, the one of memory with this number from now on, from 1. */
void stage_fail_mapping(int number);

/** stage_foreign() - a page that another thread mapped in the place of the one that failed. */
void *stage_foreign(void);

/** stage_mappings() - how many of this process are of chunks. */
unsigned int stage_mappings(void);

/** stage_total() - bytes of the buffer. */
uint64_t stage_total(const struct play *play);

/** stage_begin() - the library is connected, and the daemon ready to play. */
void stage_begin(const struct play *play);

/** stage_mend() - the play goes on with chunks that have no defect, and without refusals. */
void stage_mend(void);

/** stage_end() - disconnect; nothing may be left. */
void stage_end(void);

/** stage_fds() - open descriptors of this process, when the daemon is done with what it was asked. */
size_t stage_fds(void);

/** stage_ask() - alloc or open the buffer, as the play says. */
int stage_ask(dmabufd_buffer **ret);

#endif
