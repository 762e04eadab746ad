/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Fuzz: what a target is. Built with clang's libFuzzer by tests/fuzz/run, and with standalone.c as
 * an ordinary check program that needs neither.
 *
 * A target ends the process (abort, or the sanitizer does) when something is not as it must be.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

/** Longest input that makes sense for any target, bytes. */
#define FUZZ_INPUT_MAX 20000U

/** LLVMFuzzerTestOneInput() - one input of any bytes. Return: 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/** fuzz_runs - how many random inputs a check of this target takes. */
extern const unsigned int fuzz_runs;

/**
 * fuzz_seed() - a valid input to begin with
 * @bytes: room for FUZZ_INPUT_MAX
 * Return: its length; 0: there is none with this index.
 */
size_t fuzz_seed(size_t index, uint8_t *bytes);

#endif
