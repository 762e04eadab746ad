/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The one error idiom of the tree: a function that can be refused returns 0 or a negative errno,
 * and its last parameter is a struct fault that receives the code and the sentence for a person.
 *
 * The caller that cannot go on forwards the return value untouched. A fault is filled where the
 * reason is known and never rewritten on the way up; fault_prefix() may put context before it.
 */
#ifndef COMMON_FAULT_H
#define COMMON_FAULT_H

#include <stddef.h>

#include "common/dmabufd-types.h"

#define FAULT_TEXT_MAX 320

struct fault {
    enum dmabufd_code code;
    int error; /* positive errno */
    char text[FAULT_TEXT_MAX];
};

/**
 * fault_set() - say why
 * @fault: receives the reason; NULL is allowed and drops it
 * @code: kind of refusal
 * @error: positive errno
 * @format: sentence without final newline; names the limit hit and what to change. It must not
 *          contain an address of any client's memory.
 *
 * Return: -@error, to be returned by the caller.
 */
int fault_set(struct fault *fault, enum dmabufd_code code, int error, const char *format, ...)
    __attribute__((format(printf, 4, 5)));

/** fault_prefix() - put "format: " before the sentence that is already there. */
void fault_prefix(struct fault *fault, const char *format, ...)
    __attribute__((format(printf, 2, 3)));

#endif
