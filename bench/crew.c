/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Threads in step; see crew.h. */
#include "bench/crew.h"

#include <pthread.h>
#include <sched.h>

#define WARM  4
#define TIMED 16

struct member {
    const struct crew *crew;
    unsigned int number;
    pthread_barrier_t *barrier;
    double times[TIMED];
    pthread_t thread;
};

static void *be_member(void *data)
{
    struct member *member = data;
    const struct crew *crew = member->crew;

    for (int i = 0; i < WARM + TIMED; i++) {
        uint64_t begin;

        pthread_barrier_wait(member->barrier);
        begin = now_ns();
        crew->work(crew->data, member->number);
        if (i >= WARM)
            member->times[i - WARM] = (double)(now_ns() - begin) / CREW_PAIRS;
    }
    return NULL;
}

static void start(struct member *member)
{
    pthread_attr_t attributes;
    cpu_set_t cpus;

    CPU_ZERO(&cpus);
    CPU_SET((size_t)member->crew->cpus[member->number], &cpus);
    if (pthread_attr_init(&attributes) != 0 ||
        pthread_attr_setaffinity_np(&attributes, sizeof(cpus), &cpus) != 0 ||
        pthread_create(&member->thread, &attributes, be_member, member) != 0)
        errx(1, "cannot start a thread");
    pthread_attr_destroy(&attributes);
}

void crew_run(const struct crew *crew, struct samples *samples)
{
    struct member members[CREW_MAX];
    pthread_barrier_t barrier;

    if (pthread_barrier_init(&barrier, NULL, crew->threads) != 0)
        errx(1, "cannot make a barrier");
    for (unsigned int i = 0; i < crew->threads; i++) {
        members[i] = (struct member){ .crew = crew, .number = i, .barrier = &barrier };
        start(&members[i]);
    }
    for (unsigned int i = 0; i < crew->threads; i++) {
        pthread_join(members[i].thread, NULL);
        for (int k = 0; k < TIMED; k++)
            samples_add(samples, members[i].times[k]);
    }
    pthread_barrier_destroy(&barrier);
}
