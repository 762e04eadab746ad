/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* How buffers come to other processes; a part of <dmabufd.h>, which includes it: include that. */
#ifndef DMABUFD_SHARING_H
#define DMABUFD_SHARING_H

#include <stddef.h>
#include <stdint.h>

#include <dmabufd.h>

#ifdef __cplusplus
extern "C" {
#endif

/** Longest name that a buffer can be published under, bytes. */
#define DMABUFD_NAME_MAX 63

/** Any user, as the owner of a name; and the caller's own group, as the group of one. */
#define DMABUFD_OWNER_ANY UINT32_C(0xffffffff)
#define DMABUFD_GROUP_OWN UINT32_C(0xffffffff)

/** struct dmabufd_name_info - a line of dmabufd_names() */
struct dmabufd_name_info {
    char name[DMABUFD_NAME_MAX + 1];
    uint64_t id;      /**< of the buffer */
    uint64_t size;    /**< bytes */
    uint32_t owner;   /**< user that published it */
    uint32_t group;   /**< whose members have the permissions of the group */
    uint32_t mode;    /**< permissions, as of a file */
    uint32_t holders; /**< connections that hold the buffer */
};

/**
 * dmabufd_share() - a descriptor of the buffer that cannot be written through
 * @buffer: not one of dmabufd_register()
 * @ret_fd: receives the descriptor, close-on-exec, the caller's: pass it to another process, which
 *          becomes a holder with dmabufd_lookup() and maps the memory readable, and close it
 *
 * Protects from processes, not from devices: whoever is told an address can have a device that it owns
 * write there. Does not protect from root, from a daemon's own user if that is not root, nor from
 * whoever may use /dev/iommu or /dev/udmabuf, which pin memory without asking how it is open.
 *
 * Return: 0; -EOPNOTSUPP: the program made the memory, and could change what others may do with it;
 * -EMFILE: the daemon's limit, or no descriptor free here; -EIO; -ENOTCONN; -EPROTO.
 */
int dmabufd_share(const dmabufd_buffer *buffer, int *ret_fd);

/**
 * dmabufd_publish() - give a buffer a name by which other processes find it
 * @buffer: not one of dmabufd_register()
 * @name: 1 to DMABUFD_NAME_MAX bytes of A-Z a-z 0-9 . _ / -, not beginning with /
 * @mode: who may open it, as of a file: 0600 this user, 0660 its group too, 0644 others for reading
 *        only; at most 0666, and without writing if this buffer is DMABUFD_READ_ONLY
 * @group: one that this user is a member of, or DMABUFD_GROUP_OWN
 *
 * This user becomes the owner of the name. The name keeps nothing alive: it lasts as long as anybody
 * holds the buffer, also when this process is gone, or until dmabufd_unpublish(). A buffer can have
 * several names; a name is one buffer, for all users of the daemon.
 *
 * Return: 0; -EINVAL: name or mode; -EEXIST: the name is taken; -EPERM: not a member of the group;
 * -EACCES: read-only, and the mode lets somebody write; -EOPNOTSUPP: registered memory; -EMFILE: this
 * user, or all together, have as many names as they may; -ENOTCONN; -EPROTO.
 */
int dmabufd_publish(const dmabufd_buffer *buffer, const char *name, uint32_t mode, uint32_t group);

/**
 * dmabufd_open() - become a holder of a buffer by its name
 * @access: DMABUFD_READ_WRITE or DMABUFD_READ_ONLY
 * @owner: user that must have published it, or DMABUFD_OWNER_ANY. Any user can be the first to take a
 *         name: state whom you trust with your data
 * @ret: receives the buffer; end it with dmabufd_free()
 *
 * Return: 0; -ENOENT: there is no such name, or none that this user may open, which is not told apart;
 * -EACCES: this user may open it for reading only; -EPERM: published by somebody else than @owner;
 * -EINVAL: name or access; -ENXIO, -EMFILE, -ENOMEM, -EOPNOTSUPP, -ENOTCONN, -EPROTO: as
 * dmabufd_lookup() and dmabufd_share().
 */
int dmabufd_open(dmabufd *d, const char *name, enum dmabufd_access access, uint32_t owner,
                 dmabufd_buffer **ret);

/**
 * dmabufd_unpublish() - take a name back
 *
 * Those who hold the buffer keep it.
 *
 * Return: 0; -ENOENT: there is no such name, or none that this user may open; -EPERM: another user
 * published it; -EINVAL; -ENOTCONN; -EPROTO.
 */
int dmabufd_unpublish(dmabufd *d, const char *name);

/**
 * dmabufd_names() - the names that this user may open or owns, in the order of strcmp()
 * @ret_list: malloc'ed array, free() it; NULL if there is none
 * @ret_count: entries
 * Return: 0; -ENOTCONN; -EPROTO; -ENOMEM.
 */
int dmabufd_names(dmabufd *d, struct dmabufd_name_info **ret_list, size_t *ret_count);

#ifdef __cplusplus
}
#endif

#endif
