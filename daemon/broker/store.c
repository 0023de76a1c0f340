/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "broker/store.h"
#include "core/leasefile.h"
#include "system/journal.h"
#include "util/fd.h"

#define LEASE_FILE_MAX (1 << 20)

static int open_directory(int at, const char *name) {
        struct stat st;
        int fd;

        if (mkdirat(at, name, 0700) < 0 && errno != EEXIST)
                return -errno;
        fd = openat(at, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
                return -errno;
        /* Whoever could write here could forge leases. */
        if (fstat(fd, &st) < 0 || st.st_uid != geteuid() || (st.st_mode & 022) != 0) {
                fd_close(fd);
                return -EPERM;
        }
        return fd;
}

int store_open(Store *s, const char *path) {
        *s = STORE_EMPTY;
        s->root = open_directory(AT_FDCWD, path);
        if (s->root < 0)
                return s->root;
        s->leases = open_directory(s->root, "leases");
        if (s->leases < 0)
                return s->leases;
        s->lifelines = open_directory(s->root, "lifelines");
        if (s->lifelines < 0)
                return s->lifelines;
        s->locks = open_directory(s->root, "locks");
        return s->locks < 0 ? s->locks : 0;
}

void store_close(Store *s) {
        s->locks = fd_close(s->locks);
        s->lifelines = fd_close(s->lifelines);
        s->leases = fd_close(s->leases);
        s->root = fd_close(s->root);
}

int store_save_lease(const Store *s, const Lease *l) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        r = leasefile_encode(l, &text, &size);
        if (r < 0)
                return r;
        return fd_replace_file(s->leases, l->id, text, size, 0600);
}

static void remove_file(int dir, const char *name) {
        if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
                journal_log(LOG_WARNING, "Cannot remove %s below the runtime directory: %s", name, strerror(errno));
}

void store_remove_lease(const Store *s, const char *id) {
        remove_file(s->lifelines, id);
        remove_file(s->leases, id);
}

static int read_lease(const Store *s, const char *name, Lease **ret, char why[static 128]) {
        _cleanup_free_ char *text = malloc(LEASE_FILE_MAX);
        int n;

        if (!text)
                return -ENOMEM;
        n = fd_read_file(s->leases, name, text, LEASE_FILE_MAX);
        if (n < 0) {
                (void) snprintf(why, 128, "%s", strerror(-n));
                return n;
        }
        return leasefile_decode(text, (size_t) n, ret, why);
}

static void set_aside(const Store *s, const char *name, const char *why) {
        char bad[NAME_MAX + 1];

        (void) snprintf(bad, sizeof(bad), "%.64s.bad", name);
        journal_log(LOG_ERR, "Lease file %s cannot be trusted and is set aside as %s: %s", name, bad, why);
        if (renameat(s->leases, name, s->leases, bad) < 0)
                journal_log(LOG_ERR, "Cannot rename lease file %s: %s", name, strerror(errno));
}

int store_load_leases(const Store *s, void (*found)(Lease *l, void *userdata), void *userdata) {
        int copy = openat(s->leases, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *e;
        DIR *dir;

        if (copy < 0)
                return -errno;
        dir = fdopendir(copy);
        if (!dir) {
                fd_close(copy);
                return -errno;
        }
        while ((e = readdir(dir))) {
                char why[128] = "";
                Lease *l = NULL;

                /* Names with a dot are ours to ignore: ".", "..", half-written and set-aside files. */
                if (strchr(e->d_name, '.'))
                        continue;
                if (read_lease(s, e->d_name, &l, why) < 0)
                        set_aside(s, e->d_name, why);
                else if (!streq(l->id, e->d_name)) {
                        lease_free(l);
                        set_aside(s, e->d_name, "it has the id of another lease");
                } else
                        found(l, userdata);
        }
        (void) closedir(dir);
        return 0;
}

int store_lock_set(const Store *s, Address set) {
        _cleanup_close_ int fd = openat(s->locks, ADDRESS(set), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        return TAKE_FD(fd);
}
