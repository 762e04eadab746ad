/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Contract: what the tests of the kernel's behaviour start from. Not for tests of the daemon.
 *
 * The contract programs write down, row by row, what this project relies on in iommufd and VFIO
 * without an IOMMU, and what it works around. One that fails on a new kernel says which assumption
 * went. The rows are those of the list of kernel behaviours in doc/.
 */
#ifndef TESTS_VM_CONTRACT_H
#define TESTS_VM_CONTRACT_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "tests/vm/guest.h"

struct context {
    struct bdf bdf;
    int iommufd;
    int cdev;
    uint32_t devid;
    uint32_t ioas;
    uint32_t hwpt;    /* 0: there is no domain yet */
    long pins_before; /* and the same must be pinned when the test is over */
};

/* Finds the edu device of the machine, the first one, and gives it to vfio-pci. Once a program. */
int contract_group_setup(void **state);
extern struct bdf contract_edu;

/* A device bound to a new context with one IOAS, and no domain: nothing is pinned. */
int bound_setup(void **state);

/* The same with a domain, made by attaching the device. */
int attached_setup(void **state);

/* The same with a domain that does not need the device. */
int hwpt_setup(void **state);

/* Closes what the test left open, and remembers whether pages stayed pinned nevertheless. */
int context_teardown(void **state);

/*
 * The last test of each program: fails if they did in any test before. A test of its own, because a
 * teardown that fails would hide the failure of its test.
 */
void nothing_stays_pinned(void **state);

/* Pages pinned since the setup. */
long new_pins(const struct context *context);

/* The physical address at @iova, which must be mapped. */
uint64_t pa_of(const struct context *context, uint64_t iova);

/* Maps the whole file readable and writable where the kernel likes. */
uint64_t mapped(const struct context *context, int fd, uint64_t size);

/* Everything the test maps may go: unmap all of the IOAS. */
void unmap_all(const struct context *context);

#define BOUND(test)     cmocka_unit_test_setup_teardown(test, bound_setup, context_teardown)
#define ATTACHED(test)  cmocka_unit_test_setup_teardown(test, attached_setup, context_teardown)
#define WITH_HWPT(test) cmocka_unit_test_setup_teardown(test, hwpt_setup, context_teardown)

#endif
