/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Job: a request of the keeper that takes long, and the worker threads that do them.
 *
 * Lanes with threads of their own: express for small buffers, bulk for the rest, so that a request of
 * 8 GiB does not stand before one of 4 KiB, one for the search for memory with constraints, whose
 * steps last up to 10 s (effort.h), and the patient lane for steps that a client can make wait for ever in the kernel:
 * whatever takes the lock of a file that it has. Its threads can be spared, two for one user.
 * Within a lane users, their clients and their jobs take turns step by step (turns.h).
 * The main thread submits and collects; a job in between belongs to its worker, but for cancelled.
 */
#ifndef KEEPER_JOB_H
#define KEEPER_JOB_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

#include "daemon/keeper/build.h"
#include "daemon/keeper/turns.h"

/** Buffers up to this many bytes go by the express lane. */
#define JOB_EXPRESS_MAX (UINT64_C(2) << 20)

enum job_kind { JOB_BUILD, JOB_TEARDOWN };

struct pool_set;

struct job {
    STAILQ_ENTRY(job) link; /* among those that are done */
    struct turn turn;       /* set whose before submitting */
    enum job_kind kind;
    struct buffer *buffer;
    struct build build;
    atomic_bool cancelled;
    /* The result. */
    bool failed; /* the fault says why */
    struct fault fault;
    /* Whom to answer; the workers do not look at it. */
    uint64_t client;
    uint32_t op; /* enum link_op of a build */
    uint64_t tag;
    LIST_ENTRY(job) client_link; /* among its client's, or the pool's */
    bool answer;
    uint32_t epoch;           /* which broker asked */
    struct pool_set *set;     /* of a build for the pool (refill.c), else NULL */
    struct pool_set *gave_up; /* of a build for which this set gave up pages, else NULL */
};

STAILQ_HEAD(job_queue, job);

/** job_new() - on whose account. Return: NULL without memory; free() it. */
struct job *job_new(enum job_kind kind, struct buffer *buffer, struct party whose);

struct workers;

/**
 * workers_start() - start the threads
 * Return: 0 or a negative errno with @fault.
 */
int workers_start(struct memory *memory, struct backend *backend, struct workers **ret,
                  struct fault *fault);

/**
 * workers_stop() - wait for the steps at work and join; unfinished jobs stay undone
 *
 * Threads of the patient lane that hang are left behind after two seconds, with what they work on.
 * Returns NULL.
 */
struct workers *workers_stop(struct workers *workers);

/** workers_patient() - how many jobs are in the patient lane. Nothing of them is pinned. */
uint32_t workers_patient(struct workers *workers);

/**
 * workers_hang() - is one of them at a step for much longer than such a step takes (progress.h)
 * @now_ns: now_ns()
 *
 * The patient lane does not count. The longest step of a search is shorter than that: its deadline
 * (effort.h), and giving back what it held.
 */
bool workers_hang(const struct workers *workers, uint64_t now_ns);

/** workers_fd() - becomes readable when there are jobs to collect. */
int workers_fd(const struct workers *workers);

/** workers_submit() - hand a job over. */
void workers_submit(struct workers *workers, struct job *job);

/** workers_collect() - take the finished jobs; clears workers_fd(). */
void workers_collect(struct workers *workers, struct job_queue *ret);

#endif
