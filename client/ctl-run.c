/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* dmabufctl run: one command with a private daemon, for tests and development. */
#include <errno.h>
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "client/ctl-daemon.h"
#include "client/ctl-ids.h"
#include "client/ctl.h"
#include "common/cleanup.h"
#include "common/parse.h"
#include "proto/limits.h"

#define ARGUMENTS_MAX 64

static const char help[] =
    "Usage: dmabufctl run [OPTION]... -- COMMAND [ARGUMENT]...\n"
    "Start a dmabufd for COMMAND alone, run COMMAND with DMABUFD_SOCKET set to its socket, end "
    "the\n"
    "daemon with it. The exit status is that of COMMAND, 128 + N if signal N killed it.\n"
    "\n"
    "  -b, --backend=NAME    auto, iommufd, pagemap or fake (default: auto)\n"
    "  -d, --device=BDF      device the daemon may use at start, see dmabufd(8); repeatable\n"
    "  -u, --as=USER[:GROUP] run COMMAND as this user (the daemon stays as it is; root only)\n"
    "      --daemon=PATH     the daemon (default: the one beside dmabufctl, else the one "
    "installed)\n"
    "      --daemon-arg=ARG  pass ARG to the daemon; repeatable\n"
    "  -h, --help            show this and exit\n";

struct identity {
    bool set;
    uid_t user;
    gid_t group;
    char name[64]; /* for the supplementary groups; empty: the user has no name */
};

struct run_request {
    char *arguments[ARGUMENTS_MAX + 1]; /* of the daemon */
    size_t count;
    struct identity as;
    char **command;
};

static int add(struct run_request *request, const char *argument)
{
    if (request->count == ARGUMENTS_MAX)
        return ctl_error("more than %d arguments for the daemon", ARGUMENTS_MAX);
    request->arguments[request->count] = strdup(argument);
    if (!request->arguments[request->count])
        return ctl_error("no memory");
    request->count++;
    return 0;
}

static int add_pair(struct run_request *request, const char *option, const char *value)
{
    return add(request, option) || add(request, value);
}

/* USER[:GROUP], names or numbers. Return: 0, or -1 if there is no such user or group. */
static int parse_identity(const char *text, struct identity *ret)
{
    CLEANUP_FREE char *user = strdup(text);
    char *group = user ? strchr(user, ':') : NULL;
    const struct passwd *pw;
    uint64_t number;

    if (!user)
        return -1;
    if (group)
        *group++ = '\0';
    pw = getpwnam(user);
    if (!pw && parse_number(user, 0, UINT32_MAX - 1, &number) == 0) {
        ret->user = (uid_t)number;
        ret->group = (gid_t)number;
        pw = getpwuid(ret->user);
    } else if (!pw) {
        return -1;
    }
    if (pw) {
        ret->user = pw->pw_uid;
        ret->group = pw->pw_gid;
        snprintf(ret->name, sizeof(ret->name), "%s", pw->pw_name);
    }
    if (group && parse_group(group, &ret->group) < 0)
        return -1;
    ret->set = true;
    return 0;
}

/* In a build tree the daemon lies beside us, or beside the wrapper that libtool put over us. */
static const char *find_daemon(char *path, size_t size)
{
    static const char *const places[] = { "/dmabufd", "/../dmabufd" };
    char self[4096];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
    char *slash;

    if (n <= 0)
        return DMABUFD_PATH;
    self[n] = '\0';
    slash = strrchr(self, '/');
    if (!slash)
        return DMABUFD_PATH;
    *slash = '\0';
    slash = strrchr(self, '/');
    for (size_t i = 0; i < ARRAY_LEN(places); i++) {
        if (i == 1 && (!slash || strcmp(slash, "/.libs") != 0))
            break;
        if ((size_t)snprintf(path, size, "%s%s", self, places[i]) < size && access(path, X_OK) == 0)
            return path;
    }
    return DMABUFD_PATH;
}

