/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Users and groups as people write and read them: by name, or by number where there is none. */
#ifndef CLIENT_CTL_IDS_H
#define CLIENT_CTL_IDS_H

#include <stdint.h>

#define ID_TEXT_MAX 33

/** parse_user(), parse_group() - Return: 0; -1: there is none, and it is no number of one. */
int parse_user(const char *text, uint32_t *ret);
int parse_group(const char *text, uint32_t *ret);

/** A user or a group in text. */
struct id_text {
    char text[ID_TEXT_MAX];
};

struct id_text user_text(uint32_t uid);
struct id_text group_text(uint32_t gid);

#endif
