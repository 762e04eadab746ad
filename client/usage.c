/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Who uses a device; see usage.h. */
#include "client/usage.h"

#include <dirent.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/cleanup.h"

struct list {
    char *text;
    size_t size;
    size_t used;
};

__attribute__((format(printf, 2, 3))) static void add(struct list *list, const char *format, ...)
{
    va_list args;

    if (list->used > 0 && list->used < list->size)
        list->used += (size_t)snprintf(list->text + list->used, list->size - list->used, ", ");
    if (list->used >= list->size)
        return;
    va_start(args, format);
    list->used += (size_t)vsnprintf(list->text + list->used, list->size - list->used, format, args);
    va_end(args);
}

static bool read_line(const char *path, char *line, size_t size)
{
    FILE *f = fopen(path, "re");
    bool got = f && fgets(line, (int)size, f);

    if (f)
        fclose(f);
    if (got)
        line[strcspn(line, "\n")] = '\0';
    return got;
}

/* Whether a member of a class in sysfs hangs off the device, at whatever depth. */
static bool hangs_off(const char *path, const struct pci_address *address)
{
    CLEANUP_FREE char *real = realpath(path, NULL);
    char part[32];

    snprintf(part, sizeof(part), "/%s/", address->text);
    return real && strstr(real, part);
}

static void look_at_net(const char *path, const char *name, struct list *list)
{
    char file[PATH_MAX], flags[32];

    if (snprintf(file, sizeof(file), "%s/flags", path) >= (int)sizeof(file))
        return;
    if (read_line(file, flags, sizeof(flags)) && (strtoul(flags, NULL, 16) & IFF_UP))
        add(list, "%s is up", name);
}

/* @number: "major:minor". */
static bool is_mounted(const char *number)
{
    CLEANUP_FREE char *line = NULL;
    FILE *f = fopen("/proc/self/mountinfo", "re");
    size_t size = 0;
    bool found = false;
    char device[32];

    while (f && !found && getline(&line, &size, f) > 0)
        found = sscanf(line, "%*d %*d %31s", device) == 1 && strcmp(device, number) == 0;
    if (f)
        fclose(f);
    return found;
}

static bool is_swap(const char *name)
{
    CLEANUP_FREE char *line = NULL;
    FILE *f = fopen("/proc/swaps", "re");
    size_t size = 0, length = strlen(name);
    bool found = false;

    while (f && !found && getline(&line, &size, f) > 0)
        found = strncmp(line, "/dev/", 5) == 0 && strncmp(line + 5, name, length) == 0 &&
                line[5 + length] == ' ';
    if (f)
        fclose(f);
    return found;
}

/* Device mapper and md take a disk without mounting it. */
static bool has_holders(const char *path)
{
    char folder[PATH_MAX];
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    if (snprintf(folder, sizeof(folder), "%s/holders", path) >= (int)sizeof(folder))
        return false;
    dir = opendir(folder);
    while (dir && !found && (entry = readdir(dir)))
        found = entry->d_name[0] != '.';
    if (dir)
        closedir(dir);
    return found;
}

static void look_at_block(const char *path, const char *name, struct list *list)
{
    char file[PATH_MAX], number[32];

    if (snprintf(file, sizeof(file), "%s/dev", path) >= (int)sizeof(file))
        return;
    if (read_line(file, number, sizeof(number)) && is_mounted(number))
        add(list, "%s is mounted", name);
    else if (is_swap(name))
        add(list, "%s is swap", name);
    else if (has_holders(path))
        add(list, "%s is part of another disk", name);
}

static void look_at_class(const char *class, const struct pci_address *address,
                          void (*look)(const char *path, const char *name, struct list *list),
                          struct list *list)
{
    char folder[PATH_MAX], path[PATH_MAX];
    struct dirent *entry;
    DIR *dir;

    snprintf(folder, sizeof(folder), "%s/class/%s", pci_sysfs, class);
    dir = opendir(folder);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] != '.' &&
            snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name) < (int)sizeof(path) &&
            hangs_off(path, address))
            look(path, entry->d_name, list);
    }
    if (dir)
        closedir(dir);
}

bool usage_by_host(const struct pci_address *address, char *text, size_t size)
{
    struct list list = { .text = text, .size = size };

    *text = '\0';
    look_at_class("net", address, look_at_net, &list);
    look_at_class("block", address, look_at_block, &list);
    return list.used > 0;
}

static bool has_open(const char *pid, const char *target)
{
    char folder[64], path[512], link[128];
    struct dirent *entry;
    bool found = false;
    DIR *dir;

    snprintf(folder, sizeof(folder), "/proc/%.20s/fd", pid);
    dir = opendir(folder);
    while (dir && !found && (entry = readdir(dir))) {
        ssize_t n;

        snprintf(path, sizeof(path), "%s/%s", folder, entry->d_name);
        n = readlink(path, link, sizeof(link) - 1);
        if (n < 0)
            continue;
        link[n] = '\0';
        found = strcmp(link, target) == 0;
    }
    if (dir)
        closedir(dir);
    return found;
}

bool usage_by_programs(const char *node, char *text, size_t size)
{
    struct list list = { .text = text, .size = size };
    char target[128], path[64], name[32];
    struct dirent *entry;
    DIR *dir = opendir("/proc");

    *text = '\0';
    snprintf(target, sizeof(target), "/dev/vfio/devices/%s", node);
    while (dir && (entry = readdir(dir))) {
        if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || !has_open(entry->d_name, target))
            continue;
        snprintf(path, sizeof(path), "/proc/%.20s/comm", entry->d_name);
        add(&list, "%.20s (%s)", entry->d_name,
            read_line(path, name, sizeof(name)) ? name : "it ended");
    }
    if (dir)
        closedir(dir);
    return list.used > 0;
}
