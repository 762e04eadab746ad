/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A backend that a test directs; see mock-backend.h. */
#include "tests/unit/mock-backend.h"

#include <errno.h>
#include <time.h>

#define AWAIT_SECONDS 10

static struct mock *mock_of(struct backend *backend)
{
    return (struct mock *)backend;
}

static void expect(struct mock *mock, bool good)
{
    if (!good)
        atomic_fetch_add(&mock->disorder, 1);
}

static void mock_close(struct backend *backend)
{
    (void)backend;
}

static int mock_begin(struct backend *backend, struct mapping *mapping, struct fault *fault)
{
    struct mock *mock = mock_of(backend);

    atomic_fetch_add(&mock->begins, 1);
    expect(mock, !mapping->begun && mapping->pinned == 0 && mapping->fd >= 0);
    expect(mock, mapping->size > 0 && mapping->size % mapping->page_size == 0);
    mapping->u.fake.base = MOCK_ADDRESS;
    if (atomic_load(&mock->next) > 0)
        mapping->u.fake.base = atomic_fetch_add(&mock->next, mapping->size + mock->gap);
    if (mock->begin_error)
        return fault_set(fault, DMABUFD_CODE_BACKEND, mock->begin_error, "no place");
    return 0;
}

static void wait_at_gate(struct mock *mock)
{
    pthread_mutex_lock(&mock->lock);
    atomic_fetch_add(&mock->waiting, 1);
    pthread_cond_broadcast(&mock->moved);
    while (!mock->open)
        pthread_cond_wait(&mock->moved, &mock->lock);
    atomic_fetch_sub(&mock->waiting, 1);
    pthread_mutex_unlock(&mock->lock);
}

static int mock_pin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                    uint64_t length, struct fault *fault)
{
    struct mock *mock = mock_of(backend);
    size_t number = atomic_fetch_add(&mock->pins, 1) + 1;

    expect(mock, mapping->begun && offset == mapping->pinned);
    expect(mock, length == backend_piece(mapping, offset));
    if (mock->gate_size && mapping->size >= mock->gate_size)
        wait_at_gate(mock);
    if (number == mock->pin_fails)
        return fault_set(fault, DMABUFD_CODE_BACKEND, EFAULT, "this pin fails");
    if (atomic_fetch_sub(&mock->spare, (int64_t)length) < (int64_t)length && mock->limited) {
        atomic_fetch_add(&mock->spare, (int64_t)length);
        return fault_set(fault, DMABUFD_CODE_NO_HUGE_PAGES, ENOMEM, "no more pages");
    }
    return 0;
}

static int mock_resolve(struct backend *backend, struct mapping *mapping, uint64_t offset,
                        uint64_t length, struct spans *spans, struct fault *fault)
{
    struct mock *mock = mock_of(backend);

    (void)fault;
    atomic_fetch_add(&mock->resolves, 1);
    expect(mock, mapping->begun && offset + length == mapping->pinned);
    switch (mock->list) {
    case MOCK_NOTHING:
        return 0;
    case MOCK_SHORT:
        length -= mapping->page_size;
        break;
    case MOCK_LONG:
        length += mapping->page_size;
        break;
    case MOCK_WHOLE:
        break;
    }
    return length ? spans_append(spans, mapping->u.fake.base + offset, length) : 0;
}

static void mock_settle(struct backend *backend, struct mapping *mapping)
{
    struct mock *mock = mock_of(backend);

    atomic_fetch_add(&mock->settles, 1);
    expect(mock, mapping->begun && mapping->pinned == mapping->size);
}

static int mock_unpin(struct backend *backend, struct mapping *mapping, uint64_t offset,
                      uint64_t length, struct fault *fault)
{
    struct mock *mock = mock_of(backend);

    atomic_fetch_add(&mock->unpins, 1);
    expect(mock, mapping->begun && offset + length == mapping->pinned);
    /* The very piece that was pinned. */
    expect(mock, length == backend_piece(mapping, offset));
    if (atomic_load(&mock->unpins_refused) == 0) {
        atomic_fetch_add(&mock->spare, (int64_t)length);
        return 0;
    }
    atomic_fetch_sub(&mock->unpins_refused, 1);
    return fault_set(fault, DMABUFD_CODE_BACKEND, EBUSY, "the kernel does not let go");
}

static void mock_end(struct backend *backend, struct mapping *mapping)
{
    struct mock *mock = mock_of(backend);

    atomic_fetch_add(&mock->ends, 1);
    expect(mock, mapping->begun && mapping->pinned == 0);
}

static const struct backend_ops mock_ops = {
    .close = mock_close,
    .begin = mock_begin,
    .pin = mock_pin,
    .resolve = mock_resolve,
    .settle = mock_settle,
    .unpin = mock_unpin,
    .end = mock_end,
};

void mock_init(struct mock *mock)
{
    *mock = (struct mock){ .base = { .ops = &mock_ops,
                                     .name = "mock",
                                     .mode = DMABUFD_MODE_FAKE,
                                     .pin = DMABUFD_PIN_NONE } };
    pthread_mutex_init(&mock->lock, NULL);
    pthread_cond_init(&mock->moved, NULL);
}

void mock_deinit(struct mock *mock)
{
    pthread_cond_destroy(&mock->moved);
    pthread_mutex_destroy(&mock->lock);
}

bool mock_await(struct mock *mock, size_t count)
{
    struct timespec until;
    int r = 0;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += AWAIT_SECONDS;
    pthread_mutex_lock(&mock->lock);
    while (atomic_load(&mock->waiting) < count && r == 0)
        r = pthread_cond_timedwait(&mock->moved, &mock->lock, &until);
    pthread_mutex_unlock(&mock->lock);
    return r == 0;
}

void mock_open(struct mock *mock)
{
    pthread_mutex_lock(&mock->lock);
    mock->open = true;
    pthread_cond_broadcast(&mock->moved);
    pthread_mutex_unlock(&mock->lock);
}
