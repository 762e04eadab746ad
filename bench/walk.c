/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the compiler must not know; see walk.h. */
#include "bench/walk.h"

volatile uint64_t walk_sink, walk_zero;
