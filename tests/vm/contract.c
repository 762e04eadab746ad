/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The ground of the contract tests; see contract.h. */
#include "tests/vm/contract.h"

#include <stdlib.h>
#include <unistd.h>

struct bdf contract_edu;
static unsigned int leaks;

int contract_group_setup(void **state)
{
    (void)state;
    noiommu_mode(true);
    if (pci_find(PCI_ID_EDU, 0, &contract_edu) < 0 || pci_bind_vfio(&contract_edu) < 0) {
        print_message("# the edu device is missing or not to be had\n");
        return -1;
    }
    return 0;
}

int bound_setup(void **state)
{
    struct context *context = calloc(1, sizeof(*context));

    assert_non_null(context);
    context->pins_before = pinned_pages();
    assert_true(context->pins_before >= 0);
    context->bdf = contract_edu;
    context->iommufd = iommufd_open();
    assert_true(context->iommufd >= 0);
    context->cdev = vfio_open(&context->bdf);
    assert_true(context->cdev >= 0);
    assert_int_equal(vfio_bind(context->cdev, context->iommufd, &context->devid), 0);
    assert_int_equal(ioas_alloc(context->iommufd, &context->ioas), 0);
    *state = context;
    return 0;
}

int attached_setup(void **state)
{
    struct context *context;

    bound_setup(state);
    context = *state;
    assert_int_equal(vfio_attach(context->cdev, context->ioas, &context->hwpt), 0);
    return 0;
}

int hwpt_setup(void **state)
{
    struct context *context;

    bound_setup(state);
    context = *state;
    assert_int_equal(hwpt_alloc(context->iommufd, context->devid, context->ioas, 0, &context->hwpt),
                     0);
    return 0;
}

int context_teardown(void **state)
{
    struct context *context = *state;
    long left;

    if (context->cdev >= 0)
        close(context->cdev);
    if (context->iommufd >= 0)
        close(context->iommufd);
    left = new_pins(context);
    free(context);
    if (left) {
        leaks++;
        print_message("# the next test left %ld pages more pinned than before it\n", left);
    }
    return 0;
}

void nothing_stays_pinned(void **state)
{
    (void)state;
    assert_int_equal(leaks, 0);
}

long new_pins(const struct context *context)
{
    return pinned_pages() - context->pins_before;
}

uint64_t pa_of(const struct context *context, uint64_t iova)
{
    uint64_t length = 1;
    uint64_t pa = 0;

    assert_int_equal(get_pa(context->iommufd, context->ioas, iova, &length, &pa), 0);
    assert_int_equal(length, 1);
    return pa;
}

uint64_t mapped(const struct context *context, int fd, uint64_t size)
{
    uint64_t iova = 0;

    assert_int_equal(map_file(context->iommufd, context->ioas, fd, 0, size, MAP_RW, &iova), 0);
    return iova;
}

void unmap_all(const struct context *context)
{
    uint64_t length = UINT64_MAX;

    assert_int_equal(unmap(context->iommufd, context->ioas, 0, &length), 0);
}
