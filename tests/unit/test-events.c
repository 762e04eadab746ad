/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Events in the library (client/event.h), against a daemon that is played here: it greets, and then
 * says what the test wants, when it wants. Buffers and the real daemon are in
 * tests/integration/test-events.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "common/cleanup.h"
#include "tests/unit/fake-daemon.h"

#define PATIENCE_MS 20000
/* Races that have to be lost sometimes. */
#define ROUNDS 300

static void meet_events(struct fake *fake, dmabufd **ret)
{
    assert_int_equal(fake_meet(fake, PROTO_FEATURE_EVENTS, ret), 0);
    assert_int_equal(fake->asked, PROTO_FEATURE_EVENTS);
}

static void part(struct fake *fake, dmabufd *d)
{
    fd_close(&fake->sock);
    dmabufd_disconnect(d);
}

static bool readable(int fd, int timeout)
{
    struct pollfd wait = { .fd = fd, .events = POLLIN };

    return poll(&wait, 1, timeout) == 1 && (wait.revents & POLLIN);
}

/* Return: the kind of the next event; 0: none. */
static int next(dmabufd *d)
{
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    int r = dmabufd_dispatch(d, &event);

    assert_true(r == 0 || r == 1);
    if (r == 0)
        return 0;
    assert_int_equal(event.size, sizeof(event));
    assert_true(strlen(event.reason) > 0);
    return (int)event.kind;
}

/* As a program's loop does it: poll, dispatch. Return: the first event. */
static int wait_for_event(dmabufd *d, int fd)
{
    for (;;) {
        int kind;

        assert_true(readable(fd, PATIENCE_MS));
        kind = next(d);
        if (kind)
            return kind;
    }
}

/* Nothing more: the descriptor comes to rest. */
static void check_rest(dmabufd *d, int fd)
{
    assert_int_equal(next(d), 0);
    assert_false(readable(fd, 0));
}

static void told_in_order(void **unused)
{
    struct fake fake;
    dmabufd *d;
    int fd;

    (void)unused;
    meet_events(&fake, &d);
    fd = dmabufd_event_fd(d);
    assert_true(fd >= 0);
    assert_int_equal(dmabufd_event_fd(d), fd);
    assert_int_equal(fcntl(fd, F_GETFD), FD_CLOEXEC);
    check_rest(d, fd);
    fake_say_event(&fake, 4711);
    assert_true(readable(fd, PATIENCE_MS));
    check_rest(d, fd);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    assert_int_equal(wait_for_event(d, fd), DMABUFD_EVENT_ENDING);
    check_rest(d, fd);
    fd_close(&fake.sock);
    assert_int_equal(wait_for_event(d, fd), DMABUFD_EVENT_LOST);
    check_rest(d, fd);
    part(&fake, d);
}

static void without_a_descriptor(void **unused)
{
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    assert_int_equal(next(d), 0);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    fd_close(&fake.sock);
    assert_int_equal(next(d), DMABUFD_EVENT_ENDING);
    assert_int_equal(next(d), DMABUFD_EVENT_LOST);
    assert_int_equal(next(d), 0);
    /* And somebody who comes to poll now finds nothing. */
    assert_true(dmabufd_event_fd(d) >= 0);
    check_rest(d, dmabufd_event_fd(d));
    part(&fake, d);
}

/* One more event than is told at a time keeps the descriptor readable. */
static void readable_until_told(void **unused)
{
    struct fake fake;
    dmabufd *d;
    int fd;

    (void)unused;
    meet_events(&fake, &d);
    fd = dmabufd_event_fd(d);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    fd_close(&fake.sock);
    assert_int_equal(wait_for_event(d, fd), DMABUFD_EVENT_ENDING);
    assert_true(readable(fd, 0));
    assert_int_equal(next(d), DMABUFD_EVENT_LOST);
    check_rest(d, fd);
    part(&fake, d);
}

/* ---- beside calls ---- */

struct caller {
    dmabufd *d;
    pthread_t thread;
    int result;
};

