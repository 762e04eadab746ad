/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Last error: the fault that dmabufd_last_error() and dmabufd_last_code() show, one per thread.
 *
 * A public function passes last_error() down as the fault parameter of everything it calls. A fault
 * is written only on failure, so it stays that of the last call that failed. Steps of unwinding get
 * NULL instead, or they would overwrite the reason.
 */
#ifndef CLIENT_LAST_ERROR_H
#define CLIENT_LAST_ERROR_H

#include "common/fault.h"

/** last_error() - the calling thread's fault. */
struct fault *last_error(void);

#endif
