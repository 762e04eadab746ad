/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Numbers and sizes; see parse.h. */
#include "common/parse.h"

#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* strtoull() takes signs and blanks, which no size has. */
static int leading_number(const char *text, int base, uint64_t *ret, const char **ret_end)
{
    char *end;

    if (!isdigit((unsigned char)*text))
        return -EINVAL;
    errno = 0;
    *ret = strtoull(text, &end, base);
    *ret_end = end;
    return errno ? -ERANGE : 0;
}

static int bounded_number(const char *text, int base, uint64_t min, uint64_t max, uint64_t *ret)
{
    const char *end;
    uint64_t value;
    int r = leading_number(text, base, &value, &end);

    if (r < 0)
        return r;
    if (*end)
        return -EINVAL;
    if (value < min || value > max)
        return -ERANGE;
    *ret = value;
    return 0;
}

int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret)
{
    return bounded_number(text, 10, min, max, ret);
}

int parse_mode(const char *text, uint32_t max, uint32_t *ret)
{
    uint64_t value;
    int r = bounded_number(text, 8, 0, max, &value);

    if (r == 0)
        *ret = (uint32_t)value;
    return r;
}

int parse_size(const char *text, uint64_t *ret)
{
    static const char suffixes[] = "KMGT";
    const char *end, *suffix;
    uint64_t value;
    unsigned int shift = 0;
    int r = leading_number(text, 10, &value, &end);

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
