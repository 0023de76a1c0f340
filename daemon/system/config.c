/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "config.h"
#include "util/fd.h"
#include "util/text.h"

#define FILE_SIZE_MAX    (64 * 1024)
#define SUFFIX           ".conf"
#define CONFIG_DIRECTORY "/etc/iommud"
#define VENDOR_DIRECTORY "/usr/lib/iommud"

/* What one load needs everywhere. */
typedef struct Loader {
        const char *root;
        uid_t owner; /* who must own the files */
        Config config;
        char *why;
} Loader;

static void loader_clear(Loader *l) {
        config_clear(&l->config);
        free(l->why);
}

/* Takes over a text from asprintf() and fails with it. */
static int fail(Loader *l, int n, char *text) {
        if (n < 0)
                return -ENOMEM;
        free(l->why);
        l->why = text;
        return -EBADMSG;
}

static int refuse(Loader *l, const char *directory, const char *name, const char *reason) {
        char *text = NULL;
        int n = asprintf(&text, "%s%s/%s: %s", l->root, directory, text_is_printable(name) ? name : "(unprintable)",
                         reason);

        return fail(l, n, text);
}

static int refuse_errno(Loader *l, const char *directory, const char *name, int error) {
        char reason[160] = "";

        if (error == -ENOMEM)
                return error;
        text_append(reason, sizeof(reason), "it cannot be read: %s", strerror(-error));
        return refuse(l, directory, name, reason);
}

/* The parser names the file; where that is, is known here. */
static int place(Loader *l, const char *directory, char *why) {
        _cleanup_free_ char *owned = why;
        char *text = NULL;
        int n;

        if (!owned)
                return -ENOMEM;
        n = asprintf(&text, "%s%s/%s", l->root, directory, owned);
        return fail(l, n, text);
}

/* Whoever can write the file decides who gets devices, so that must be the administrator alone. */
static int check_owner(Loader *l, const char *directory, const char *name, const struct stat *st) {
        char reason[160] = "";

        if (st->st_uid != l->owner) {
                text_append(reason, sizeof(reason), "it belongs to uid %u; it must belong to uid %u", st->st_uid,
                            l->owner);
                return refuse(l, directory, name, reason);
        }
        if (st->st_mode & (S_IWGRP | S_IWOTH))
                return refuse(l, directory, name, "others than its owner may write it; chmod go-w would mend that");
        return 0;
}

static bool is_null(const struct stat *st) {
        return S_ISCHR(st->st_mode) && st->st_rdev == makedev(1, 3);
}

