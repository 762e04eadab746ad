/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Group: one daemon for all tests of a program, with the backend of the environment and no options;
 * for programs whose tests leave it as they found it.
 */
#ifndef TESTS_GROUP_H
#define TESTS_GROUP_H

#include "tests/integration/harness.h"

extern struct daemon daemon_of_group;

/** group_start(), group_stop() - fixture of the group; the daemon must end well. */
int group_start(void **state);
int group_stop(void **state);

#endif
