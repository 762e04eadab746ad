/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What several rows need; see bench.h. */
#include "bench/bench.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

const char *format_size(char text[16], uint64_t size)
{
    if (size < KIB)
        snprintf(text, 16, "%" PRIu64 " B", size);
    else if (size >= GIB)
        snprintf(text, 16, "%" PRIu64 " GiB", size / GIB);
    else if (size >= MIB)
        snprintf(text, 16, "%" PRIu64 " MiB", size / MIB);
    else
        snprintf(text, 16, "%" PRIu64 " KiB", size / KIB);
    return text;
}

uint64_t meminfo(const char *field)
{
    unsigned long long kib = 0;
    char line[128];
    FILE *file = fopen("/proc/meminfo", "re");

    if (!file)
        return 0;
    while (fgets(line, sizeof(line), file)) {
        if (strncmp(line, field, strlen(field)) == 0 &&
            sscanf(line + strlen(field), "%llu", &kib) == 1)
            break;
        kib = 0;
    }
    fclose(file);
    return (uint64_t)kib * KIB;
}

void add_peer(const struct bench *bench, struct result *result, const char *name,
              struct samples *samples)
{
    result->peer = samples_summary(samples);
    result->peer_name = peer_is_there(&bench->peer) ? name : bench->peer.why;
    if (peer_is_there(&bench->peer) && samples->count == 0)
        snprintf(result->note, sizeof(result->note), "no peer: %s", bench->peer.why);
}
