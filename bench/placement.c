/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Finding the daemon and moving threads; see placement.h. */
#include "bench/placement.h"

#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

static void close_directory(DIR **directory)
{
    if (*directory)
        closedir(*directory);
}

/* @name: NULL for any. */
static bool is_child(const char *pid, pid_t parent, const char *name)
{
    char path[300], comm[32], state;
    FILE *file;
    int ppid, n;

    snprintf(path, sizeof(path), "/proc/%s/stat", pid);
    file = fopen(path, "re");
    if (!file)
        return false;
    n = fscanf(file, "%*d (%31[^)]) %c %d", comm, &state, &ppid);
    fclose(file);
    return n == 3 && ppid == parent && (!name || strcmp(comm, name) == 0);
}

static pid_t find_child(pid_t parent, const char *name)
{
    CLEANUP(close_directory) DIR *proc = opendir("/proc");
    const struct dirent *entry;

    while (proc && (entry = readdir(proc))) {
        if (isdigit((unsigned char)entry->d_name[0]) && is_child(entry->d_name, parent, name))
            return atoi(entry->d_name);
    }
    return 0;
}

void placement_init(struct placement *placement)
{
    *placement = (struct placement){ .near = -1, .far = -1 };
    if (sched_getaffinity(0, sizeof(placement->all), &placement->all) < 0)
        err(1, "sched_getaffinity");
    for (int cpu = 0; cpu < CPU_SETSIZE && placement->far < 0; cpu++) {
        if (!CPU_ISSET((size_t)cpu, &placement->all))
            continue;
        if (placement->near < 0)
            placement->near = cpu;
        else
            placement->far = cpu;
    }
    placement->keeper = find_child(getppid(), "dmabufd");
    placement_find_broker(placement);
}

void placement_find_broker(struct placement *placement)
{
    if (placement->keeper)
        placement->broker = find_child(placement->keeper, NULL); /* its only one */
    if (!placement->broker)
        errx(1, "there is no private daemon beside this program: start it with scripts/bench, or "
                "with \"dmabufctl run --\"");
}

bool placement_possible(const struct placement *placement, enum place place)
{
    return place != PLACE_TWO_CPUS || placement->far >= 0;
}

static void set_thread(pid_t thread, const cpu_set_t *cpus)
{
    if (sched_setaffinity(thread, sizeof(*cpus), cpus) < 0)
        err(1, "cannot pin thread %d", (int)thread);
}

static void set_process(pid_t pid, const cpu_set_t *cpus)
{
    CLEANUP(close_directory) DIR *tasks = NULL;
    const struct dirent *entry;
    char path[64];

    snprintf(path, sizeof(path), "/proc/%d/task", (int)pid);
    tasks = opendir(path);
    if (!tasks)
        err(1, "%s", path);
    while ((entry = readdir(tasks))) {
        if (isdigit((unsigned char)entry->d_name[0]))
            set_thread(atoi(entry->d_name), cpus);
    }
}

static cpu_set_t cpus_of(const struct placement *placement, enum place place, bool peer)
{
    cpu_set_t cpus;
    int cpu;

    if (place == PLACE_ANY_CPU)
        return placement->all;
    CPU_ZERO(&cpus);
    cpu = place == PLACE_TWO_CPUS && peer ? placement->far : placement->near;
    CPU_SET((size_t)cpu, &cpus);
    return cpus;
}

void placement_enter(const struct placement *placement, enum place place)
{
    cpu_set_t here = cpus_of(placement, place, false);
    cpu_set_t there = cpus_of(placement, place, true);

    set_thread(0, &here);
    set_process(placement->keeper, &there);
    set_process(placement->broker, &there);
}

void placement_enter_peer(const struct placement *placement, enum place place)
{
    cpu_set_t there = cpus_of(placement, place, true);

    set_thread(0, &there);
}

const char *placement_name(enum place place)
{
    static const char *const names[PLACE_COUNT] = {
        [PLACE_SAME_CPU] = "same CPU", [PLACE_TWO_CPUS] = "two CPUs", [PLACE_ANY_CPU] = "any CPU"
    };

    return names[place];
}
