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

#include "system/cgroup.h"
#include "system/client.h"
#include "system/dict.h"
#include "util/fd.h"
#include "util/text.h"

Client *client_free(Client *c) {
        if (!c)
                return NULL;
        fd_close(c->pidfd);
        free(c->gids);
        free(c->unit);
        free(c->cgroup);
        free(c->charged);
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

/* The path of its cgroup in the unified hierarchy. */
static int read_cgroup_path(pid_t pid, char ret[static QUOTA_PATH_MAX]) {
        char path[64], text[8192];
        char *line, *save = NULL;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/cgroup", (int) pid);
        r = fd_read_text(AT_FDCWD, path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, "0::/", 4) == 0)
                        return text_copy(ret, QUOTA_PATH_MAX, line + 3) ? 0 : -ENAMETOOLONG;
        return -EOPNOTSUPP;
}

/* Its cgroup, and where PASIDs are charged. Where the unified hierarchy cannot be seen nothing can be charged. */
static int read_cgroup(Client *c) {
        _cleanup_free_ CGroup *cgroup = malloc(sizeof(*cgroup));
        char path[QUOTA_PATH_MAX];
        int r;

        if (!cgroup)
                return -ENOMEM;
        r = read_cgroup_path(c->caller.pid, path);
        if (r >= 0)
                r = cgroup_read(CGROUP_ROOT, path, cgroup);
        if (r == -ESRCH || r == -ENOMEM)
                return r;
        c->cgroup = strdup(r < 0 ? "/" : cgroup->path);
        c->charged = strdup(r < 0 ? "/" : cgroup->charged);
        if (!c->cgroup || !c->charged)
                return -ENOMEM;
        if (r < 0)
                return 0;
        c->chain = cgroup->chain;
        c->caller.charged = c->charged;
        return 0;
}

/* Fills in what the kernel knows of the process behind the pidfd. */
static int read_process(Client *c) {
        struct rlimit memlock;
        int r;

        r = pidfd_to_pid(c->pidfd, &c->caller.pid);
        if (r < 0)
                return r;
        r = read_cgroup(c);
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
static int take_gids(Client *c, sd_bus_message *m) {
        const void *gids;
        size_t size;
        int r = sd_bus_message_enter_container(m, 'v', "au");

        if (r >= 0)
                r = sd_bus_message_read_array(m, 'u', &gids, &size);
        if (r < 0)
                return r;
        free(c->gids);
        c->gids = calloc(1, size + sizeof(gid_t));
        if (!c->gids)
                return -ENOMEM;
        memcpy(c->gids, gids, size);
        c->caller.gids = c->gids;
        c->caller.n_gids = size / sizeof(gid_t);
        return sd_bus_message_exit_container(m);
}

static int take_pidfd(Client *c, sd_bus_message *m) {
        int fd, r = sd_bus_message_read(m, "v", "h", &fd);

        if (r < 0)
                return r;
        fd_close(c->pidfd);
        c->pidfd = fd_dup(fd);
        return c->pidfd < 0 ? c->pidfd : 0;
}

#define NO_UID UINT32_MAX /* nobody has it */

/* What is not there the bus does not tell: without groups no group pattern matches. */
static int take_credential(sd_bus_message *m, const char *key, void *userdata) {
        Client *c = userdata;

        if (streq(key, "UnixUserID"))
                return sd_bus_message_read(m, "v", "u", &c->caller.uid);
        if (streq(key, "UnixGroupIDs"))
                return take_gids(c, m);
        if (streq(key, "ProcessFD"))
                return take_pidfd(c, m);
        return sd_bus_message_skip(m, "v");
}

int client_from_credentials(sd_bus_message *credentials, Client **ret) {
        _cleanup_(client_freep) Client *c = NULL;
        int r;

        if (sd_bus_message_is_method_error(credentials, SD_BUS_ERROR_NAME_HAS_NO_OWNER))
                return -ESRCH; /* the connection is gone */
        r = sd_bus_message_get_errno(credentials);
        if (r > 0)
                return -r;
        r = client_new(&c);
        if (r < 0)
                return r;
        c->caller.uid = NO_UID;
        r = sd_bus_message_rewind(credentials, true);
        if (r >= 0)
                r = dict_read(credentials, take_credential, c);
        if (r < 0)
                return r;
        if (c->caller.uid == NO_UID || c->pidfd < 0)
                return -EOPNOTSUPP;
        r = read_process(c);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(c);
        return 0;
}

/* The primary group, and those of a line "Groups:". */
static int take_groups(Client *c, gid_t primary, char *line) {
        char *word, *save = NULL;
        size_t n = 2;

        for (const char *p = line; *p; p++)
                n += *p == ' ';
        c->gids = calloc(n, sizeof(gid_t));
        if (!c->gids)
                return -ENOMEM;
        c->gids[c->caller.n_gids++] = primary;
        for (word = strtok_r(line, " \t\n", &save); word; word = strtok_r(NULL, " \t\n", &save))
                c->gids[c->caller.n_gids++] = (gid_t) strtoul(word, NULL, 10);
        c->caller.gids = c->gids;
        return 0;
}

static int parse_status(Client *c, FILE *f) {
        _cleanup_free_ char *line = NULL;
        bool has_uid = false;
        gid_t primary = 0;
        size_t size = 0;

        /* There may be 65536 groups. */
        while (getline(&line, &size, f) > 0) {
                if (sscanf(line, "Uid: %*u %u", &c->caller.uid) == 1)
                        has_uid = true;
                else if (sscanf(line, "Gid: %*u %u", &primary) != 1 && strncmp(line, "Groups:", 7) == 0)
                        return has_uid ? take_groups(c, primary, line + 7) : -EBADMSG;
        }
        return ferror(f) ? -ESRCH : -EBADMSG;
}

/* Not the owner of /proc/PID: that is root if the process is not dumpable. */
static int read_ids(Client *c) {
        char path[64];
        FILE *f;
        int r;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) c->caller.pid);
        f = fopen(path, "re");
        if (!f)
                return errno == ENOENT ? -ESRCH : -errno;
        r = parse_status(c, f);
        (void) fclose(f);
        return r < 0 ? r : check_alive(c->pidfd);
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
        r = read_ids(c);
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
        c->charged = strdup("/");
        if (!c->gids || !c->unit || !c->cgroup || !c->charged)
                return -ENOMEM;
        if (getgrouplist(user->pw_name, user->pw_gid, c->gids, &n) < 0)
                n = 0;
        c->caller = (Caller) {
                .uid = uid,
                .gids = c->gids,
                .n_gids = (size_t) n,
                .unit = c->unit,
                .cgroup = c->cgroup,
                .charged = c->charged,
                .memlock = UINT64_MAX,
        };
        *ret = TAKE_PTR(c);
        return 0;
}

uint64_t client_cgroup_id(const Client *c) {
        char path[CGROUP_PATH_MAX + sizeof("/sys/fs/cgroup")];
        struct stat st;

        (void) snprintf(path, sizeof(path), "/sys/fs/cgroup%s", c->cgroup);
        return stat(path, &st) < 0 ? 0 : st.st_ino;
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
