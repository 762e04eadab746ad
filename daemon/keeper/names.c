/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The table of names; see names.h. */
#include "daemon/keeper/names.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#define MODE_MAX 0666U
#define WRITERS  0222U

void names_init(struct names *names, uint32_t limit)
{
    *names = (struct names){ .limit = limit };
}

void names_deinit(struct names *names)
{
    free(names->sorted);
    *names = (struct names){ 0 };
}

/* Index of the first name that is not before @text. */
static uint32_t position(const struct names *names, const char *text)
{
    uint32_t low = 0, high = names->count;

    while (low < high) {
        uint32_t middle = low + (high - low) / 2;

        if (strcmp(names->sorted[middle]->text, text) < 0)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static struct name *find(const struct names *names, const char *text)
{
    uint32_t at = position(names, text);

    if (at < names->count && strcmp(names->sorted[at]->text, text) == 0)
        return names->sorted[at];
    return NULL;
}

static uint32_t permissions(const struct identity *who, const struct name *name)
{
    return identity_permissions(who, name->owner, name->group, name->mode);
}

static bool is_owner(const struct identity *who, const struct name *name)
{
    return who->uid == 0 || who->uid == name->owner;
}

static int check_text(const char *text, struct fault *fault)
{
    static const char allowed[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "0123456789._/-";
    size_t length = strnlen(text, PROTO_NAME_MAX + 1);

    if (length == 0 || length > PROTO_NAME_MAX || strspn(text, allowed) != length || *text == '/')
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "a name has 1 to %u letters, digits or . _ / - and does not begin with /",
                         PROTO_NAME_MAX);
    return 0;
}

static int check_rights(const struct identity *who, const struct buffer *buffer,
                        enum dmabufd_access access, uint32_t group, uint32_t mode,
                        struct fault *fault)
{
    if (mode & ~MODE_MAX)
        return fault_set(fault, DMABUFD_CODE_INVALID, EINVAL,
                         "mode %#o: a name has permissions to read and to write, at most 0666",
                         mode);
    if (buffer->registered)
        return fault_set(fault, DMABUFD_CODE_UNSUPPORTED, EOPNOTSUPP,
                         "memory that a client registered cannot be published: pass its memfd on, "
                         "or publish a buffer that the daemon allocated");
    if (access != DMABUFD_READ_WRITE && (mode & WRITERS))
        return fault_set(fault, DMABUFD_CODE_DENIED, EACCES,
                         "mode %#o: this client holds the buffer for reading only, and can let "
                         "nobody write: at most 0444",
                         mode);
    if (who->uid != 0 && identity_in_group(who, group) != IDENTITY_INSIDE)
        return fault_set(fault, DMABUFD_CODE_DENIED, EPERM,
                         "group %u: the publisher was no member of it when it connected", group);
    return 0;
}

static int grow(struct names *names, struct fault *fault)
{
    uint32_t capacity = names->capacity ? names->capacity * 2 : 16;
    struct name **grown;

    if (names->count < names->capacity)
        return 0;
    grown = reallocarray(names->sorted, capacity, sizeof(*grown));
    if (!grown)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    names->sorted = grown;
    names->capacity = capacity;
    return 0;
}

static int insert(struct names *names, const struct name *new, struct fault *fault)
{
    uint32_t at = position(names, new->text);
    struct name *name;
    int r = grow(names, fault);

    if (r < 0)
        return r;
    name = malloc(sizeof(*name));
    if (!name)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "the daemon is out of memory");
    *name = *new;
    quota_again(name->user);
    memmove(names->sorted + at + 1, names->sorted + at, (names->count - at) * sizeof(name));
    names->sorted[at] = name;
    names->count++;
    LIST_INSERT_HEAD(&name->buffer->names, name, link);
    return 0;
}

static int add(struct names *names, const struct name *name, struct fault *fault)
{
    if (names->count >= names->limit)
        return fault_set(fault, DMABUFD_CODE_LIMIT, EMFILE,
                         "%u names are published, the daemon's limit: unpublish some",
                         names->count);
    if (find(names, name->text))
        return fault_set(fault, DMABUFD_CODE_NAME_TAKEN, EEXIST,
                         "the name %s is taken: choose another, or let its owner unpublish it",
                         name->text);
    return insert(names, name, fault);
}

int names_publish(struct names *names, const struct identity *who, struct quota_user *user,
                  struct buffer *buffer, enum dmabufd_access access,
                  const struct names_publication *publication, struct fault *fault)
{
    struct name name = {
        .owner = who->uid,
        .group = publication->group == UINT32_MAX ? who->gid : publication->group,
        .mode = publication->mode,
        .user = user,
        .buffer = buffer,
    };
    int r = check_text(publication->text, fault);

    if (r == 0)
        r = check_rights(who, buffer, access, name.group, name.mode, fault);
    if (r == 0)
        r = quota_charge(user, QUOTA_NAMES, 1, fault);
    if (r < 0)
        return r;
    memcpy(name.text, publication->text, strlen(publication->text) + 1);
    r = add(names, &name, fault);
    if (r < 0)
        quota_release(user, QUOTA_NAMES, 1);
    return r;
}

static int no_such_name(struct fault *fault)
{
    return fault_set(fault, DMABUFD_CODE_NO_NAME, ENOENT,
                     "no buffer is published under this name, or none that this user may open");
}

int names_open(const struct names *names, const struct identity *who, const char *text,
               enum dmabufd_access access, uint32_t owner, struct name **ret, struct fault *fault)
{
    struct name *name = find(names, text);
    uint32_t may = name ? permissions(who, name) : 0;

    if (!(may & IDENTITY_READ))
        return no_such_name(fault);
    if (owner != UINT32_MAX && name->owner != owner)
        return fault_set(fault, DMABUFD_CODE_DENIED, EPERM,
                         "user %u published %s, and user %u was expected to", name->owner,
                         name->text, owner);
    if (access == DMABUFD_READ_WRITE && !(may & IDENTITY_WRITE))
        return fault_set(fault, DMABUFD_CODE_DENIED, EACCES,
                         "%s (mode %04o) may be opened for reading only by this user", name->text,
                         name->mode);
    *ret = name;
    return 0;
}

const struct name *names_next(const struct names *names, const struct identity *who,
                              const char *after)
{
    uint32_t at = position(names, after);

    if (at < names->count && strcmp(names->sorted[at]->text, after) == 0)
        at++;
    for (; at < names->count; at++) {
        const struct name *name = names->sorted[at];

        if ((permissions(who, name) & IDENTITY_READ) || is_owner(who, name))
            return name;
    }
    return NULL;
}

static void remove_name(struct names *names, struct name *name)
{
    uint32_t at = position(names, name->text);

    quota_release(name->user, QUOTA_NAMES, 1);
    quota_leave(name->user);
    LIST_REMOVE(name, link);
    names->count--;
    memmove(names->sorted + at, names->sorted + at + 1, (names->count - at) * sizeof(name));
    free(name);
}

int names_withdraw(struct names *names, const struct identity *who, const char *text,
                   struct fault *fault)
{
    struct name *name = find(names, text);

    if (!name || (!(permissions(who, name) & IDENTITY_READ) && !is_owner(who, name)))
        return no_such_name(fault);
    if (!is_owner(who, name))
        return fault_set(fault, DMABUFD_CODE_DENIED, EPERM,
                         "user %u published %s: only that user and root can unpublish it",
                         name->owner, name->text);
    remove_name(names, name);
    return 0;
}

void names_forget(struct names *names, struct buffer *buffer)
{
    struct name *name;

    while ((name = LIST_FIRST(&buffer->names)))
        remove_name(names, name);
}
