/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random numbers, descriptors, time; see support.h. */
#include "tests/unit/support.h"

#include <dirent.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#define DEFAULT_SEED UINT64_C(20260603)

const atomic_bool support_no = false, support_yes = true;

uint64_t support_seed(void)
{
    const char *text = getenv("DMABUFD_TEST_SEED");
    uint64_t seed = text ? strtoull(text, NULL, 0) : DEFAULT_SEED;

    printf("# DMABUFD_TEST_SEED=%llu\n", (unsigned long long)seed);
    return seed;
}

/* Unsigned arithmetic wraps on purpose. */
uint64_t support_random(uint64_t *state)
{
    uint64_t z;

    *state += UINT64_C(0x9e3779b97f4a7c15);
    z = *state;
    z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
    return z ^ (z >> 31);
}

uint64_t support_below(uint64_t *state, uint64_t bound)
{
    return support_random(state) % bound;
}

void support_fill(uint64_t *state, void *bytes, size_t size)
{
    unsigned char *p = bytes;

    while (size > 0) {
        uint64_t value = support_random(state);
        size_t n = size < sizeof(value) ? size : sizeof(value);

        memcpy(p, &value, n);
        p += n;
        size -= n;
    }
}

static void give_up(const char *what)
{
    perror(what);
    exit(99);
}

size_t support_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    struct dirent *entry;

    if (!dir)
        give_up("/proc/self/fd");
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* that of the directory */
}

static void set_limit(uint64_t value)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
        limit.rlim_cur = value;
        if (setrlimit(RLIMIT_NOFILE, &limit) == 0)
            return;
    }
    give_up("RLIMIT_NOFILE");
}

uint64_t support_leave_room(unsigned int count)
{
    struct rlimit limit;
    int lowest = dup(STDOUT_FILENO);

    if (lowest < 0 || getrlimit(RLIMIT_NOFILE, &limit) < 0)
        give_up("RLIMIT_NOFILE");
    close(lowest);
    set_limit((unsigned int)lowest + count);
    return limit.rlim_cur;
}

void support_restore_room(uint64_t saved)
{
    set_limit(saved);
}

uint64_t support_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
