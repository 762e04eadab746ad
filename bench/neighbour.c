/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Row "neighbour": a small allocation and its free while another client allocates and frees a lot
 * of memory, beside the same alone. The other client is a child process that works when told to.
 */
#include <err.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bench.h"

#define ROW "neighbour"
/* What the other client asks for; at most half of what the host has to give. */
#define BIG_MAX      (8 * GIB)
#define PHASE_S      3
#define PHASE_MAX_NS UINT64_C(60000000000)
#define ROUNDS       2

/* In memory that both processes see. */
struct shared {
    atomic_bool working; /* go on */
    atomic_uint rounds;  /* allocated and freed so often */
    char why[160];       /* the neighbour ended */
};

struct neighbour {
    pid_t pid;
    int socket; /* a byte there: work; a byte back: at work, or stopped, in turns */
    struct shared *shared;
    uint64_t size;
};

__attribute__((noreturn)) static void give_up(const struct neighbour *neighbour)
{
    snprintf(neighbour->shared->why, sizeof(neighbour->shared->why), "%s", dmabufd_last_error());
    _exit(1);
}

/* Ends when it cannot allocate: then there is nothing to measure. */
__attribute__((noreturn)) static void be_neighbour(const struct neighbour *neighbour)
{
    dmabufd *d;
    char byte;

    if (dmabufd_connect(&d, NULL) < 0)
        give_up(neighbour);
    while (read(neighbour->socket, &byte, 1) == 1) {
        if (write(neighbour->socket, &byte, 1) != 1)
            break;
        while (atomic_load(&neighbour->shared->working)) {
            dmabufd_buffer *buffer;

            if (dmabufd_alloc(d, neighbour->size, PAGE_SMALL, &buffer) < 0)
                give_up(neighbour);
            dmabufd_free(buffer);
            atomic_fetch_add(&neighbour->shared->rounds, 1);
        }
        if (write(neighbour->socket, &byte, 1) != 1)
            break;
    }
    _exit(0);
}

static void neighbour_start(struct neighbour *neighbour, const struct placement *placement,
                            enum place place)
{
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        err(1, "socketpair");
    neighbour->shared = mmap(NULL, sizeof(struct shared), PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (neighbour->shared == MAP_FAILED)
        err(1, "mmap");
    neighbour->pid = fork();
    if (neighbour->pid < 0)
        err(1, "fork");
    if (neighbour->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        placement_enter_peer(placement, place);
        fd_close(&pair[0]);
        neighbour->socket = pair[1];
        be_neighbour(neighbour);
    }
    fd_close(&pair[1]);
    neighbour->socket = pair[0];
}

static void neighbour_stop(struct neighbour *neighbour)
{
    fd_close(&neighbour->socket);
    if (neighbour->pid > 0) {
        kill(neighbour->pid, SIGKILL);
        waitpid(neighbour->pid, NULL, 0);
    }
    munmap(neighbour->shared, sizeof(struct shared));
}

/* Return: false if it has ended. */
static bool wait_for_byte(const struct neighbour *neighbour)
{
    char byte;

    return read(neighbour->socket, &byte, 1) == 1;
}

static bool neighbour_work(const struct neighbour *neighbour)
{
    atomic_store(&neighbour->shared->working, true);
    return write(neighbour->socket, "", 1) == 1 && wait_for_byte(neighbour);
}

static bool neighbour_rest(const struct neighbour *neighbour)
{
    atomic_store(&neighbour->shared->working, false);
    return wait_for_byte(neighbour);
}

static void small_request(struct bench *bench, struct samples *samples)
{
    uint64_t begin = now_ns();
    dmabufd_buffer *buffer;

    if (dmabufd_alloc(bench->d, PAGE_SMALL, PAGE_SMALL, &buffer) < 0 || dmabufd_free(buffer) < 0)
        errx(1, "%s", dmabufd_last_error());
    samples_add_since(samples, begin);
}

/* Until the time is up; @shared: and until the neighbour has freed what it allocated, for freeing
 * may be as hard on others; but within bounds. */
static void small_requests(struct bench *bench, struct shared *shared, struct samples *samples)
{
    struct pace pace = pace_begin(bench, PHASE_S, 1);
    unsigned int rounds = shared ? atomic_load(&shared->rounds) : 0;
    uint64_t end = now_ns() + PHASE_MAX_NS;

    while (pace_more(&pace) || (shared && atomic_load(&shared->rounds) == rounds && now_ns() < end))
        small_request(bench, samples);
}

static bool take_turns(struct bench *bench, const struct neighbour *neighbour,
                       struct samples *beside, struct samples *alone)
{
    for (int i = 0; i < ROUNDS; i++) {
        small_requests(bench, NULL, alone);
        if (!neighbour_work(neighbour))
            return false;
        usleep(20000);
        small_requests(bench, neighbour->shared, beside);
        if (!neighbour_rest(neighbour))
            return false;
    }
    return true;
}

static void measure(struct bench *bench, enum place place)
{
    CLEANUP_SAMPLES struct samples beside = { 0 };
    CLEANUP_SAMPLES struct samples alone = { 0 };
    struct neighbour neighbour = { .size = bench->quick ? BIG_MAX / 16 : BIG_MAX };
    struct result result = { .row = ROW,
                             .where = placement_name(place),
                             .floor_name = "the same while nobody else asks for anything" };
    char size[16];

    while (neighbour.size > meminfo("MemAvailable:") / 2)
        neighbour.size /= 2;
    snprintf(result.what, sizeof(result.what), "4 KiB allocate + free beside %s",
             format_size(size, neighbour.size));
    if (!placement_possible(&bench->placement, place)) {
        report_skip(&bench->report, ROW, result.what, result.where, "one CPU");
        return;
    }
    placement_enter(&bench->placement, place);
    neighbour_start(&neighbour, &bench->placement, place);
    if (take_turns(bench, &neighbour, &beside, &alone)) {
        result.ours = samples_summary(&beside);
        result.floor = samples_summary(&alone);
        report_add(&bench->report, &result);
    } else {
        report_skip(&bench->report, ROW, result.what, result.where, neighbour.shared->why);
    }
    neighbour_stop(&neighbour);
}

void row_neighbour(struct bench *bench)
{
    measure(bench, PLACE_SAME_CPU);
    measure(bench, PLACE_TWO_CPUS);
    measure(bench, PLACE_ANY_CPU);
}
