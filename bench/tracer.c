/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Counting by ptrace(2); see tracer.h. */
#include "bench/tracer.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define OPTIONS (PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE)

struct tracer_counts {
    atomic_int state; /* 1: begun; negative: an errno; 0: not yet */
    size_t count;
    unsigned long requests[TRACER_MAX];
    _Atomic uint64_t seen[TRACER_MAX];
};

/* The kernel's own words for the request's type; glibc's is an enum. */
static long trace(int request, pid_t thread, unsigned long address, void *data)
{
    return ptrace((enum __ptrace_request)request, thread, address, data);
}

static void note(struct tracer_counts *counts, pid_t thread)
{
    struct __ptrace_syscall_info info;

    if (trace(PTRACE_GET_SYSCALL_INFO, thread, sizeof(info), &info) < 0 ||
        info.op != PTRACE_SYSCALL_INFO_ENTRY || info.entry.nr != SYS_ioctl)
        return;
    for (size_t i = 0; i < counts->count; i++) {
        if (info.entry.args[1] == counts->requests[i])
            atomic_fetch_add(&counts->seen[i], 1);
    }
}

/* Threads that appear later come by PTRACE_O_TRACECLONE. */
static int seize_all(pid_t pid)
{
    const struct dirent *entry;
    char path[64];
    DIR *tasks;
    int r = 0;

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        return -errno;
    while (r == 0 && (entry = readdir(tasks))) {
        pid_t thread = atoi(entry->d_name);

        if (!isdigit((unsigned char)entry->d_name[0]))
            continue;
        /* To be stopped once, to be told to stop at system calls from then on. */
        if (trace(PTRACE_SEIZE, thread, 0, (void *)OPTIONS) < 0 ||
            trace(PTRACE_INTERRUPT, thread, 0, NULL) < 0)
            r = -errno;
    }
    closedir(tasks);
    return r;
}

/* Return: how many threads have stopped for the first time, which is 0 or 1. */
static int serve(struct tracer_counts *counts, pid_t thread, int status)
{
    int signal = WSTOPSIG(status), event = status >> 16;
    bool own = event == PTRACE_EVENT_STOP;

    if (signal == (SIGTRAP | 0x80)) {
        note(counts, thread);
        signal = 0;
    } else if (event != 0) {
        signal = 0;
    }
    trace(PTRACE_SYSCALL, thread, 0, (void *)(intptr_t)signal);
    return own;
}

static int threads_of(pid_t pid)
{
    char path[64], line[128];
    int threads = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
    file = fopen(path, "re");
    while (file && fgets(line, sizeof(line), file)) {
        if (sscanf(line, "Threads: %d", &threads) == 1)
            break;
    }
    if (file)
        fclose(file);
    return threads;
}

/* Ends by a signal only; the kernel then lets go of what was traced. */
__attribute__((noreturn)) static void be_tracer(struct tracer_counts *counts, pid_t pid)
{
    int r = seize_all(pid), stopped = 0, status;
    pid_t thread;

    if (r < 0) {
        atomic_store(&counts->state, r);
        _exit(1);
    }
    while ((thread = waitpid(-1, &status, __WALL)) > 0) {
        if (!WIFSTOPPED(status))
            continue;
        stopped += serve(counts, thread, status);
        if (atomic_load(&counts->state) == 0 && stopped >= threads_of(pid))
            atomic_store(&counts->state, 1);
    }
    _exit(0);
}

int tracer_start(struct tracer *tracer, pid_t pid, const unsigned long *requests, size_t count)
{
    struct tracer_counts *counts =
        mmap(NULL, sizeof(*counts), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int state;

    if (counts == MAP_FAILED)
        return -errno;
    counts->count = count;
    for (size_t i = 0; i < count; i++)
        counts->requests[i] = requests[i];
    *tracer = (struct tracer){ .counts = counts, .pid = fork() };
    if (tracer->pid == 0) {
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        be_tracer(counts, pid);
    }
    if (tracer->pid < 0) {
        state = -errno;
        tracer_stop(tracer);
        return state;
    }
    while ((state = atomic_load(&counts->state)) == 0) {
        usleep(1000);
        if (waitpid(tracer->pid, NULL, WNOHANG) == tracer->pid) {
            tracer->pid = 0;
            state = atomic_load(&counts->state);
            state = state < 0 ? state : -EIO;
            break;
        }
    }
    if (state < 0)
        tracer_stop(tracer);
    return state < 0 ? state : 0;
}

uint64_t tracer_count(const struct tracer *tracer, size_t i)
{
    return atomic_load(&tracer->counts->seen[i]);
}

void tracer_stop(struct tracer *tracer)
{
    if (tracer->pid > 0) {
        kill(tracer->pid, SIGKILL);
        waitpid(tracer->pid, NULL, 0);
    }
    tracer->pid = 0;
    if (tracer->counts)
        munmap(tracer->counts, sizeof(*tracer->counts));
    tracer->counts = NULL;
}
