/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The heap used by several threads: objects that go from hand to hand, threads that end, heaps that
 * end while threads still keep something of them. Worth most under the thread sanitizer.
 */
#include "tests/unit/cmocka-all.h"

#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/heap-source.h"
#include "tests/unit/support.h"

#define KIB     UINT64_C(1024)
#define MIB     (KIB * KIB)
#define THREADS 4
#define BOXES   64
#define STEPS   30000

/* At the beginning of every object of these tests. */
struct label {
    uint64_t size;
    uint64_t check; /* the address and the size */
};

struct shared {
    struct test_source source;
    dmabufd_heap *heap;
    struct label *_Atomic box[BOXES];
    _Atomic unsigned int failed; /* a line, for threads that cannot assert */
    _Atomic unsigned int started;
    _Atomic bool stop;
};

static void blame(struct shared *shared, unsigned int line)
{
    atomic_store(&shared->failed, line);
}

#define EXPECT(shared, condition)    \
    do {                             \
        if (!(condition))            \
            blame(shared, __LINE__); \
    } while (0)

static struct label *make(struct shared *shared, uint64_t *seed)
{
    uint64_t size = sizeof(struct label) + support_below(seed, UINT64_C(1) << (5 + *seed % 13));
    struct label *label = dmabufd_heap_alloc(shared->heap, size, 0);

    if (!label)
        return NULL;
    label->size = size;
    label->check = (uintptr_t)label ^ size;
    return label;
}

static void unmake(struct shared *shared, struct label *label)
{
    EXPECT(shared, label->check == ((uintptr_t)label ^ label->size));
    label->check = 0;
    EXPECT(shared, dmabufd_heap_free(shared->heap, label) == 0);
}

/* Puts what it made into a box, and frees what somebody else had put there. */
static void *exchange(void *data)
{
    struct shared *shared = data;
    uint64_t seed = 77 + atomic_fetch_add(&shared->started, 1);

    for (unsigned int step = 0; step < STEPS; step++) {
        size_t i = support_below(&seed, BOXES);
        struct label *label = step % 3 ? make(shared, &seed) : NULL;

        EXPECT(shared, label || step % 3 == 0 || errno == ENOMEM);
        label = atomic_exchange(&shared->box[i], label);
        if (label)
            unmake(shared, label);
        if (step % 5000 == 4999)
            dmabufd_heap_trim(shared->heap);
    }
    return NULL;
}

static void begin(struct shared *shared, uint64_t limit)
{
    struct dmabufd_heap_options options = { .size = sizeof(options), .limit = limit };

    memset(shared, 0, sizeof(*shared));
    test_source_init(&shared->source, (struct test_layout){ .unit = 256 * KIB });
    assert_int_equal(heap_create(&shared->source.ops, &options, &shared->heap, NULL), 0);
}

static void run(struct shared *shared, void *(*function)(void *), unsigned int threads)
{
    pthread_t thread[THREADS];

    for (unsigned int i = 0; i < threads; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, function, shared), 0);
    for (unsigned int i = 0; i < threads; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&shared->failed), 0);
}

static void finish(struct shared *shared)
{
    struct dmabufd_heap_statistics s = DMABUFD_HEAP_STATISTICS_INIT;

    for (size_t i = 0; i < BOXES; i++) {
        if (atomic_load(&shared->box[i]))
            unmake(shared, atomic_load(&shared->box[i]));
    }
    assert_int_equal(dmabufd_heap_get_statistics(shared->heap, &s), 0);
    assert_int_equal(s.objects, 0);
    assert_int_equal(s.bytes_in_use, 0);
    dmabufd_heap_trim(shared->heap);
    assert_int_equal(shared->source.live, 0);
    dmabufd_heap_destroy(shared->heap);
    test_source_deinit(&shared->source);
}

static struct shared shared_by_all;

static void from_hand_to_hand(void **state)
{
    (void)state;
    begin(&shared_by_all, 0);
    run(&shared_by_all, exchange, THREADS);
    finish(&shared_by_all);
}

static void from_hand_to_hand_at_the_limit(void **state)
{
    (void)state;
    begin(&shared_by_all, 2 * MIB);
    run(&shared_by_all, exchange, THREADS);
    finish(&shared_by_all);
}

/* One only allocates, the others only free. */
static void *produce_or_consume(void *data)
{
    struct shared *shared = data;
    bool producer = atomic_fetch_add(&shared->started, 1) == 0;

    for (unsigned int step = 0; step < STEPS; step++) {
        struct label *_Atomic *box = &shared->box[step % BOXES];
        struct label *label = NULL;

        if (producer) {
            label = dmabufd_heap_alloc(shared->heap, 4096, 4096);
            EXPECT(shared, label != NULL);
            if (!label)
                break;
            label->size = 4096;
            label->check = (uintptr_t)label ^ label->size;
        }
        label = atomic_exchange(box, label);
        if (label)
            unmake(shared, label);
    }
    return NULL;
}

