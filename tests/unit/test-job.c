/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * daemon/keeper/job.h: the worker threads. Where order matters they are kept waiting at a gate
 * (mock-backend.h); nothing here depends on how fast anything is. Also meant to be run under a
 * thread sanitizer.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "daemon/keeper/job.h"
#include "tests/unit/mock-backend.h"
#include "tests/unit/support.h"

#define K4          PAGE_4K
#define SMALL       (UINT64_C(2) << 20)  /* the largest that goes by the express lane */
#define LARGE       (UINT64_C(64) << 20) /* two pieces, by the bulk lane */
#define PATIENCE_MS 10000

static struct memory memory;
static struct mock mock;
static struct workers *workers;
static size_t fds_before;

static int setup(void **state)
{
    (void)state;
    fds_before = support_fds();
    memory = (struct memory){ .limit = UINT64_MAX, .max_size = UINT64_C(1) << 50 };
    mock_init(&mock);
    return workers_start(&memory, &mock.base, &workers, NULL);
}

static int teardown(void **state)
{
    (void)state;
    mock_open(&mock);
    workers = workers_stop(workers);
    mock_deinit(&mock);
    return support_fds() == fds_before && memory.charged == 0 && mock.disorder == 0 ? 0 : -1;
}

static void submit_build_of(struct job *job, uint64_t size, uint32_t uid, uint64_t client)
{
    *job = (struct job){ .kind = JOB_BUILD,
                         .buffer = buffer_new(),
                         .turn.whose = { .uid = uid, .client = client } };
    assert_non_null(job->buffer);
    job->build.asked = size;
    job->build.wanted = PAGE_4K;
    workers_submit(workers, job);
}

static void submit_build(struct job *job, uint64_t size)
{
    submit_build_of(job, size, 1000, 1);
}

static bool readable(int timeout_ms)
{
    struct pollfd wait = { .fd = workers_fd(workers), .events = POLLIN };

    return poll(&wait, 1, timeout_ms) == 1;
}

/* Waits until @count jobs are done; keeps them in this order. */
static void collect(struct job **done, size_t count)
{
    size_t got = 0;

    while (got < count) {
        struct job_queue queue;
        struct job *job;

        assert_true(readable(PATIENCE_MS));
        workers_collect(workers, &queue);
        while ((job = STAILQ_FIRST(&queue))) {
            STAILQ_REMOVE_HEAD(&queue, link);
            assert_true(got < count);
            done[got++] = job;
        }
    }
}

/* By way of the workers again. */
static void tear_down(struct job *job)
{
    struct buffer *buffer = job->buffer;
    struct job *done;

    *job = (struct job){ .kind = JOB_TEARDOWN, .buffer = buffer };
    workers_submit(workers, job);
    collect(&done, 1);
    assert_ptr_equal(done, job);
    assert_false(job->failed);
    assert_int_equal(buffer->fd, -1);
    buffer_free(buffer);
}

static void assert_cancelled(struct job *job)
{
    assert_true(job->failed);
    assert_int_equal(job->fault.error, ECANCELED);
    assert_int_equal(job->buffer->fd, -1);
    buffer_free(job->buffer);
}

static void builds_and_tears_down(void **state)
{
    static const uint64_t sizes[] = { K4, SMALL, SMALL + 1, LARGE };
    struct job job, *done;

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        submit_build(&job, sizes[i]);
        collect(&done, 1);
        assert_ptr_equal(done, &job);
        assert_false(job.failed);
        assert_true(job.buffer->fd >= 0);
        assert_int_equal(job.buffer->mapping.pinned, (sizes[i] + K4 - 1) / K4 * K4);
        tear_down(&job);
    }
}

/* Readable until collected; it may be so once more with nothing there, but not for ever. */
static void descriptor_tells(void **state)
{
    struct job_queue queue;
    struct job job, *done;
    int rounds = 0;

    (void)state;
    assert_false(readable(0));
    submit_build(&job, K4);
    assert_true(readable(PATIENCE_MS));
    assert_true(readable(PATIENCE_MS));
    collect(&done, 1);
    while (readable(100)) {
        workers_collect(workers, &queue);
        assert_true(STAILQ_EMPTY(&queue));
        assert_true(++rounds < 3);
    }
    tear_down(&job);
}

static void failure_is_told(void **state)
{
    struct job job, *done;

    (void)state;
    mock.pin_fails = 2;
    submit_build(&job, LARGE);
    collect(&done, 1);
    assert_true(job.failed);
    assert_int_equal(job.fault.error, EFAULT);
    assert_string_equal(job.fault.text, "this pin fails");
    assert_int_equal(job.buffer->fd, -1);
    buffer_free(job.buffer);
}

