/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Keeper: the process that holds the privilege, from start to end. */
#ifndef KEEPER_KEEPER_H
#define KEEPER_KEEPER_H

#include "daemon/options.h"

/** keeper_run() - serve until SIGTERM or SIGINT. Return: exit status. */
int keeper_run(const struct options *options);

#endif
