/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* <cmocka.h> with what it wants to be included before it. */
#ifndef UNIT_CMOCKA_ALL_H
#define UNIT_CMOCKA_ALL_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#endif
