/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Parse: numbers and sizes as people type them, for daemon and tools. */
#ifndef COMMON_PARSE_H
#define COMMON_PARSE_H

#include <stdint.h>

/**
 * parse_number() - a decimal number within bounds, nothing around it
 * Return: 0; -EINVAL not a number; -ERANGE outside @min..@max.
 */
int parse_number(const char *text, uint64_t min, uint64_t max, uint64_t *ret);

/**
 * parse_mode() - permissions: an octal number of at most @max, nothing around it
 * Return: 0; -EINVAL not a number; -ERANGE more than @max.
 */
int parse_mode(const char *text, uint32_t max, uint32_t *ret);

/**
 * parse_size() - bytes: a decimal number with an optional suffix K, M, G or T (powers of 1024),
 * either case, optionally followed by "iB" or "B"
 * Return: 0; -EINVAL not a size; -ERANGE more than 64 bits hold.
 */
int parse_size(const char *text, uint64_t *ret);

#endif
