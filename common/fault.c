/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Filling in the reason of a refusal; see fault.h. No logging in here. */
#include "common/fault.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

int fault_set(struct fault *fault, enum dmabufd_code code, int error, const char *format, ...)
{
    va_list args;

    if (!fault)
        return -error;
    fault->code = code;
    fault->error = error;
    va_start(args, format);
    vsnprintf(fault->text, sizeof(fault->text), format, args);
    va_end(args);
    return -error;
}

void fault_prefix(struct fault *fault, const char *format, ...)
{
    char joined[FAULT_TEXT_MAX];
    va_list args;
    size_t used;
    int n;

    if (!fault)
        return;
    va_start(args, format);
    n = vsnprintf(joined, sizeof(joined), format, args);
    va_end(args);
    if (n < 0)
        return;
    used = (size_t)n < sizeof(joined) ? (size_t)n : sizeof(joined) - 1;
    snprintf(joined + used, sizeof(joined) - used, ": %s", fault->text);
    memcpy(fault->text, joined, sizeof(joined));
}