static int become(const struct identity *as)
{
    int r = *as->name ? initgroups(as->name, as->group) : setgroups(1, &as->group);

    if (r < 0 || setresgid(as->group, as->group, as->group) < 0 ||
        setresuid(as->user, as->user, as->user) < 0)
        return -1;
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

__attribute__((noreturn)) static void run_command(const struct run_request *request,
                                                  const char *socket, const sigset_t *mask)
{
    setenv(PROTO_SOCKET_ENV, socket, 1);
    if (request->as.set && become(&request->as) < 0) {
        ctl_error("cannot become the user to run as: %s", strerror(errno));
        _exit(CTL_FAILED);
    }
    sigprocmask(SIG_SETMASK, mask, NULL);
    execvp(request->command[0], request->command);
    ctl_error("cannot run %s: %s", request->command[0], strerror(errno));
    _exit(errno == ENOENT ? 127 : 126);
}

static int exit_status(int wait_status)
{
    return WIFSIGNALED(wait_status) ? 128 + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

/* Passes signals on. One that the terminal sent has reached the command by itself. */
static int wait_for_command(pid_t pid, struct private_daemon *daemon, int signal_fd)
{
    bool daemon_lives = true;
    int wait_status;

    for (;;) {
        struct signalfd_siginfo info;

        if (waitpid(pid, &wait_status, WNOHANG) == pid)
            return exit_status(wait_status);
        if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
            continue;
        if (info.ssi_signo != SIGCHLD && info.ssi_code != SI_KERNEL)
            kill(pid, (int)info.ssi_signo);
        if (info.ssi_signo == SIGCHLD && daemon_lives)
            daemon_lives = !private_daemon_reap(daemon);
    }
}

static int run_with_daemon(const struct run_request *request)
{
    struct private_daemon daemon = PRIVATE_DAEMON_NONE;
    CLEANUP_FD int signal_fd = -1;
    sigset_t signals, mask;
    int status, r;
    pid_t pid;

    signal(SIGCHLD, SIG_DFL); /* inherited SIG_IGN would leave nothing to wait for */
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    sigaddset(&signals, SIGHUP);
    sigaddset(&signals, SIGCHLD);
    sigprocmask(SIG_BLOCK, &signals, &mask);
    signal_fd = signalfd(-1, &signals, SFD_CLOEXEC);
    if (signal_fd < 0)
        return ctl_error("signalfd: %s", strerror(errno));
    r = private_daemon_start(&daemon, request->arguments, request->as.set, signal_fd, &mask);
    if (r != 0) {
        private_daemon_stop(&daemon, signal_fd);
        if (r > 0)
            return 128 + r;
        r = exit_status(daemon.wait_status);
        return r ? r : CTL_FAILED;
    }
    pid = fork();
    if (pid == 0)
        run_command(request, daemon.socket, &mask);
    if (pid < 0)
        status = ctl_error("cannot start a process: %s", strerror(errno));
    else
        status = wait_for_command(pid, &daemon, signal_fd);
    if (!private_daemon_stop(&daemon, signal_fd) && status == CTL_OK)
        status = CTL_FAILED;
    return status;
}

/* Return: CTL_OK; or the exit status to leave with. */
static int parse_option(struct run_request *request, int option)
{
    switch (option) {
    case 'b':
        return add_pair(request, "--backend", optarg);
    case 'd':
        return add_pair(request, "--device", optarg);
    case 'A':
        return add(request, optarg);
    case 'D':
        free(request->arguments[0]);
        request->arguments[0] = strdup(optarg);
        return request->arguments[0] ? CTL_OK : ctl_error("no memory");
    case 'u':
        if (geteuid() != 0)
            return ctl_usage(&ctl_run, "--as needs root");
        if (parse_identity(optarg, &request->as) < 0)
            return ctl_usage(&ctl_run, "there is no user or group '%s'", optarg);
        return CTL_OK;
    default:
        return CTL_USAGE;
    }
}

static int prepare(struct run_request *request, int argc, char **argv)
{
    static const struct option options[] = { { "backend", required_argument, NULL, 'b' },
                                             { "device", required_argument, NULL, 'd' },
                                             { "as", required_argument, NULL, 'u' },
                                             { "daemon", required_argument, NULL, 'D' },
                                             { "daemon-arg", required_argument, NULL, 'A' },
                                             { "help", no_argument, NULL, 'h' },
                                             { 0 } };
    char path[4200];
    int option, r;

    r = add(request, find_daemon(path, sizeof(path)));
    /* The broker has to be somebody; without an installation there is no user for it. */
    if (r == 0 && geteuid() == 0 && !getpwnam("dmabufd"))
        r = add_pair(request, "--user", "65534");
    while (r == 0 && (option = getopt_long(argc, argv, "+b:d:u:h", options, NULL)) >= 0) {
        if (option == 'h' || option == '?') {
            r = ctl_option(&ctl_run, option);
            return r == CTL_OK ? -1 : r;
        }
        r = parse_option(request, option);
    }
    if (r == 0 && optind == argc)
        r = ctl_usage(&ctl_run, "which command?");
    request->command = argv + optind;
    return r;
}

static int run(const struct ctl *ctl, int argc, char **argv)
{
    struct run_request request = { .count = 0 };
    int status = prepare(&request, argc, argv);

    if (status == 0 && (ctl->socket || ctl->json))
        status = ctl_usage(&ctl_run, "--socket and --json mean nothing to run");
    if (status == 0)
        status = run_with_daemon(&request);
    for (size_t i = 0; i < request.count; i++)
        free(request.arguments[i]);
    return status < 0 ? CTL_OK : status;
}

const struct command ctl_run = {
    .name = "run", .summary = "run a command with a private daemon", .help = help, .run = run
};