static void *call(void *data)
{
    struct caller *caller = data;
    struct dmabufd_status status = { 0 };

    caller->result = dmabufd_get_status(caller->d, &status);
    if (caller->result == 0 && status.clients != 7)
        caller->result = 1;
    return NULL;
}

/* Return: id of its request. */
static uint64_t call_begins(struct caller *caller, struct fake *fake, dmabufd *d)
{
    *caller = (struct caller){ .d = d };
    assert_int_equal(pthread_create(&caller->thread, NULL, call, caller), 0);
    return fake_hear(fake);
}

static void heard_by_a_call(void **unused)
{
    struct caller caller;
    struct fake fake;
    dmabufd *d;
    int fd;

    (void)unused;
    meet_events(&fake, &d);
    fd = dmabufd_event_fd(d);
    check_rest(d, fd);
    uint64_t id = call_begins(&caller, &fake, d);

    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    fake_say_status(&fake, id);
    pthread_join(caller.thread, NULL);
    assert_int_equal(caller.result, 0);
    /* The socket is empty: only the bell can tell. */
    assert_int_equal(wait_for_event(d, fd), DMABUFD_EVENT_ENDING);
    check_rest(d, fd);
    part(&fake, d);
}

/* The reply is the call's, the event behind it is nobody's unless it is told on. */
static void left_behind_by_a_call(void **unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        struct caller caller;
        struct fake fake;
        dmabufd *d;
        int fd, kind;

        meet_events(&fake, &d);
        fd = dmabufd_event_fd(d);
        check_rest(d, fd);
        uint64_t id = call_begins(&caller, &fake, d);

        fake_say_status(&fake, id);
        fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
        kind = next(d);
        pthread_join(caller.thread, NULL);
        assert_int_equal(caller.result, 0);
        if (kind == 0)
            kind = wait_for_event(d, fd);
        assert_int_equal(kind, DMABUFD_EVENT_ENDING);
        check_rest(d, fd);
        part(&fake, d);
    }
}

/* A dispatch can come between a call's request and its reply: then it passes the reply on. */
static void replies_read_by_dispatch(void **unused)
{
    struct caller caller;
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    for (int i = 0; i < ROUNDS; i++) {
        uint64_t id = call_begins(&caller, &fake, d);

        fake_say_status(&fake, id);
        assert_int_equal(next(d), 0);
        pthread_join(caller.thread, NULL);
        assert_int_equal(caller.result, 0);
    }
    part(&fake, d);
}

/*
 * With a request unread the kernel reports a reset before it hands out what was sent; how much the
 * caller has read by then is chance.
 */
static void last_words_before_a_reset(void **unused)
{
    (void)unused;
    for (int i = 0; i < ROUNDS; i++) {
        struct caller caller;
        struct fake fake;
        dmabufd *d;

        meet_events(&fake, &d);
        caller = (struct caller){ .d = d };
        assert_int_equal(pthread_create(&caller.thread, NULL, call, &caller), 0);
        assert_true(readable(fake.sock, PATIENCE_MS));
        fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
        fd_close(&fake.sock);
        pthread_join(caller.thread, NULL);
        assert_int_equal(caller.result, -ENOTCONN);
        assert_int_equal(next(d), DMABUFD_EVENT_ENDING);
        assert_int_equal(next(d), DMABUFD_EVENT_LOST);
        assert_int_equal(next(d), 0);
        part(&fake, d);
    }
}

/* A request that cannot be sent any more: what the daemon said before comes first. */
static void last_words_before_a_failed_call(void **unused)
{
    struct dmabufd_status status;
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    fd_close(&fake.sock);
    assert_int_equal(dmabufd_get_status(d, &status), -ENOTCONN);
    assert_non_null(strstr(dmabufd_last_error(), "the daemon was stopped"));
    assert_int_equal(next(d), DMABUFD_EVENT_ENDING);
    assert_int_equal(next(d), DMABUFD_EVENT_LOST);
    part(&fake, d);
}