static void producer_and_consumers(void **state)
{
    (void)state;
    begin(&shared_by_all, 0);
    run(&shared_by_all, produce_or_consume, 3);
    finish(&shared_by_all);
}

static void *fill_cache(void *data)
{
    struct shared *shared = data;
    void *p[100];

    for (size_t i = 0; i < 100; i++)
        p[i] = dmabufd_heap_alloc(shared->heap, 1 + i * 600, 0);
    for (size_t i = 0; i < 100; i++)
        EXPECT(shared, p[i] && dmabufd_heap_free(shared->heap, p[i]) == 0);
    return NULL;
}

/* What a thread kept is there for others when it has ended. */
static void thread_exit(void **state)
{
    struct dmabufd_heap_statistics s = DMABUFD_HEAP_STATISTICS_INIT;

    (void)state;
    begin(&shared_by_all, 0);
    for (unsigned int i = 0; i < 20; i++)
        run(&shared_by_all, fill_cache, 2);
    assert_int_equal(dmabufd_heap_get_statistics(shared_by_all.heap, &s), 0);
    assert_int_equal(s.allocations, 20 * 2 * 100);
    assert_int_equal(s.objects, 0);
    assert_int_equal(s.bytes_empty, s.bytes_held);
    finish(&shared_by_all);
}

static pthread_barrier_t barrier;

/* Has a cache of a heap that ends, then of the next, which may lie at the same address. */
static void *outlive(void *data)
{
    struct shared *shared = data;

    for (unsigned int round = 0; round < 50; round++) {
        pthread_barrier_wait(&barrier);
        fill_cache(shared);
        pthread_barrier_wait(&barrier);
    }
    return NULL;
}

static void heap_ends_first(void **state)
{
    struct shared *shared = &shared_by_all;
    pthread_t thread[2];

    (void)state;
    pthread_barrier_init(&barrier, NULL, 3);
    memset(shared, 0, sizeof(*shared));
    test_source_init(&shared->source, (struct test_layout){ .unit = 2 * MIB });
    for (unsigned int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, outlive, shared), 0);
    for (unsigned int round = 0; round < 50; round++) {
        assert_int_equal(heap_create(&shared->source.ops, NULL, &shared->heap, NULL), 0);
        pthread_barrier_wait(&barrier);
        pthread_barrier_wait(&barrier);
        dmabufd_heap_destroy(shared->heap);
    }
    for (unsigned int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&shared->failed), 0);
    test_source_deinit(&shared->source);
    pthread_barrier_destroy(&barrier);
}

static void *fill_cache_and_say_so(void *data)
{
    struct shared *shared = data;

    fill_cache(shared);
    atomic_store(&shared->stop, true);
    return NULL;
}

/* The heap ends at the moment at which a thread ends that kept something of it. */
static void both_end(void **state)
{
    struct shared *shared = &shared_by_all;

    (void)state;
    for (unsigned int round = 0; round < 100; round++) {
        pthread_t thread;

        begin(shared, 0);
        assert_int_equal(pthread_create(&thread, NULL, fill_cache_and_say_so, shared), 0);
        while (!atomic_load(&shared->stop))
            sched_yield();
        dmabufd_heap_destroy(shared->heap);
        pthread_join(thread, NULL);
        assert_int_equal(atomic_load(&shared->failed), 0);
        test_source_deinit(&shared->source);
    }
}

static void *churn(void *data)
{
    struct shared *shared = data;
    uint64_t seed = 5 + atomic_fetch_add(&shared->started, 1);

    while (!atomic_load(&shared->stop)) {
        struct label *a = make(shared, &seed), *b = make(shared, &seed);

        EXPECT(shared, a && b);
        if (a)
            unmake(shared, a);
        if (b)
            unmake(shared, b);
        dmabufd_heap_trim(shared->heap);
    }
    return NULL;
}

/* A child can end the heap whatever the threads of its parent were doing. */
static void fork_amid(void **state)
{
    struct shared *shared = &shared_by_all;
    pthread_t thread[2];

    (void)state;
    begin(shared, 0);
    for (unsigned int i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, churn, shared), 0);
    for (unsigned int i = 0; i < 30; i++) {
        int status;
        pid_t pid = fork();

        if (pid == 0) {
            bool refused = !dmabufd_heap_alloc(shared->heap, 64, 0) && errno == ENOTCONN;

            _exit(!refused);
        }
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
    }
    atomic_store(&shared->stop, true);
    for (unsigned int i = 0; i < 2; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(atomic_load(&shared->failed), 0);
    finish(shared);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(from_hand_to_hand),
        cmocka_unit_test(from_hand_to_hand_at_the_limit),
        cmocka_unit_test(producer_and_consumers),
        cmocka_unit_test(thread_exit),
        cmocka_unit_test(heap_ends_first),
        cmocka_unit_test(both_end),
        cmocka_unit_test(fork_amid),
    };

    return cmocka_run_group_tests_name("heap and threads", tests, NULL, NULL);
}
