/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Users and groups by name or number; see ctl-ids.h. */
#include "client/ctl-ids.h"

#include <grp.h>
#include <inttypes.h>
#include <pwd.h>
#include <stdio.h>

#include "common/parse.h"

static int parse_id(const char *text, uint32_t *ret)
{
    uint64_t number;

    if (parse_number(text, 0, UINT32_MAX - 1, &number) < 0)
        return -1;
    *ret = (uint32_t)number;
    return 0;
}

int parse_user(const char *text, uint32_t *ret)
{
    const struct passwd *pw = getpwnam(text);

    if (!pw)
        return parse_id(text, ret);
    *ret = pw->pw_uid;
    return 0;
}

int parse_group(const char *text, uint32_t *ret)
{
    const struct group *gr = getgrnam(text);

    if (!gr)
        return parse_id(text, ret);
    *ret = gr->gr_gid;
    return 0;
}

static struct id_text text_of(const char *name, uint32_t id)
{
    struct id_text ret;

    if (name)
        snprintf(ret.text, sizeof(ret.text), "%s", name);
    else
        snprintf(ret.text, sizeof(ret.text), "%" PRIu32, id);
    return ret;
}

struct id_text user_text(uint32_t uid)
{
    const struct passwd *pw = getpwuid(uid);

    return text_of(pw ? pw->pw_name : NULL, uid);
}

struct id_text group_text(uint32_t gid)
{
    const struct group *gr = getgrgid(gid);

    return text_of(gr ? gr->gr_name : NULL, gid);
}
