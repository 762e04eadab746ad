/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The public headers as the library's own files include it: the same declarations, exported.
 *
 * Everything is compiled with hidden visibility. What is declared between the pragmas stays visible
 * at its definition, so an installed header needs no macro in front of its functions, and a
 * function that is in none cannot leak out. libdmabufd.sym gives the symbols their version.
 */
#ifndef CLIENT_API_H
#define CLIENT_API_H

#pragma GCC visibility push(default)
#include "client/dmabufd-inline.h"
#include "client/dmabufd.h"
#pragma GCC visibility pop

#endif
