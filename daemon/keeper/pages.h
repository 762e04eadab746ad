/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Pages: the sizes that memory is allocated, pinned and told in, bytes. */
#ifndef KEEPER_PAGES_H
#define KEEPER_PAGES_H

#include <stdint.h>

#define PAGE_4K UINT64_C(4096)
#define PAGE_2M (UINT64_C(2) << 20)
#define PAGE_1G (UINT64_C(1) << 30)

#endif
