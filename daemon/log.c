/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where log lines go; see log.h. */
#include "daemon/log.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

static const char *log_role = "dmabufd";
static bool log_debug_on;
static bool log_to_journal;

/* $JOURNAL_STREAM names the device and inode of our stderr if that is the journal (systemd.exec(5)). */
static bool stderr_is_journal(void)
{
    const char *stream = getenv("JOURNAL_STREAM");
    unsigned long long dev, ino;
    struct stat st;

    return stream && sscanf(stream, "%llu:%llu", &dev, &ino) == 2 &&
           fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev && st.st_ino == ino;
}

void log_open(const char *role, bool debug)
{
    log_role = role;
    log_debug_on = debug;
    log_to_journal = stderr_is_journal();
}

bool log_is_debug(void)
{
    return log_debug_on;
}

void log_line(int priority, const char *format, ...)
{
    static const char *const names[] = { "emerg",   "alert",  "critical", "error",
                                         "warning", "notice", "info",     "debug" };
    int saved = errno;
    char text[1024];
    va_list args;

    if (priority == LOG_DEBUG && !log_debug_on)
        return;
    va_start(args, format);
    vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (!log_to_journal || sd_journal_send("MESSAGE=%s: %s", log_role, text, "PRIORITY=%d",
                                           priority, "DMABUFD_ROLE=%s", log_role, NULL) < 0)
        dprintf(STDERR_FILENO, "dmabufd[%d] %s: %s: %s\n", (int)getpid(), log_role,
                names[priority & 7], text);
    errno = saved;
}
