/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Log: to the journal when systemd started us, else to stderr. Used by keeper and broker only; the
 * library never logs.
 *
 * Rules: no dma_addr, physical address or IOVA above debug level; no text of a client unless it was
 * checked to be printable. One line an event.
 */
#ifndef DAEMON_LOG_H
#define DAEMON_LOG_H

#include <stdbool.h>
#include <syslog.h>

/**
 * log_open() - once at the start of each process
 * @role: "keeper" or "broker", put before each line
 * @debug: show LOG_DEBUG lines too
 */
void log_open(const char *role, bool debug);

/** log_is_debug() - whether LOG_DEBUG lines are shown. */
bool log_is_debug(void);

/** log_line() - one line at a syslog priority; keeps errno; any thread. */
void log_line(int priority, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...)     log_line(LOG_ERR, __VA_ARGS__)
#define log_warning(...) log_line(LOG_WARNING, __VA_ARGS__)
#define log_notice(...)  log_line(LOG_NOTICE, __VA_ARGS__)
#define log_info(...)    log_line(LOG_INFO, __VA_ARGS__)
#define log_debug(...)   log_line(LOG_DEBUG, __VA_ARGS__)

#endif
