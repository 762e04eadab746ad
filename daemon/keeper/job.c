/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The worker threads; see job.h. */
#include "daemon/keeper/job.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/clock.h"
#include "daemon/keeper/progress.h"

#define THREADS_MAX     64
#define PATIENT_THREADS 16
/* So many of them at most hang for one user. */
#define PATIENT_OF_USER 2
#define STOP_SECONDS    2

struct lane {
    struct workers *workers;
    bool batch; /* long work: the scheduler may prefer others */
    pthread_mutex_t lock;
    pthread_cond_t work;
    struct turns builds; /* somebody waits for each of these */
    struct turns teardowns;
    bool teardown_next; /* they take turns, so that neither waits for all of the other */
    uint32_t jobs;      /* waiting or at work */
    /* The patient lane's. */
    struct job *at_work[PATIENT_THREADS];
    size_t at_work_count;
};

struct workers {
    struct memory *memory;
    struct backend *backend;
    struct lane express;
    struct lane bulk;
    struct lane search;
    struct lane patient;
    atomic_bool stopping;
    pthread_t threads[THREADS_MAX]; /* those of the patient lane first */
    size_t thread_count;
    struct progress progress[THREADS_MAX]; /* in the order in which the threads came to run */
    atomic_size_t running;
    pthread_mutex_t done_lock;
    struct job_queue done;
    int done_fd;
};

struct job *job_new(enum job_kind kind, struct buffer *buffer, struct party whose)
{
    struct job *job = calloc(1, sizeof(*job));

    if (!job)
        return NULL;
    job->kind = kind;
    job->buffer = buffer;
    job->turn.whose = whose;
    return job;
}

static bool run_step(struct workers *workers, struct job *job)
{
    int r;

    if (job->kind == JOB_BUILD) {
        enum build_result result = build_step(job->buffer, &job->build, workers->memory,
                                              workers->backend, &job->cancelled, &job->fault);

        job->failed = result == BUILD_FAILED;
        return result != BUILD_MORE;
    }
    r = buffer_teardown_step(job->buffer, workers->memory, workers->backend, &job->fault);
    job->failed = r < 0;
    return r <= 0;
}

static void report(struct workers *workers, struct job *job)
{
    uint64_t one = 1;
    ssize_t n;

    pthread_mutex_lock(&workers->done_lock);
    STAILQ_INSERT_TAIL(&workers->done, job, link);
    pthread_mutex_unlock(&workers->done_lock);
    /* Cannot fail: the counter would have to reach 2^64 - 1. */
    n = write(workers->done_fd, &one, sizeof(one));
    (void)n;
}

static bool has_threads_left(void *data, uint32_t uid)
{
    const struct lane *lane = data;
    unsigned int count = 0;

    for (size_t i = 0; i < lane->at_work_count; i++)
        count += lane->at_work[i]->turn.whose.uid == uid;
    return count < PATIENT_OF_USER;
}

static struct job *take_from(struct lane *lane, struct turns *turns)
{
    struct turn *turn = turns_take(turns, has_threads_left, lane);

    return turn ? (struct job *)((char *)turn - offsetof(struct job, turn)) : NULL;
}

static struct job *next_job(struct lane *lane)
{
    struct job *job = take_from(lane, lane->teardown_next ? &lane->teardowns : &lane->builds);

    if (!job)
        job = take_from(lane, lane->teardown_next ? &lane->builds : &lane->teardowns);
    if (job)
        lane->teardown_next = job->kind == JOB_BUILD;
    return job;
}

static struct job *take(struct lane *lane)
{
    struct job *job = NULL;

    pthread_mutex_lock(&lane->lock);
    while (!atomic_load(&lane->workers->stopping) && !(job = next_job(lane)))
        pthread_cond_wait(&lane->work, &lane->lock);
    if (job && lane == &lane->workers->patient)
        lane->at_work[lane->at_work_count++] = job;
    pthread_mutex_unlock(&lane->lock);
    return job;
}

static void put(struct lane *lane, struct job *job)
{
    pthread_mutex_lock(&lane->lock);
    turns_put(job->kind == JOB_BUILD ? &lane->builds : &lane->teardowns, &job->turn);
    lane->jobs++;
    pthread_cond_signal(&lane->work);
    pthread_mutex_unlock(&lane->lock);
}

/* It is not at work any more. */
static void leave(struct lane *lane, const struct job *job)
{
    pthread_mutex_lock(&lane->lock);
    lane->jobs--;
    for (size_t i = 0; i < lane->at_work_count; i++) {
        if (lane->at_work[i] != job)
            continue;
        lane->at_work[i] = lane->at_work[--lane->at_work_count];
        /* One that waited for this may be next. */
        pthread_cond_signal(&lane->work);
        break;
    }
    pthread_mutex_unlock(&lane->lock);
}

/* The checks of registered memory seek for holes, and that takes the file's lock, too. */
static bool may_hang(const struct job *job)
{
    return job->kind == JOB_TEARDOWN ? buffer_to_empty(job->buffer)
                                     : job->buffer->registered && !job->build.started;
}

static struct lane *lane_of(struct workers *workers, const struct job *job)
{
    uint64_t size = job->buffer->size;

    if (may_hang(job))
        return &workers->patient;
    if (job->build.searching || job->build.tidying)
        return &workers->search;
    if (job->kind == JOB_BUILD && job->build.pooled)
        return &workers->bulk;
    /* One byte in a page of 1 GiB is long work too. */
    if (job->kind == JOB_BUILD)
        size = job->build.wanted > job->build.asked ? job->build.wanted : job->build.asked;
    return size <= JOB_EXPRESS_MAX ? &workers->express : &workers->bulk;
}

/* A client decides how long a step of the patient lane takes. */
static bool has_bound(const struct lane *lane)
{
    return lane != &lane->workers->patient;
}

