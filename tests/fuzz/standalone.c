/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A main() for fuzzing targets where there is no libFuzzer.
 *
 *   fuzz-X                  a fixed number of random inputs, always the same ones; prints TAP
 *   fuzz-X FILE...          these inputs, to look at one that was found
 *   fuzz-X --seeds FOLDER   write the inputs to begin with there
 */
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common/cleanup.h"
#include "tests/fuzz/fuzz.h"
#include "tests/unit/support.h"

static uint8_t bytes[FUZZ_INPUT_MAX];

/* Copied to a block of exactly that size, so that a sanitizer sees one byte too far. */
static void run_one(const uint8_t *data, size_t size)
{
    CLEANUP_FREE uint8_t *exact = malloc(size ? size : 1);

    if (!exact)
        abort();
    memcpy(exact, data, size);
    LLVMFuzzerTestOneInput(exact, size);
}

static int run_file(const char *path)
{
    FILE *file = fopen(path, "re");
    size_t size;

    if (!file) {
        perror(path);
        return 1;
    }
    size = fread(bytes, 1, sizeof(bytes), file);
    fclose(file);
    run_one(bytes, size);
    printf("%s: %zu bytes\n", path, size);
    return 0;
}

static int write_seeds(const char *folder)
{
    size_t size;

    for (size_t i = 0; (size = fuzz_seed(i, bytes)) > 0; i++) {
        char path[PATH_MAX];
        FILE *file;
        bool ok;

        snprintf(path, sizeof(path), "%s/seed-%zu", folder, i);
        file = fopen(path, "we");
        ok = file && fwrite(bytes, 1, size, file) == size;
        if (!file || fclose(file) != 0 || !ok) {
            perror(path);
            return 1;
        }
    }
    return 0;
}

/* Some bits flipped, some bytes replaced, an end cut off, a part said twice. */
static size_t mutate(size_t size, uint64_t *random)
{
    uint64_t changes = support_below(random, 6);

    for (uint64_t i = 0; i < changes && size > 0; i++) {
        size_t at = support_below(random, size), n = support_below(random, size - at) + 1;

        switch (support_below(random, 5)) {
        case 0:
            bytes[at] ^= (uint8_t)(1U << support_below(random, 8));
            break;
        case 1:
            bytes[at] = (uint8_t)support_random(random);
            break;
        case 2:
            size = at;
            break;
        case 3:
            support_fill(random, bytes + at, n < 8 ? n : 8);
            break;
        default:
            if (size + n <= sizeof(bytes)) {
                memmove(bytes + at + n, bytes + at, size - at);
                size += n;
            }
            break;
        }
    }
    return size;
}

static int run_random(const char *name)
{
    uint64_t random = support_seed();
    size_t seeds = 0;

    while (fuzz_seed(seeds, bytes) > 0)
        seeds++;
    printf("1..1\n");
    for (unsigned int i = 0; i < fuzz_runs; i++) {
        size_t size = support_below(&random, 600);

        /* One in four is noise from the beginning. */
        if (seeds == 0 || i % 4 == 0)
            support_fill(&random, bytes, size);
        else
            size = mutate(fuzz_seed(support_below(&random, seeds), bytes), &random);
        run_one(bytes, size);
    }
    printf("ok 1 - %s: %u inputs\n", name, fuzz_runs);
    return 0;
}

int main(int argc, char **argv)
{
    const char *slash = strrchr(argv[0], '/');
    int status = 0;

    if (argc == 3 && strcmp(argv[1], "--seeds") == 0)
        return write_seeds(argv[2]);
    if (argc == 1)
        return run_random(slash ? slash + 1 : argv[0]);
    for (int i = 1; i < argc; i++)
        status |= run_file(argv[i]);
    return status;
}