static void refused_teardown_is_told(void **state)
{
    struct job job, *done;

    (void)state;
    submit_build(&job, LARGE);
    collect(&done, 1);
    atomic_store(&mock.unpins_refused, 1);
    job.kind = JOB_TEARDOWN;
    workers_submit(workers, &job);
    collect(&done, 1);
    assert_true(job.failed);
    assert_int_equal(job.fault.error, EBUSY);
    assert_true(job.buffer->fd >= 0);
    tear_down(&job);
}

/* However much is at work and waits in the bulk lane, small ones go through. */
static void small_overtakes_large(void **state)
{
    struct job large[100], small, *done[100];

    (void)state;
    mock.gate_size = LARGE;
    for (size_t i = 0; i < ARRAY_LEN(large); i++)
        submit_build(&large[i], LARGE);
    assert_true(mock_await(&mock, 1));
    for (int i = 0; i < 10; i++) {
        submit_build(&small, i % 2 ? K4 : SMALL);
        collect(done, 1);
        assert_ptr_equal(done[0], &small);
        assert_false(small.failed);
        tear_down(&small);
    }
    mock_open(&mock);
    collect(done, ARRAY_LEN(large));
    for (size_t i = 0; i < ARRAY_LEN(large); i++) {
        assert_false(large[i].failed);
        tear_down(&large[i]);
    }
}

/* A job of a thousand steps, and one of two behind it. */
static void jobs_of_a_lane_take_turns(void **state)
{
    struct job longest, shorter, *done[2];

    (void)state;
    mock.gate_size = LARGE;
    submit_build(&longest, 1000 * BACKEND_PIECE);
    assert_true(mock_await(&mock, 1));
    submit_build(&shorter, LARGE);
    mock_open(&mock);
    collect(done, 2);
    assert_ptr_equal(done[0], &shorter);
    assert_ptr_equal(done[1], &longest);
    tear_down(&shorter);
    tear_down(&longest);
    assert_int_equal(mock.pins, 1002);
    assert_int_equal(mock.unpins, 1002);
}

/* One user keeps the express lane busy with all its connections: another's waits for one of them. */
static void users_take_turns(void **state)
{
    struct job busy[480], small, *done[481];

    (void)state;
    mock.gate_size = SMALL;
    for (size_t i = 0; i < ARRAY_LEN(busy); i++)
        submit_build_of(&busy[i], SMALL, 1000, 1 + i);
    assert_true(mock_await(&mock, 1));
    submit_build_of(&small, K4, 2000, 1000);
    mock_open(&mock);
    collect(done, ARRAY_LEN(done));
    assert_ptr_equal(done[0], &busy[0]);
    assert_true(done[1] == &small || done[2] == &small);
    for (size_t i = 0; i < ARRAY_LEN(done); i++)
        tear_down(done[i]);
}

/* What is released takes turns too. */
static void releases_take_turns(void **state)
{
    struct job gate, old[100], other, *done[102];

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        submit_build_of(&old[i], K4, 1000, 1 + i);
        collect(done, 1);
    }
    submit_build_of(&other, K4, 2000, 1000);
    collect(done, 1);
    mock.gate_size = SMALL;
    submit_build_of(&gate, SMALL, 3000, 2000);
    assert_true(mock_await(&mock, 1));
    for (size_t i = 0; i < ARRAY_LEN(old); i++) {
        old[i].kind = JOB_TEARDOWN;
        workers_submit(workers, &old[i]);
    }
    other.kind = JOB_TEARDOWN;
    workers_submit(workers, &other);
    mock_open(&mock);
    collect(done, ARRAY_LEN(done));
    assert_ptr_equal(done[0], &gate);
    /* Each takes two steps, and every other one is its user's. */
    assert_ptr_equal(done[1], &other);
    for (size_t i = 1; i < ARRAY_LEN(done); i++)
        buffer_free(done[i]->buffer);
    tear_down(&gate);
}

static void cancelled_while_running(void **state)
{
    struct job job, *done;

    (void)state;
    mock.gate_size = LARGE;
    submit_build(&job, LARGE);
    assert_true(mock_await(&mock, 1));
    atomic_store(&job.cancelled, true);
    mock_open(&mock);
    collect(&done, 1);
    assert_cancelled(&job);
    assert_int_equal(mock.pins, 1);
    assert_int_equal(mock.unpins, 1);
    assert_int_equal(mock.ends, 1);
}

