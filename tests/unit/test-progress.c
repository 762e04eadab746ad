/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * For how long a worker may be at a step (daemon/keeper/progress.h), and of which lanes that is asked
 * (job.h), seen from an hour later.
 *
 * Workers are kept waiting when they pin (mock-backend.h), and, here, when they empty a file, as one
 * whose lock a client holds makes them.
 */
#include "tests/unit/cmocka-all.h"

#include <poll.h>
#include <pthread.h>
#include <sys/types.h>
#include <unistd.h>

#include "common/clock.h"
#include "daemon/keeper/job.h"
#include "daemon/keeper/progress.h"
#include "tests/unit/mock-backend.h"

#define GIB     (UINT64_C(1) << 30)
#define LARGE   (UINT64_C(64) << 20) /* by the bulk lane */
#define AN_HOUR (3600 * NS_PER_S)

static const uint64_t now = 1000 * NS_PER_S;

/* ---- the clock ---- */

static void step_has_its_time(void **state)
{
    struct progress progress = { 0 };

    (void)state;
    assert_false(progress_is_late(&progress, now));
    progress_begin(&progress, GIB - 1, now);
    assert_false(progress_is_late(&progress, now + PROGRESS_STEP_NS));
    assert_true(progress_is_late(&progress, now + PROGRESS_STEP_NS + 1));
    progress_end(&progress);
    assert_false(progress_is_late(&progress, UINT64_MAX));
}

/* A TiB that is given back at once is slow, and nothing else. */
static void large_steps_have_more(void **state)
{
    struct progress progress = { 0 };

    (void)state;
    progress_begin(&progress, 1024 * GIB, now);
    assert_false(progress_is_late(&progress, now + PROGRESS_STEP_NS + 1024 * NS_PER_S));
    assert_true(progress_is_late(&progress, now + PROGRESS_STEP_NS + 1024 * NS_PER_S + 1));
    /* The next begins anew, and no size makes it wrap. */
    progress_begin(&progress, 0, now);
    assert_true(progress_is_late(&progress, now + PROGRESS_STEP_NS + 1));
    progress_begin(&progress, UINT64_MAX, now);
    assert_false(progress_is_late(&progress, now + AN_HOUR));
}

/* ---- the workers ---- */

static struct memory memory;
static struct mock mock;
static struct workers *workers;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t moved = PTHREAD_COND_INITIALIZER;
static bool is_locked, somebody_waits;

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length);
int __real_fallocate64(int fd, int mode, off_t offset, off_t length);

int __wrap_fallocate64(int fd, int mode, off_t offset, off_t length)
{
    pthread_mutex_lock(&lock);
    while (is_locked) {
        somebody_waits = true;
        pthread_cond_broadcast(&moved);
        pthread_cond_wait(&moved, &lock);
    }
    pthread_mutex_unlock(&lock);
    return __real_fallocate64(fd, mode, offset, length);
}

static void set_locked(bool locked)
{
    pthread_mutex_lock(&lock);
    is_locked = locked;
    pthread_cond_broadcast(&moved);
    pthread_mutex_unlock(&lock);
}

static void await_somebody(void)
{
    pthread_mutex_lock(&lock);
    while (!somebody_waits)
        pthread_cond_wait(&moved, &lock);
    pthread_mutex_unlock(&lock);
}

static int setup(void **state)
{
    (void)state;
    memory = (struct memory){ .limit = UINT64_MAX, .max_size = UINT64_C(1) << 50 };
    mock_init(&mock);
    return workers_start(&memory, &mock.base, &workers, NULL);
}

static int teardown(void **state)
{
    (void)state;
    set_locked(false);
    mock_open(&mock);
    workers = workers_stop(workers);
    mock_deinit(&mock);
    return 0;
}

static struct job *collect(void)
{
    struct pollfd wait = { .fd = workers_fd(workers), .events = POLLIN };
    struct job_queue queue;

    do {
        assert_int_equal(poll(&wait, 1, 10000), 1);
        workers_collect(workers, &queue);
    } while (STAILQ_EMPTY(&queue));
    return STAILQ_FIRST(&queue);
}

static void submit_build(struct job *job, uint64_t size)
{
    *job = (struct job){ .kind = JOB_BUILD, .buffer = buffer_new() };
    assert_non_null(job->buffer);
    job->build.asked = size;
    job->build.wanted = PAGE_4K;
    workers_submit(workers, job);
}

static void submit_teardown(struct job *job)
{
    job->kind = JOB_TEARDOWN;
    workers_submit(workers, job);
}

static void assert_hangs(bool expected)
{
    assert_false(workers_hang(workers, now_ns()));
    assert_int_equal(workers_hang(workers, now_ns() + AN_HOUR), expected);
}

static void worker_that_hangs_is_noticed(void **state)
{
    struct job large, small;

    (void)state;
    assert_hangs(false);
    mock.gate_size = LARGE;
    submit_build(&large, LARGE);
    assert_true(mock_await(&mock, 1));
    submit_build(&small, PAGE_4K);
    assert_ptr_equal(collect(), &small);
    assert_hangs(true);
    mock_open(&mock);
    assert_ptr_equal(collect(), &large);
    assert_hangs(false);
    submit_teardown(&large);
    assert_ptr_equal(collect(), &large);
    submit_teardown(&small);
    assert_ptr_equal(collect(), &small);
    buffer_free(large.buffer);
    buffer_free(small.buffer);
}

/* Or any client could end the daemon. */
static void clients_decide_how_long_the_patient_lane_takes(void **state)
{
    struct job job;

    (void)state;
    submit_build(&job, LARGE);
    assert_ptr_equal(collect(), &job);
    job.buffer->shown = true;
    set_locked(true);
    submit_teardown(&job);
    await_somebody();
    assert_hangs(false);
    set_locked(false);
    assert_ptr_equal(collect(), &job);
    assert_false(job.failed);
    buffer_free(job.buffer);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(step_has_its_time),
        cmocka_unit_test(large_steps_have_more),
        TEST(worker_that_hangs_is_noticed),
        TEST(clients_decide_how_long_the_patient_lane_takes),
    };

    return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
