/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Random numbers and descriptors; see support.h. */
#include "tests/unit/support.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DEFAULT_SEED UINT64_C(20260603)

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

size_t support_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t count = 0;
    struct dirent *entry;

    if (!dir) {
        perror("/proc/self/fd");
        exit(99);
    }
    while ((entry = readdir(dir)))
        count += entry->d_name[0] != '.';
    closedir(dir);
    return count - 1; /* that of the directory */
}

uint64_t support_now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}