/* ---- what must not be ---- */

static void a_daemon_that_breaks_the_protocol(void **unused)
{
    Dmabufd__Proto__Event event = DMABUFD__PROTO__EVENT__INIT;
    proto_reply reply = DMABUFD__PROTO__REPLY__INIT;
    struct dmabufd_event told = DMABUFD_EVENT_INIT;
    struct wire_fds fds = WIRE_FDS_NONE;
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    reply.body_case = DMABUFD__PROTO__REPLY__BODY_EVENT;
    reply.event = &event;
    fds.fd[0] = fake.sock;
    fds.count = 1;
    fake_say(&fake, &reply, &fds);
    assert_int_equal(dmabufd_dispatch(d, &told), 1);
    assert_int_equal(told.kind, DMABUFD_EVENT_LOST);
    assert_non_null(strstr(told.reason, "broke the protocol"));
    part(&fake, d);
    assert_int_equal(fake_meet(&fake, PROTO_FEATURE_EVENTS << 1, &d), -EPROTO);
    fd_close(&fake.sock);
}

static void an_older_daemon(void **unused)
{
    struct fake fake;
    dmabufd *d;

    (void)unused;
    assert_int_equal(fake_meet(&fake, 0, &d), 0);
    fd_close(&fake.sock);
    assert_int_equal(wait_for_event(d, dmabufd_event_fd(d)), DMABUFD_EVENT_LOST);
    part(&fake, d);
}

static void a_size_that_was_not_set(void **unused)
{
    struct dmabufd_event event = { 0 };
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    assert_int_equal(dmabufd_dispatch(d, &event), -EINVAL);
    part(&fake, d);
}

/* A larger one, of a program that was built with a later header. */
static void a_size_of_the_future(void **unused)
{
    struct {
        struct dmabufd_event event;
        uint64_t unknown;
    } later = { DMABUFD_EVENT_INIT, 5 };
    struct fake fake;
    dmabufd *d;

    (void)unused;
    meet_events(&fake, &d);
    later.event.size = sizeof(later);
    fd_close(&fake.sock);
    assert_int_equal(dmabufd_dispatch(d, &later.event), 1);
    assert_int_equal(later.event.kind, DMABUFD_EVENT_LOST);
    assert_int_equal(later.event.size, sizeof(later));
    assert_int_equal(later.unknown, 5);
    part(&fake, d);
}

static void a_child(void **unused)
{
    struct dmabufd_event event = DMABUFD_EVENT_INIT;
    struct fake fake;
    int fd, status;
    dmabufd *d;
    pid_t pid;

    (void)unused;
    meet_events(&fake, &d);
    fd = dmabufd_event_fd(d);
    check_rest(d, fd);
    pid = fork();
    if (pid == 0)
        _exit(dmabufd_event_fd(d) != -ENOTCONN || dmabufd_dispatch(d, &event) != -ENOTCONN ||
              fcntl(fd, F_GETFD) != -1 || dmabufd_disconnect(d) != NULL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    fake_say_event(&fake, DMABUFD__PROTO__EVENT_KIND__EVENT_ENDING);
    assert_int_equal(wait_for_event(d, fd), DMABUFD_EVENT_ENDING);
    part(&fake, d);
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(told_in_order),
        cmocka_unit_test(without_a_descriptor),
        cmocka_unit_test(readable_until_told),
        cmocka_unit_test(heard_by_a_call),
        cmocka_unit_test(left_behind_by_a_call),
        cmocka_unit_test(replies_read_by_dispatch),
        cmocka_unit_test(last_words_before_a_reset),
        cmocka_unit_test(last_words_before_a_failed_call),
        cmocka_unit_test(a_daemon_that_breaks_the_protocol),
        cmocka_unit_test(an_older_daemon),
        cmocka_unit_test(a_size_that_was_not_set),
        cmocka_unit_test(a_size_of_the_future),
        cmocka_unit_test(a_child),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