static void cancelled_before_it_began(void **state)
{
    struct job jobs[100], *done[100];
    size_t at_work;

    (void)state;
    mock.gate_size = LARGE;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        submit_build(&jobs[i], LARGE);
    assert_true(mock_await(&mock, 1));
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        atomic_store(&jobs[i].cancelled, true);
    mock_open(&mock);
    collect(done, ARRAY_LEN(jobs));
    at_work = mock.begins;
    assert_true(at_work >= 1 && at_work < ARRAY_LEN(jobs));
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        assert_cancelled(&jobs[i]);
    assert_int_equal(mock.pins, mock.unpins);
    assert_int_equal(mock.ends, at_work);
}

/* A teardown is not to be given up. */
static void teardown_is_not_cancelled(void **state)
{
    struct job job, *done;

    (void)state;
    submit_build(&job, LARGE);
    collect(&done, 1);
    job.kind = JOB_TEARDOWN;
    atomic_store(&job.cancelled, true);
    workers_submit(workers, &job);
    collect(&done, 1);
    assert_false(job.failed);
    assert_int_equal(job.buffer->fd, -1);
    buffer_free(job.buffer);
}

static void *open_the_gate(void *data)
{
    (void)data;
    usleep(50000);
    mock_open(&mock);
    return NULL;
}

/* What is at work ends its step; what waits stays as it is. */
static void stop_with_a_queue(void **state)
{
    struct job jobs[100];
    size_t at_work = 0;
    pthread_t opener;

    (void)state;
    mock.gate_size = LARGE;
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        submit_build(&jobs[i], LARGE);
    assert_true(mock_await(&mock, 1));
    assert_int_equal(pthread_create(&opener, NULL, open_the_gate, NULL), 0);
    workers = workers_stop(workers);
    assert_null(workers);
    pthread_join(opener, NULL);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        at_work += jobs[i].buffer->fd >= 0;
        while (buffer_teardown_step(jobs[i].buffer, &memory, &mock.base, NULL) > 0)
            continue;
        buffer_free(jobs[i].buffer);
    }
    assert_true(at_work >= 1);
    assert_int_equal(mock.begins, at_work);
    /* One step each. */
    assert_int_equal(mock.pins, at_work);
}

static void stop_of_nothing(void **state)
{
    (void)state;
    assert_null(workers_stop(NULL));
}

static void cannot_start(void **state)
{
    struct workers *none = NULL;
    struct fault fault = { 0 };
    uint64_t saved = support_leave_room(0);
    int r = workers_start(&memory, &mock.base, &none, &fault);

    (void)state;
    support_restore_room(saved);
    assert_int_equal(r, -EMFILE);
    assert_null(none);
    assert_int_equal(fault.error, EMFILE);
    assert_int_equal(support_fds(), fds_before + 1); /* that of the workers there are */
}

#define MANY 600

/* Each is handed back exactly once, cancelled or not. */
static void many_jobs(void **state)
{
    static struct job jobs[MANY], *done[MANY];
    uint64_t random = support_seed();
    size_t built = 0;

    (void)state;
    for (size_t i = 0; i < MANY; i++) {
        submit_build(&jobs[i], 1 + support_below(&random, i % 4 ? 100 * K4 : 4 * BACKEND_PIECE));
        if (support_below(&random, 4) == 0)
            atomic_store(&jobs[support_below(&random, i + 1)].cancelled, true);
    }
    collect(done, MANY);
    for (size_t i = 0; i < MANY; i++) {
        assert_int_equal(done[i]->tag, 0);
        done[i]->tag = 1;
        if (done[i]->failed) {
            assert_cancelled(done[i]);
            done[i]->buffer = NULL;
            continue;
        }
        done[built++] = done[i];
    }
    assert_true(built > MANY / 2);
    for (size_t i = 0; i < built; i++) {
        done[i]->kind = JOB_TEARDOWN;
        workers_submit(workers, done[i]);
    }
    collect(done, built);
    for (size_t i = 0; i < built; i++) {
        assert_false(done[i]->failed);
        buffer_free(done[i]->buffer);
    }
    assert_int_equal(mock.pins, mock.unpins);
    assert_int_equal(mock.begins, mock.ends);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(builds_and_tears_down),
        TEST(descriptor_tells),
        TEST(failure_is_told),
        TEST(refused_teardown_is_told),
        TEST(small_overtakes_large),
        TEST(jobs_of_a_lane_take_turns),
        TEST(users_take_turns),
        TEST(releases_take_turns),
        TEST(cancelled_while_running),
        TEST(cancelled_before_it_began),
        TEST(teardown_is_not_cancelled),
        TEST(stop_with_a_queue),
        TEST(stop_of_nothing),
        TEST(cannot_start),
        TEST(many_jobs),
    };

    return cmocka_run_group_tests_name("job", tests, NULL, NULL);
}
