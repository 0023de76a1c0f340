/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <syslog.h>
#include <unistd.h>

#include "broker/store.h"
#include "core/health.h"
#include "core/leasefile.h"
#include "core/mark.h"
#include "core/quotafile.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

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

int store_open(Store *s, const char *path, const char *state_path) {
        int *const places[_STATE_PLACE_MAX] = {
                [STATE_LEASES] = &s->leases,
                [STATE_LIFELINES] = &s->lifelines,
                [STATE_LOCKS] = &s->locks,
                [STATE_DEVICES] = &s->devices,
        };

        *s = STORE_EMPTY;
        s->state = open_directory(AT_FDCWD, state_path);
        if (s->state < 0)
                journal_log(LOG_WARNING, "Cannot open %s, so no limits can be set for good: %s", state_path,
                            strerror(-s->state));
        s->root = open_directory(AT_FDCWD, path);
        if (s->root < 0)
                return s->root;
        for (StatePlace p = STATE_ROOT + 1; p < _STATE_PLACE_MAX; p++) {
                *places[p] = open_directory(s->root, state_place_to_string(p));
                if (*places[p] < 0)
                        return *places[p];
        }
        return 0;
}

void store_close(Store *s) {
        s->state = fd_close(s->state);
        s->devices = fd_close(s->devices);
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

int store_read_lease(int leases_fd, const char *name, Lease **ret, char why[static 128]) {
        _cleanup_free_ char *text = malloc(LEASE_FILE_MAX);
        int n;

        if (!text)
                return -ENOMEM;
        n = fd_read_file(leases_fd, name, text, LEASE_FILE_MAX);
        if (n < 0) {
                (void) snprintf(why, 128, "%s", strerror(-n));
                return n;
        }
        return leasefile_decode(text, (size_t) n, ret, why);
}

static void set_aside_name(const char *name, char ret[static NAME_MAX + 1]) {
        (void) snprintf(ret, NAME_MAX + 1, "%.64s.bad", name);
}

static void set_aside(int directory, const char *name, const char *why) {
        char bad[NAME_MAX + 1];

        set_aside_name(name, bad);
        journal_log(LOG_ERR, "State file %s cannot be trusted and is set aside as %s: %s", name, bad, why);
        if (renameat(directory, name, directory, bad) < 0)
                journal_log(LOG_ERR, "Cannot rename state file %s: %s", name, strerror(errno));
}

/* What each file of a directory is read for; name is the file's. */
typedef void (*read_file_t)(const Store *s, const char *name, void *userdata);

static int read_directory(const Store *s, int directory, read_file_t each, void *userdata) {
        int copy = openat(directory, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
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
                if (streq(e->d_name, ".") || streq(e->d_name, ".."))
                        continue;
                if (e->d_name[0] == '.')
                        remove_file(directory, e->d_name); /* half-written by a daemon that was killed */
                else if (!text_has_suffix(e->d_name, ".bad"))
                        each(s, e->d_name, userdata);
        }
        (void) closedir(dir);
        return 0;
}

typedef struct LeaseReader {
        void (*found)(Lease *l, void *userdata);
        void *userdata;
        int error;
} LeaseReader;

static void load_lease(const Store *s, const char *name, void *userdata) {
        LeaseReader *reader = userdata;
        char why[128] = "";
        Lease *l = NULL;
        int r = store_read_lease(s->leases, name, &l, why);

        /* Without memory or descriptors nothing is wrong with the file: to start without it would be to forget a lease. */
        if (r == -ENOMEM || r == -EMFILE || r == -ENFILE)
                reader->error = r;
        else if (r < 0)
                set_aside(s->leases, name, why);
        else if (!streq(l->id, name)) {
                lease_free(l);
                set_aside(s->leases, name, "it has the id of another lease");
        } else
                reader->found(l, reader->userdata);
}

int store_load_leases(const Store *s, void (*found)(Lease *l, void *userdata), void *userdata) {
        LeaseReader reader = { .found = found, .userdata = userdata };
        int r = read_directory(s, s->leases, load_lease, &reader);

        return r < 0 ? r : reader.error;
}

/* A daemon was killed after it had made the lifeline and before it wrote the lease. */
static void remove_orphan(const Store *s, const char *name, _unused_ void *userdata) {
        char bad[NAME_MAX + 1];

        set_aside_name(name, bad);
        if (faccessat(s->leases, name, F_OK, AT_SYMLINK_NOFOLLOW) < 0 &&
            faccessat(s->leases, bad, F_OK, AT_SYMLINK_NOFOLLOW) < 0)
                remove_file(s->lifelines, name);
}

int store_remove_orphans(const Store *s) {
        return read_directory(s, s->lifelines, remove_orphan, NULL);
}

int store_save_mark(const Store *s, const Device *d) {
        char text[MARK_MAX];
        size_t n = mark_encode(d, text);

        if (n > 0)
                return fd_replace_file(s->devices, ADDRESS(d->facts.address), text, n, 0600);
        store_remove_mark(s, d->facts.address);
        return 0;
}

void store_remove_mark(const Store *s, Address a) {
        remove_file(s->devices, ADDRESS(a));
}

static void load_mark(const Store *s, const char *name, void *userdata) {
        const Inventory *inv = userdata;
        char text[MARK_MAX];
        Device *d;
        Address a;
        int r;

        if (address_parse(name, &a) < 0 || !streq(name, ADDRESS(a))) {
                set_aside(s->devices, name, "its name is no address");
                return;
        }
        d = inventory_device(inv, a);
        if (!d) {
                store_remove_mark(s, a);
                return;
        }
        r = fd_read_file(s->devices, name, text, sizeof(text));
        if (r >= 0)
                r = strlen(text) == (size_t) r ? mark_decode(text, d) : -EBADMSG;
        if (r < 0)
                set_aside(s->devices, name, strerror(-r));
        else
                d->marked = true;
}

int store_load_marks(const Store *s, const Inventory *inv) {
        return read_directory(s, s->devices, load_mark, (void *) inv);
}

#define CONFIGURATION "configuration"

int store_save_digest(const Store *s, uint64_t digest) {
        char text[24];
        int n = snprintf(text, sizeof(text), "%016" PRIx64 "\n", digest);

        return fd_replace_file(s->root, CONFIGURATION, text, (size_t) n, 0600);
}

int store_load_digest(int root_fd, uint64_t *ret) {
        char text[24];
        int r = fd_read_text(root_fd, CONFIGURATION, text, sizeof(text));

        return r < 0 ? r : text_to_hex(text, UINT64_MAX, ret);
}

#define QUOTAS "quotas"

static int quotas_directory(const Store *s, bool runtime) {
        return runtime ? s->root : s->state;
}

int store_begin_quotas(const Store *s, bool runtime, const QuotaSettings *settings) {
        int directory = quotas_directory(s, runtime), r;
        _cleanup_free_ char *text = NULL;
        size_t size;

        if (directory < 0)
                return directory;
        r = quotafile_encode(settings, &text, &size);
        return r < 0 ? r : fd_begin_file(directory, QUOTAS, text, size, 0600);
}

int store_finish_quotas(const Store *s, bool runtime) {
        return fd_finish_file(quotas_directory(s, runtime), QUOTAS);
}

void store_drop_quotas(const Store *s, bool runtime) {
        fd_drop_file(quotas_directory(s, runtime), QUOTAS);
}

int store_load_quotas(const Store *s, bool runtime, QuotaSettings *ret) {
        int directory = quotas_directory(s, runtime), r;
        _cleanup_free_ char *text = malloc(QUOTAFILE_SIZE_MAX + 1);
        char why[128];

        if (!text)
                return -ENOMEM;
        if (directory >= 0)
                remove_file(directory, "." QUOTAS ".new"); /* half-written by a daemon that was killed */
        r = directory < 0 ? -ENOENT : fd_read_file(directory, QUOTAS, text, QUOTAFILE_SIZE_MAX + 1);
        if (r >= 0)
                r = quotafile_decode(text, (size_t) r, ret, why);
        if (r == -EBADMSG)
                set_aside(directory, QUOTAS, why);
        return r == -ENOENT || r == -EBADMSG ? 0 : r;
}

int store_lock_set(const Store *s, Address set) {
        _cleanup_close_ int fd = openat(s->locks, ADDRESS(set), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

        if (fd < 0)
                return -errno;
        if (flock(fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        return TAKE_FD(fd);
}
