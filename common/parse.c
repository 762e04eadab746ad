/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers and sizes; see parse.h. */
#include "common/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* strtoull() takes signs and blanks, which no size has. */
static int leading_number(const char *text, uint64_t *ret, const char **ret_end)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    *ret = strtoull(text, &end, 10);
    *ret_end = end;
    return errno ? -ERANGE : 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t value;
    int r = leading_number(text, &value, &end);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    if (value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int parse_size(const char *text, uint64_t *ret)
{
    static const char suffixes[] = "KMGT";
    const char *end, *suffix;
    uint64_t value;
    unsigned int shift = 0;
    int r = leading_number(text, &value, &end);

    if (r < 0)
        return r;
    suffix = *end ? strchr(suffixes, toupper((unsigned char)*end)) : NULL;
    if (suffix) {
        shift = 10 * (unsigned int)(suffix - suffixes + 1);
        end++;
    }
    if (*end && strcasecmp(end, "B") != 0 && !(suffix && strcasecmp(end, "iB") == 0))
        return -EINVAL;
    if (__builtin_mul_overflow(value, UINT64_C(1) << shift, &value))
        return -ERANGE;
    *ret = value;
    return 0;
}
