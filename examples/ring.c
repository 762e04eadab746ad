/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Several processes, of several users, at work in one buffer.
 *
 *     ring first NAME [GID]            allocates and publishes, for a group, and waits to be killed
 *     ring member NAME INDEX ROUNDS    one of three that pass records round; each in its own process
 *
 * The first process may end at any time: the buffer and its name last as long as anybody holds it.
 *
 * What is in shared memory refers to other places in it by offset. Each process has the buffer at
 * another address, and no pointer would mean the same to two of them. The addresses for a device do:
 * they are the same in all.
 *
 * Each queue has one writer and one reader, so there is no lock that a killed process could keep. The
 * members share one buffer and could spoil one another's records, but an offset that makes no sense must
 * not lead out of the buffer: never use one before looking at it.
 */
#include <dmabufd.h>
#include <err.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MEMBERS 3
#define RECORDS 16
#define SLOTS   32 /* more than there are records: no queue is ever full */

/* Into a member. */
struct queue {
    _Atomic uint64_t written; /* by the member before it */
    _Atomic uint64_t read;    /* by itself */
    uint64_t offset[SLOTS];   /* of records */
};

struct record {
    uint64_t dma_addr;              /* of the record, as the first process saw it */
    _Atomic uint64_t seen[MEMBERS]; /* how often each member passed it on */
};

struct shared {
    struct queue queue[MEMBERS];
    struct record records[RECORDS];
};

static void put(struct queue *queue, uint64_t offset)
{
    uint64_t written = atomic_load_explicit(&queue->written, memory_order_relaxed);

    queue->offset[written % SLOTS] = offset;
    /* Who reads the number finds the slot, and all that was written into the record before. */
    atomic_store_explicit(&queue->written, written + 1, memory_order_release);
}

static uint64_t get(struct queue *queue)
{
    uint64_t read = atomic_load_explicit(&queue->read, memory_order_relaxed), offset;

    /* Where latency matters, wait by futex(2) or eventfd(2), or watch without sleeping. */
    while (atomic_load_explicit(&queue->written, memory_order_acquire) == read)
        usleep(50);
    offset = queue->offset[read % SLOTS];
    atomic_store_explicit(&queue->read, read + 1, memory_order_release);
    return offset;
}

static uint64_t address_of(dmabufd *d, const void *pointer)
{
    uint64_t dma_addr, length;

    if (dmabufd_translate(d, pointer, &dma_addr, &length) < 0)
        errx(1, "that is not in a buffer");
    return dma_addr;
}

static int be_first(dmabufd *d, const char *name, uint32_t group)
{
    dmabufd_buffer *buffer;
    struct shared *shared;

    if (dmabufd_alloc(d, sizeof(*shared), 0, &buffer) < 0)
        errx(1, "%s", dmabufd_last_error());
    shared = dmabufd_buffer_data(buffer); /* full of zeros */
    for (size_t i = 0; i < RECORDS; i++) {
        shared->records[i].dma_addr = address_of(d, &shared->records[i]);
        put(&shared->queue[0], offsetof(struct shared, records) + i * sizeof(struct record));
    }
    /* Only now: from here on others can see it. */
    if (dmabufd_publish(buffer, name, 0660, group) < 0)
        errx(1, "%s", dmabufd_last_error());
    printf("%s is there\n", name);
    fflush(stdout);
    for (;;)
        pause();
}

static struct record *record_at(struct shared *shared, uint64_t offset)
{
    uint64_t begin = offsetof(struct shared, records);

    if (offset < begin || (offset - begin) % sizeof(struct record) ||
        (offset - begin) / sizeof(struct record) >= RECORDS)
        errx(1, "a record cannot be at %#llx", (unsigned long long)offset);
    return &shared->records[(offset - begin) / sizeof(struct record)];
}

static int be_member(dmabufd *d, const char *name, size_t index, uint64_t rounds)
{
    dmabufd_buffer *buffer;
    struct shared *shared;

    /* Who knows whose the buffer must be says so instead of DMABUFD_OWNER_ANY. */
    if (dmabufd_open(d, name, DMABUFD_READ_WRITE, DMABUFD_OWNER_ANY, &buffer) < 0)
        errx(1, "%s", dmabufd_last_error());
    if (dmabufd_buffer_size(buffer) < sizeof(*shared))
        errx(1, "%s is too small to be ours", name);
    shared = dmabufd_buffer_data(buffer);
    for (uint64_t i = 0; i < rounds * RECORDS; i++) {
        uint64_t offset = get(&shared->queue[index]);
        struct record *record = record_at(shared, offset);

        if (record->dma_addr != address_of(d, record))
            errx(1, "a device would look for this record elsewhere");
        atomic_fetch_add_explicit(&record->seen[index], 1, memory_order_relaxed);
        put(&shared->queue[(index + 1) % MEMBERS], offset);
    }
    printf("member %zu passed %d records on, %llu times each\n", index, RECORDS,
           (unsigned long long)rounds);
    dmabufd_free(buffer);
    return 0;
}

int main(int argc, char **argv)
{
    dmabufd *d;
    int status;

    if (argc < 3 || (strcmp(argv[1], "first") != 0 && strcmp(argv[1], "member") != 0) ||
        (*argv[1] == 'm' && (argc != 5 || strtoul(argv[3], NULL, 10) >= MEMBERS)))
        errx(2, "usage: ring first NAME [GID] | ring member NAME INDEX ROUNDS");
    if (dmabufd_connect(&d, NULL) < 0)
        errx(1, "%s", dmabufd_last_error());
    if (*argv[1] == 'f')
        status = be_first(d, argv[2],
                          argc > 3 ? (uint32_t)strtoul(argv[3], NULL, 10) : DMABUFD_GROUP_OWN);
    else
        status = be_member(d, argv[2], strtoul(argv[3], NULL, 10), strtoull(argv[4], NULL, 10));
    dmabufd_disconnect(d);
    return status;
}
