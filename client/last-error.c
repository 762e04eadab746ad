/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The reason of the last failure, per thread, and the names of modes, pins and rights. */
#include "client/last-error.h"

#include "client/api.h"

static __thread struct fault fault;

struct fault *last_error(void)
{
    return &fault;
}

const char *dmabufd_last_error(void)
{
    return fault.error ? fault.text : "no call of this thread has failed";
}

enum dmabufd_code dmabufd_last_code(void)
{
    return fault.code;
}

const char *dmabufd_mode_string(enum dmabufd_address_mode mode)
{
    switch (mode) {
    case DMABUFD_MODE_PA:
        return "pa";
    case DMABUFD_MODE_IOVA:
        return "iova";
    case DMABUFD_MODE_FAKE:
        return "fake";
    }
    return "unknown";
}

const char *dmabufd_access_string(enum dmabufd_access access)
{
    switch (access) {
    case DMABUFD_READ_ONLY:
        return "read-only";
    case DMABUFD_READ_WRITE:
        return "read-write";
    }
    return "unknown";
}

const char *dmabufd_pin_string(enum dmabufd_pin pin)
{
    switch (pin) {
    case DMABUFD_PIN_NONE:
        return "none";
    case DMABUFD_PIN_REFERENCE:
        return "reference";
    case DMABUFD_PIN_LONGTERM:
        return "longterm";
    }
    return "unknown";
}
