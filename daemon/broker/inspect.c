/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "broker/inspect.h"
#include "util/fd.h"
#include "util/text.h"

typedef struct EntryList {
        StateEntry *items;
        size_t n, size;
} EntryList;

static void entry_list_clear(EntryList *l) {
        free(l->items);
}

static int add(EntryList *l, StatePlace place, const char *name, const struct stat *st) {
        if (l->n == l->size) {
                size_t size = l->size * 2 + 64;
                StateEntry *grown = reallocarray(l->items, size, sizeof(*grown));

                if (!grown)
                        return -ENOMEM;
                l->items = grown;
                l->size = size;
        }
        l->items[l->n] = (StateEntry) { .place = place, .uid = st->st_uid, .mode = st->st_mode };
        (void) text_copy(l->items[l->n].name, sizeof(l->items[l->n].name), name);
        l->n++;
        return 0;
}

/* /proc/locks would tell without a try, but it is as long as any user likes. */
static bool is_locked(int directory_fd, const char *name) {
        _cleanup_close_ int fd = openat(directory_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);

        return fd >= 0 && flock(fd, LOCK_SH | LOCK_NB) < 0 && errno == EWOULDBLOCK;
}

static int read_entries(DIR *dir, StatePlace place, EntryList *ret) {
        const struct dirent *e;
        struct stat st;
        int fd = dirfd(dir), r;

        r = fstat(fd, &st) < 0 ? -errno : add(ret, place, "", &st);
        while (r >= 0 && (errno = 0, e = readdir(dir))) {
                /* Hidden ones are half-written. */
                if (e->d_name[0] == '.')
                        continue;
                if (fstatat(fd, e->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
                        r = errno == ENOENT ? 0 : -errno;
                        continue;
                }
                if (place == STATE_ROOT && S_ISDIR(st.st_mode))
                        continue; /* comes by itself */
                r = add(ret, place, e->d_name, &st);
                if (r >= 0 && place == STATE_LOCKS)
                        ret->items[ret->n - 1].locked = is_locked(fd, e->d_name);
        }
        return r < 0 ? r : -errno;
}

static int read_directory(int root_fd, StatePlace place, EntryList *ret) {
        const char *name = place == STATE_ROOT ? "." : state_place_to_string(place);
        _cleanup_close_ int fd = openat(root_fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        DIR *dir;
        int r;

        if (fd < 0)
                return errno == ENOENT ? 0 : -errno;
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        (void) TAKE_FD(fd);
        r = read_entries(dir, place, ret);
        (void) closedir(dir);
        return r;
}

int inspect_state(int root_fd, StateEntry **ret, size_t *ret_n) {
        _cleanup_(entry_list_clear) EntryList list = {};
        int r = 0;

        for (StatePlace p = 0; r >= 0 && p < _STATE_PLACE_MAX; p++)
                r = read_directory(root_fd, p, &list);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(list.items);
        *ret_n = list.n;
        return 0;
}