static uint64_t bytes_of(const struct job *job)
{
    return job->kind == JOB_BUILD ? job->build.asked : job->buffer->size;
}

static void *work(void *data)
{
    struct lane *lane = data;
    struct workers *workers = lane->workers;
    struct progress *progress = &workers->progress[atomic_fetch_add(&workers->running, 1)];
    struct job *job;

    if (lane->batch) {
        struct sched_param param = { 0 };

        pthread_setschedparam(pthread_self(), SCHED_BATCH, &param);
        /* A batch thread alone does not give way at once; more than a little nice, and a busy host
         * would starve it. The value is each thread's own. */
        setpriority(PRIO_PROCESS, (id_t)gettid(), 5);
    }
    while ((job = take(lane))) {
        bool done;

        if (has_bound(lane))
            progress_begin(progress, bytes_of(job), now_ns());
        done = run_step(workers, job);
        progress_end(progress);
        leave(lane, job);
        if (done)
            report(workers, job);
        else
            put(lane_of(workers, job), job);
    }
    return NULL;
}

static int start_thread(struct workers *workers, struct lane *lane)
{
    sigset_t all, old;
    int r;

    /* Signals are the main thread's. */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    r = pthread_create(&workers->threads[workers->thread_count], NULL, work, lane);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    if (r == 0)
        workers->thread_count++;
    return -r;
}

static void lane_init(struct workers *workers, struct lane *lane, bool batch)
{
    lane->workers = workers;
    lane->batch = batch;
    pthread_mutex_init(&lane->lock, NULL);
    pthread_cond_init(&lane->work, NULL);
    turns_init(&lane->builds);
    turns_init(&lane->teardowns);
}

int workers_start(struct memory *memory, struct backend *backend, struct workers **ret,
                  struct fault *fault)
{
    struct workers *workers = calloc(1, sizeof(*workers));
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    long bulk = cpus > 2 ? cpus - 1 : 1;
    int r;

    if (!workers)
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, ENOMEM, "out of memory");
    workers->memory = memory;
    workers->backend = backend;
    lane_init(workers, &workers->express, false);
    lane_init(workers, &workers->bulk, true);
    lane_init(workers, &workers->search, true);
    lane_init(workers, &workers->patient, false);
    pthread_mutex_init(&workers->done_lock, NULL);
    STAILQ_INIT(&workers->done);
    workers->done_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r = workers->done_fd < 0 ? -errno : 0;
    for (int i = 0; r == 0 && i < PATIENT_THREADS; i++)
        r = start_thread(workers, &workers->patient);
    if (r == 0)
        r = start_thread(workers, &workers->express);
    if (r == 0)
        r = start_thread(workers, &workers->search);
    for (long i = 0; r == 0 && i < bulk && workers->thread_count < THREADS_MAX; i++)
        r = start_thread(workers, &workers->bulk);
    if (r < 0) {
        workers_stop(workers);
        return fault_set(fault, DMABUFD_CODE_NO_MEMORY, -r, "cannot start the worker threads: %s",
                         strerror(-r));
    }
    *ret = workers;
    return 0;
}

static void wake_all(struct lane *lane)
{
    pthread_mutex_lock(&lane->lock);
    pthread_cond_broadcast(&lane->work);
    pthread_mutex_unlock(&lane->lock);
}

/* With threads that hang, or with jobs that came back after nobody waited for them any more: kept where
 * it is not taken for lost. */
static struct workers *volatile left_behind;

/* Return: whether all of them ended; if not, they go on using @workers. */
static bool join_patient(struct workers *workers)
{
    struct timespec until;
    bool all = true;

    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_SECONDS;
    for (size_t i = 0; i < PATIENT_THREADS && i < workers->thread_count; i++) {
        if (pthread_timedjoin_np(workers->threads[i], NULL, &until) == 0)
            continue;
        pthread_detach(workers->threads[i]);
        all = false;
    }
    return all;
}

struct workers *workers_stop(struct workers *workers)
{
    bool all;

    if (!workers)
        return NULL;
    atomic_store(&workers->stopping, true);
    wake_all(&workers->express);
    wake_all(&workers->bulk);
    wake_all(&workers->search);
    wake_all(&workers->patient);
    for (size_t i = PATIENT_THREADS; i < workers->thread_count; i++)
        pthread_join(workers->threads[i], NULL);
    all = join_patient(workers);
    if (all)
        fd_close(&workers->done_fd);
    if (all && STAILQ_EMPTY(&workers->done))
        free(workers);
    else
        left_behind = workers;
    return NULL;
}

uint32_t workers_patient(struct workers *workers)
{
    uint32_t jobs;

    pthread_mutex_lock(&workers->patient.lock);
    jobs = workers->patient.jobs;
    pthread_mutex_unlock(&workers->patient.lock);
    return jobs;
}

bool workers_hang(const struct workers *workers, uint64_t now_ns)
{
    for (size_t i = 0; i < THREADS_MAX; i++) {
        if (progress_is_late(&workers->progress[i], now_ns))
            return true;
    }
    return false;
}

int workers_fd(const struct workers *workers)
{
    return workers->done_fd;
}

void workers_submit(struct workers *workers, struct job *job)
{
    put(lane_of(workers, job), job);
}

void workers_collect(struct workers *workers, struct job_queue *ret)
{
    uint64_t count;
    ssize_t n;

    /* Clear first: a job that ends meanwhile makes the descriptor readable again. */
    n = read(workers->done_fd, &count, sizeof(count));
    (void)n;
    pthread_mutex_lock(&workers->done_lock);
    STAILQ_INIT(ret);
    STAILQ_CONCAT(ret, &workers->done);
    pthread_mutex_unlock(&workers->done_lock);
}
