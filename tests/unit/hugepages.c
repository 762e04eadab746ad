/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Files instead of huge pages; see hugepages.h. */
#include "tests/unit/hugepages.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define PLACE "/sys/kernel/mm/hugepages"

static void give_up(const char *what)
{
    perror(what);
    exit(99);
}

static bool write_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "we");
    bool ok = file && fputs(text, file) >= 0;

    return file && fclose(file) == 0 && ok;
}

/* Without root: root of a user namespace of our own, where making one is allowed. */
static bool become_root_of_something(void)
{
    char uids[32], gids[32];

    snprintf(uids, sizeof(uids), "0 %u 1", geteuid());
    snprintf(gids, sizeof(gids), "0 %u 1", getegid());
    return unshare(CLONE_NEWUSER) == 0 && write_text("/proc/self/uid_map", uids) &&
           write_text("/proc/self/setgroups", "deny") && write_text("/proc/self/gid_map", gids);
}

bool hugepages_pretend_begin(void)
{
    if (access(PLACE, X_OK) < 0 || (geteuid() != 0 && !become_root_of_something()) ||
        unshare(CLONE_NEWNS) < 0)
        return false;
    return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("pretended", PLACE, "tmpfs", 0, "mode=0755") == 0;
}

static void write_number(const char *folder, const struct hugepages *size, const char *name,
                         unsigned int value)
{
    char path[160];
    FILE *file;

    snprintf(path, sizeof(path), "%s/hugepages-%llukB/%s", folder,
             (unsigned long long)(size->page_size >> 10), name);
    file = fopen(path, "we");
    if (!file || fprintf(file, "%u\n", value) < 0 || fclose(file) != 0)
        give_up(path);
}

void hugepages_pretend(const struct hugepages *sizes, unsigned int count)
{
    if (umount2(PLACE, MNT_DETACH) < 0 || mount("pretended", PLACE, "tmpfs", 0, "mode=0755") < 0)
        give_up(PLACE);
    for (unsigned int i = 0; i < count; i++) {
        char path[128];

        snprintf(path, sizeof(path), PLACE "/hugepages-%llukB",
                 (unsigned long long)(sizes[i].page_size >> 10));
        if (mkdir(path, 0755) < 0)
            give_up(path);
        write_number(PLACE, &sizes[i], "nr_hugepages", sizes[i].total);
        write_number(PLACE, &sizes[i], "free_hugepages", sizes[i].free);
        write_number(PLACE, &sizes[i], "resv_hugepages", sizes[i].reserved);
    }
}

void hugepages_pretend_node(unsigned int node, uint64_t page_size, unsigned int total,
                            unsigned int free)
{
    const struct hugepages size = { .page_size = page_size };
    char path[96], folder[128];

    snprintf(path, sizeof(path), PLACE "/node%u", node);
    if (mkdir(path, 0755) < 0)
        give_up(path);
    strcat(path, "/hugepages");
    snprintf(folder, sizeof(folder), "%s/hugepages-%llukB", path,
             (unsigned long long)(page_size >> 10));
    if (mkdir(path, 0755) < 0 || mkdir(folder, 0755) < 0)
        give_up(folder);
    write_number(path, &size, "nr_hugepages", total);
    write_number(path, &size, "free_hugepages", free);
}
