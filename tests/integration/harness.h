/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Harness: starts the real daemon on a private socket, runs pieces of a test as other users in other
 * processes, and reads the counters of the kernel that tell whether something was left behind.
 *
 * Used on the build machine and in the virtual machine alike. It asserts with cmocka: what it cannot
 * do fails the running test.
 *
 * Environment: DMABUFD_BUILD_DIR where dmabufd was built (default: the current directory),
 * DMABUFD_TEST_BACKEND fake (default), pagemap or iommufd, DMABUFD_TEST_DEVICE the donor's PCI
 * address for iommufd, DMABUFD_TEST_ALONE=1 that nobody else uses this host's memory.
 */
#ifndef TESTS_HARNESS_H
#define TESTS_HARNESS_H

#include <dmabufd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

#include <cmocka.h>

#include "tests/integration/notify.h"

/* Users of the tests; no names needed. Different only when the tests run as root. */
#define TEST_BROKER_UID 61901U
#define TEST_CLIENT_UID 61001U
#define TEST_OTHER_UID  61002U

#define DAEMON_ARGS_MAX 16

/** For functions of child processes, where an assertion has no test to fail: say where, return 1. */
#define CHECK(condition)                                                          \
    do {                                                                          \
        if (!(condition)) {                                                       \
            fprintf(stderr, "# %s:%d: %s (%s)\n", __FILE__, __LINE__, #condition, \
                    dmabufd_last_error());                                        \
            return 1;                                                             \
        }                                                                         \
    } while (0)

struct daemon {
    pid_t keeper;
    char directory[64];
    char socket[96];
    char log[96];             /* what it wrote to stderr */
    unsigned int descriptors; /* set before the start: its limit of them; 0: ours */
    void (*prepare)(void);    /* set before the start: called in the process that becomes it */
    struct notify notify;     /* what it told systemd */
};

/** test_backend() - the backend to test with. */
const char *test_backend(void);

/** daemon_start() - with the backend of the environment; @args: more options, NULL-terminated. */
void daemon_start(struct daemon *daemon, const char *const *args);

/** daemon_start_with() - with this backend. */
void daemon_start_with(struct daemon *daemon, const char *backend, const char *const *args);

/** daemon_try() - start one that may fail. Return: exit status, or -1 if it serves. */
int daemon_try(struct daemon *daemon, const char *backend, const char *const *args);

/** daemon_launch() / daemon_await() - its two halves. */
void daemon_launch(struct daemon *daemon, const char *backend, const char *const *args);
int daemon_await(struct daemon *daemon);

/** daemon_notified() - whether it told systemd @text, by now and since it was started. */
bool daemon_notified(struct daemon *daemon, const char *text);

/** daemon_stop() - SIGTERM, and it must end with status 0 and have left nothing of its files. */
void daemon_stop(struct daemon *daemon);

/** daemon_kill() - SIGKILL the keeper; for clean-up of failed tests too. */
void daemon_kill(struct daemon *daemon);

/** daemon_broker() - process id of the broker, once there is one; the last one, if some are left. */
pid_t daemon_broker(const struct daemon *daemon);

/** daemon_next_broker() - wait for another broker than @before. Return: its process id. */
pid_t daemon_next_broker(const struct daemon *daemon, pid_t before);

/** daemon_check_serves() - a new client gets memory, and gives it back. */
void daemon_check_serves(const struct daemon *daemon);

/** daemon_log_count() - how many lines of its log have @text in them. */
unsigned int daemon_log_count(const struct daemon *daemon, const char *text);

/**
 * spawn_as() - run a function in a child process as another user without capabilities
 * @function: returns the exit status; 0 is success
 *
 * Without root the child stays the user we are.
 */
pid_t spawn_as(uid_t uid, int (*function)(void *data), void *data);

/** spawn_in_groups() - the same, and it is in these supplementary groups, as root has made it so. */
pid_t spawn_in_groups(uid_t uid, const gid_t *groups, size_t count, int (*function)(void *data),
                      void *data);

/** join() - wait for a child. Return: its exit status, or 128 + signal. */
int join(pid_t pid);

/** run_as() - both, and the status must be 0. */
void run_as(uid_t uid, int (*function)(void *data), void *data);

/** wait_until() - ask again and again, for at most 20 s; fails the test then. */
void wait_until(bool (*condition)(void *data), void *data);

/**
 * A moment's state of kernel and daemon, to be the same before and after. The kernel's counters are
 * the whole host's: they are left out for a backend that does not pin, so that its tests can run
 * beside others, and but for huge pages where the environment does not say that we are alone.
 *
 * Nothing lists the mappings in an iommufd. But in an address space with a domain, as the daemon's
 * are, there is none without pages that are pinned, and charged to the process that made it; so one
 * that were left behind would show twice (mapping_shows_in_two_counts in tests/vm/contract-map.c). The
 * kernel's count of page tables tells nothing: it keeps those it has once used.
 */
struct leftovers {
    int64_t pinned_pages;      /* nr_foll_pin_acquired - nr_foll_pin_released */
    int64_t keeper_pinned_kib; /* VmPin: what the keeper's mappings pin, by iommufd's account */
    int64_t shmem_kib;         /* memory files that are not of huge pages */
    uint64_t huge_free;        /* huge pages of 2 MiB */
    uint64_t giant_free;       /* of 1 GiB */
    uint64_t keeper_fds;
    uint64_t buffers, bytes, pinned, jobs;
};

/** leftovers_read() - as they are once nothing goes on that changes them. */
void leftovers_read(const struct daemon *daemon, struct leftovers *ret);

/** leftovers_settle() - wait until they are as they were, and assert that they stay so. */
void leftovers_settle(const struct daemon *daemon, const struct leftovers *before);

/** huge_pages_free() - free huge pages of @page_size bytes, 0 if there are none of that size. */
uint64_t huge_pages_free(uint64_t page_size);

/** count_fds() - open descriptors of a process. */
unsigned int count_fds(pid_t pid);

/** write_all() / read_all() - all of it, or false. */
bool write_all(int fd, const void *data, size_t size);
bool read_all(int fd, void *data, size_t size);

/** send_fd() / receive_fd() - a descriptor and a 64-bit number over a socket pair. */
void send_fd(int sock, int fd, uint64_t number);
int receive_fd(int sock, uint64_t *ret_number);

/** frame_of() - physical address of a page of another process, from its pagemap; 0: not there. */
uint64_t frame_of(pid_t pid, uint64_t address);

#endif
