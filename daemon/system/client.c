/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <systemd/sd-login.h>
#include <unistd.h>

#include "system/client.h"
#include "util/fd.h"
#include "util/text.h"

Client *client_free(Client *c) {
        if (!c)
                return NULL;
        fd_close(c->pidfd);
        free(c->gids);
        free(c->unit);
        free(c->cgroup);
        free(c);
        return NULL;
}

static int client_new(Client **ret) {
        Client *c = calloc(1, sizeof(*c));

        if (!c)
                return -ENOMEM;
        c->pidfd = -EBADF;
        *ret = c;
        return 0;
}

/* What was read from /proc/PID belongs to the process only if it is still there afterwards. */
static int check_alive(int pidfd) {
        struct pollfd p = { .fd = pidfd, .events = POLLIN };
        int r = poll(&p, 1, 0);

        if (r < 0)
                return -errno;
        if (r > 0)
                return -ESRCH;
        return 0;
}

/* The "Pid:" line of a pidfd's fdinfo: -1 if the process was reaped, 0 if it is in another pid namespace. */
static int pidfd_to_pid(int pidfd, pid_t *ret) {
        char path[64], text[1024];
        const char *line;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pidfd);
        r = fd_read_text(AT_FDCWD, path, text, sizeof(text));
        if (r < 0)
                return r;
        line = strstr(text, "\nPid:");
        if (!line)
                return -EINVAL;
        *ret = (pid_t) strtol(line + strlen("\nPid:"), NULL, 10);
        return *ret > 0 ? 0 : -ESRCH;
}

static int read_cgroup(pid_t pid, char **ret) {
        char path[64], text[8192];
        char *line, *save = NULL;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        r = fd_read_text(AT_FDCWD, path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save)) {
                if (strncmp(line, "0::/", 4) != 0)
                        continue;
                *ret = strdup(text_is_printable(line + 3) ? line + 3 : "/");
                return *ret ? 0 : -ENOMEM;
        }
        *ret = strdup("/");
        return *ret ? 0 : -ENOMEM;
}

/* Fills in what the kernel knows of the process behind the pidfd. */
static int read_process(Client *c) {
        struct rlimit memlock;
        int r;

        r = pidfd_to_pid(c->pidfd, &c->caller.pid);
        if (r < 0)
                return r;
        r = read_cgroup(c->caller.pid, &c->cgroup);
        if (r < 0)
                return r;
        if (prlimit(c->caller.pid, RLIMIT_MEMLOCK, NULL, &memlock) < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        c->caller.memlock = memlock.rlim_cur;
        /* Every failure means that no system unit is known; then unit patterns match nothing. */
        if (sd_pidfd_get_unit(c->pidfd, &c->unit) < 0) {
                c->unit = strdup("");
                if (!c->unit)
                        return -ENOMEM;
        }
        c->caller.unit = c->unit;
        c->caller.cgroup = c->cgroup;
        return check_alive(c->pidfd);
}

/* Primary and supplementary groups as the bus saw them when the connection was made. */
static int read_groups(Client *c, sd_bus_creds *creds) {
        const gid_t *gids;
        int n = sd_bus_creds_get_supplementary_gids(creds, &gids);

        if (n == -ENODATA)
                return 0; /* this bus does not tell: then no group pattern matches */
        if (n < 0)
                return n;
        c->gids = calloc((size_t) n + 1, sizeof(gid_t));
        if (!c->gids)
                return -ENOMEM;
        memcpy(c->gids, gids, (size_t) n * sizeof(gid_t));
        c->caller.gids = c->gids;
        c->caller.n_gids = (size_t) n;
        return 0;
}

int client_from_message(sd_bus_message *m, Client **ret) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(&c);
        if (r < 0)
                return r;
        /* Never SD_BUS_CREDS_AUGMENT: what is read from /proc by pid is not what the bus vouches for. */
        r = sd_bus_query_sender_creds(m,
                                      SD_BUS_CREDS_EUID | SD_BUS_CREDS_PID | SD_BUS_CREDS_PIDFD |
                                              SD_BUS_CREDS_SUPPLEMENTARY_GIDS,
                                      &creds);
        if (r < 0)
                return r == -ENXIO ? -ESRCH : r; /* ENXIO: the connection is gone */
        r = sd_bus_creds_get_euid(creds, &c->caller.uid);
        if (r < 0)
                return r;
        r = sd_bus_creds_get_pidfd_dup(creds, &c->pidfd);
        if (r == -ENODATA)
                return -EOPNOTSUPP;
        if (r < 0)
                return r;
        r = read_groups(c, creds);
        if (r < 0)
                return r;
        r = read_process(c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

static int read_owner(Client *c) {
        char path[64];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/proc/%d", (int) c->caller.pid);
        if (stat(path, &st) < 0)
                return errno == ENOENT ? -ESRCH : -errno;
        c->caller.uid = st.st_uid;
        return check_alive(c->pidfd);
}

int client_from_pidfd(int pidfd, Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        r = client_new(&c);
        if (r < 0)
                return r;
        c->pidfd = fd_dup(pidfd);
        if (c->pidfd < 0)
                return c->pidfd;
        r = read_process(c);
        if (r < 0)
                return r;
        r = read_owner(c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

int client_from_uid(uid_t uid, Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        struct passwd *user;
        int n = 0, r;

        r = client_new(&c);
        if (r < 0)
                return r;
        user = getpwuid(uid);
        if (!user)
                return -ENOENT;
        (void) getgrouplist(user->pw_name, user->pw_gid, NULL, &n);
        c->gids = calloc((size_t) n + 1, sizeof(gid_t));
        c->unit = strdup("");
        c->cgroup = strdup("/");
        if (!c->gids || !c->unit || !c->cgroup)
                return -ENOMEM;
        if (getgrouplist(user->pw_name, user->pw_gid, c->gids, &n) < 0)
                n = 0;
        c->caller = (Caller) {
                .uid = uid,
                .gids = c->gids,
                .n_gids = (size_t) n,
                .unit = c->unit,
                .cgroup = c->cgroup,
                .memlock = UINT64_MAX,
        };
        *ret = TAKE_PTR(c);
        return 0;
}

int client_raise_memlock(const Client *c, uint64_t limit) {
        rlim_t wanted = limit == UINT64_MAX ? RLIM_INFINITY : (rlim_t) limit;
        struct rlimit now;

        if (prlimit(c->caller.pid, RLIMIT_MEMLOCK, NULL, &now) < 0)
                return -errno;
        if (now.rlim_cur >= wanted)
                return 0;
        now.rlim_cur = wanted;
        if (now.rlim_max < wanted)
                now.rlim_max = wanted;
        /* The pid may have been recycled between the look and the change, so the look comes once more, after it. */
        if (check_alive(c->pidfd) < 0)
                return -ESRCH;
        if (prlimit(c->caller.pid, RLIMIT_MEMLOCK, &now, NULL) < 0)
                return -errno;
        return check_alive(c->pidfd);
}