static int read_whole(int fd, char *buf, size_t size) {
        size_t length = 0;

        while (length < size) {
                ssize_t n = read(fd, buf + length, size - length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
                length += (size_t) n;
        }
        return (int) length;
}

/* FNV-1a: it has to tell a file from what it was, not to withstand anybody. */
static void add_to_digest(uint64_t *digest, const char *text, size_t size) {
        for (size_t i = 0; i < size; i++)
                *digest = (*digest ^ (unsigned char) text[i]) * UINT64_C(0x100000001b3);
}

/* Returns 1 with the text, 0 if the file is masked by a link to /dev/null. */
static int read_file(Loader *l, int dirfd, const char *directory, const char *name, char **ret, size_t *ret_size) {
        /* A FIFO must not stop the daemon, hence O_NONBLOCK. */
        _cleanup_close_ int fd = openat(dirfd, name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        _cleanup_free_ char *buf = NULL;
        struct stat st;
        int r;

        if (fd < 0 || fstat(fd, &st) < 0)
                return refuse_errno(l, directory, name, -errno);
        if (is_null(&st))
                return 0;
        if (!S_ISREG(st.st_mode))
                return refuse(l, directory, name, "it is no regular file; a link to /dev/null would mask it");
        r = check_owner(l, directory, name, &st);
        if (r < 0)
                return r;
        buf = malloc(FILE_SIZE_MAX + 1);
        if (!buf)
                return -ENOMEM;
        r = read_whole(fd, buf, FILE_SIZE_MAX + 1);
        if (r < 0)
                return refuse_errno(l, directory, name, r);
        if (r > FILE_SIZE_MAX)
                return refuse(l, directory, name, "it has more than 64 KiB; more files can hold more rules");
        add_to_digest(&l->config.digest, name, strlen(name) + 1);
        add_to_digest(&l->config.digest, buf, (size_t) r);
        *ret = TAKE_PTR(buf);
        *ret_size = (size_t) r;
        return 1;
}

/* Returns the directory, -ENOENT if there is none, which is no error to tell of, or -EBADMSG. */
static int open_directory(Loader *l, const char *directory) {
        _cleanup_close_ int fd = -EBADF;
        _cleanup_free_ char *path = NULL;
        struct stat st;
        int r;

        if (asprintf(&path, "%s%s", l->root, directory) < 0) {
                path = NULL;
                return -ENOMEM;
        }
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0 && errno == ENOENT)
                return -ENOENT;
        if (fd < 0 || fstat(fd, &st) < 0)
                return refuse_errno(l, directory, "", -errno);
        r = check_owner(l, directory, "", &st);
        return r < 0 ? r : TAKE_FD(fd);
}

static int load_limits(Loader *l) {
        _cleanup_close_ int dirfd = -EBADF;
        _cleanup_free_ char *text = NULL;
        char *why = NULL;
        size_t size;
        int r;

        dirfd = open_directory(l, CONFIG_DIRECTORY);
        if (dirfd < 0)
                return dirfd == -ENOENT ? 0 : dirfd;
        if (faccessat(dirfd, "iommud.conf", F_OK, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
                return 0;
        r = read_file(l, dirfd, CONFIG_DIRECTORY, "iommud.conf", &text, &size);
        if (r <= 0)
                return r;
        r = config_parse_limits(text, size, &l->config.limits, &why);
        return r < 0 ? place(l, CONFIG_DIRECTORY, why) : 0;
}

/* What becomes of a file of a directory: name is its own without ".conf", source its path, to be taken over on success. */
typedef int (*take_file_t)(Loader *l, const char *name, char *source, const char *text, size_t size, char **why);

static int take_reservation(Loader *l, const char *name, char *source, const char *text, size_t size, char **why) {
        _cleanup_(reservation_clear) Reservation reservation = {};
        Reservation *grown;
        int r;

        r = config_parse_reservation(name, text, size, &reservation, why);
        if (r < 0)
                return r;
        grown = reallocarray(l->config.reservations, l->config.n_reservations + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        l->config.reservations = grown;
        reservation.source = source;
        grown[l->config.n_reservations++] = TAKE(reservation, (Reservation) {});
        return 0;
}

static int take_quota(Loader *l, const char *name, char *source, const char *text, size_t size, char **why) {
        _cleanup_(quota_rule_clear) QuotaRule rule = {};
        QuotaRules *rules = &l->config.quotas;
        QuotaRule *grown;
        int r;

        r = config_quota_parse(name, text, size, &rule, why);
        if (r < 0)
                return r;
        grown = reallocarray(rules->items, rules->n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        rules->items = grown;
        rule.source = source;
        grown[rules->n++] = TAKE(rule, (QuotaRule) {});
        return 0;
}

static int load_file(Loader *l, int dirfd, const char *directory, const char *file, take_file_t take) {
        _cleanup_free_ char *text = NULL, *name = NULL, *source = NULL;
        char *why = NULL;
        size_t size;
        int r;

        r = read_file(l, dirfd, directory, file, &text, &size);
        if (r <= 0)
                return r;
        name = strndup(file, strlen(file) - strlen(SUFFIX));
        if (!name)
                return -ENOMEM;
        if (asprintf(&source, "%s%s/%s", l->root, directory, file) < 0) {
                source = NULL;
                return -ENOMEM;
        }
        r = take(l, name, source, text, size, &why);
        if (r < 0)
                return place(l, directory, why);
        TAKE_PTR(source);
        return 0;
}

/* The file names of one directory of drop-ins, in order. */
typedef struct Dropins {
        char directory[64];
        int fd;
        struct dirent **entries;
        int n;
} Dropins;

static void dropins_clear(Dropins *d) {
        for (int i = 0; i < d->n; i++)
                free(d->entries[i]);
        free(d->entries);
        fd_close(d->fd);
}

static int is_dropin(const struct dirent *entry) {
        size_t length = strlen(entry->d_name);

        return entry->d_name[0] != '.' && length > strlen(SUFFIX) &&
               streq(entry->d_name + length - strlen(SUFFIX), SUFFIX);
}

/* Not alphasort(), which goes by the locale. */
static int compare_names(const struct dirent **a, const struct dirent **b) {
        return strcmp((*a)->d_name, (*b)->d_name);
}

static int dropins_open(Loader *l, Dropins *d, const char *parent, const char *name) {
        (void) snprintf(d->directory, sizeof(d->directory), "%s/%s", parent, name);
        d->fd = open_directory(l, d->directory);
        if (d->fd < 0)
                return d->fd == -ENOENT ? 0 : d->fd;
        d->n = scandirat(d->fd, ".", &d->entries, is_dropin, compare_names);
        if (d->n < 0) {
                d->n = 0;
                return refuse_errno(l, d->directory, "", -errno);
        }
        return 0;
}

/* Both directories of a name as one, in the order of names; of two files of one name that of the administrator counts. */
static int load_directories(Loader *l, const char *name, take_file_t take) {
        _cleanup_(dropins_clear) Dropins vendor = { .fd = -EBADF };
        _cleanup_(dropins_clear) Dropins admin = { .fd = -EBADF };
        int r;

        r = dropins_open(l, &vendor, VENDOR_DIRECTORY, name);
        if (r >= 0)
                r = dropins_open(l, &admin, CONFIG_DIRECTORY, name);
        for (int v = 0, a = 0; r >= 0 && (v < vendor.n || a < admin.n);) {
                int order = v == vendor.n  ? 1
                            : a == admin.n ? -1
                                           : strcmp(vendor.entries[v]->d_name, admin.entries[a]->d_name);

                if (order < 0)
                        r = load_file(l, vendor.fd, vendor.directory, vendor.entries[v]->d_name, take);
                else
                        r = load_file(l, admin.fd, admin.directory, admin.entries[a]->d_name, take);
                v += order <= 0;
                a += order >= 0;
        }
        return r;
}

int config_load(const char *root, Config *ret, char **why) {
        _cleanup_(loader_clear) Loader l = { .root = root,
                                             .config.limits = LIMITS_DEFAULT,
                                             .config.digest = UINT64_C(0xcbf29ce484222325) };
        int r;

        /* Below a root of its own a test is not root. */
        l.owner = isempty(root) ? 0 : geteuid();
        r = load_limits(&l);
        if (r >= 0)
                r = load_directories(&l, "reservations.d", take_reservation);
        if (r >= 0)
                r = load_directories(&l, "quota.d", take_quota);
        if (r < 0) {
                *why = TAKE_PTR(l.why);
                return r;
        }
        *ret = TAKE(l.config, (Config) {});
        return 0;
}
