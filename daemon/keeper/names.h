/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Names: buffers that processes find by a name instead of by a descriptor. A name has an owner, a
 * group and a mode, as a file has.
 *
 * A name holds nothing: it ends with its buffer, that is, with the last holder. Whom a buffer's name
 * lets in is decided here; what the one let in then holds is the store's. Main thread only.
 *
 * Who may not open a name is told the same as if there were none. Only who publishes learns, as in a
 * folder that everybody may write to, that a name is taken.
 */
#ifndef KEEPER_NAMES_H
#define KEEPER_NAMES_H

#include <stdint.h>
#include <sys/queue.h>

#include "common/fault.h"
#include "daemon/keeper/buffer.h"
#include "daemon/keeper/identity.h"
#include "daemon/keeper/quota.h"
#include "proto/limits.h"

struct name {
    char text[PROTO_NAME_MAX + 1];
    uint32_t owner;
    uint32_t group;
    uint32_t mode;
    struct quota_user *user; /* the owner, charged */
    struct buffer *buffer;
    LIST_ENTRY(name) link; /* buffer::names */
};

struct names {
    uint32_t limit;
    uint32_t count;
    uint32_t capacity;
    struct name **sorted; /* by strcmp() */
};

/** What is published; as a client asked, nothing of it checked. */
struct names_publication {
    const char *text;
    uint32_t group; /* UINT32_MAX: the publisher's own */
    uint32_t mode;
};

/** names_init() - an empty table for so many. */
void names_init(struct names *names, uint32_t limit);

/** names_deinit() - free an empty table; allowed on a zeroed struct. */
void names_deinit(struct names *names);

/**
 * names_publish() - give a buffer a name
 * @who: the publisher, who becomes the owner
 * @user: the same, charged
 * @access: what the publisher may do with the buffer, and so the most that the mode may permit
 *
 * Return: 0; -EINVAL the name or the mode; -EPERM a group of which the publisher is no member;
 * -EACCES a mode with writing of a buffer held for reading; -EOPNOTSUPP memory that a client made;
 * -EEXIST; -EMFILE at a limit; -ENOMEM; with @fault.
 */
int names_publish(struct names *names, const struct identity *who, struct quota_user *user,
                  struct buffer *buffer, enum dmabufd_access access,
                  const struct names_publication *publication, struct fault *fault);

/**
 * names_open() - the name if @who may open it like that
 * @owner: who must have published it; UINT32_MAX: anybody
 * Return: 0; -ENOENT there is none, or none for @who; -EACCES only for reading; -EPERM another owner;
 * with @fault.
 */
int names_open(const struct names *names, const struct identity *who, const char *text,
               enum dmabufd_access access, uint32_t owner, struct name **ret, struct fault *fault);

/**
 * names_next() - the first name behind @after that @who may open in some way, or owns
 * @after: "" to begin; it need not exist any more
 * Return: NULL at the end.
 */
const struct name *names_next(const struct names *names, const struct identity *who,
                              const char *after);

/** names_withdraw() - take a name back. Return: 0; -ENOENT; -EPERM not the owner; with @fault. */
int names_withdraw(struct names *names, const struct identity *who, const char *text,
                   struct fault *fault);

/** names_forget() - the buffer ends, and all its names with it. */
void names_forget(struct names *names, struct buffer *buffer);

#endif
