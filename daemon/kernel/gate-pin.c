/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <bpf/bpf.h>
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "bpf/gate.h"
#include "kernel/gate-pin.h"
#include "util/fd.h"

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define PREFIX     "iommud-" /* bpffs wants no dots */
#define PINS       GATE_BPFFS "/" PREFIX STRING(GATE_VERSION)

static int lock_directory(const char *path, int operation) {
        _cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

        if (fd < 0)
                return -errno;
        if (flock(fd, operation | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? -EBUSY : -errno;
        return TAKE_FD(fd);
}

int gate_pin_lock(int operation) {
        return lock_directory(PINS, operation);
}

int gate_pin_open_in(const char *directory, const char *map) {
        char path[512];

        (void) snprintf(path, sizeof(path), "%s/map_%s", directory, map);
        return bpf_obj_get(path);
}

int gate_pin_open(const char *map) {
        return gate_pin_open_in(PINS, map);
}

static int remove_directory(const char *path) {
        DIR *d = opendir(path);
        struct dirent *e;
        int r = 0;

        if (!d)
                return -errno;
        while ((e = readdir(d)))
                if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) < 0)
                        r = -errno;
        (void) closedir(d);
        if (r >= 0 && rmdir(path) < 0)
                r = -errno;
        return r;
}

int gate_pin_begin(void) {
        int r = remove_directory(GATE_PIN_NEW); /* of somebody who did not come to the end */

        if (r < 0 && r != -ENOENT)
                return r;
        return mkdir(GATE_PIN_NEW, 0700) < 0 ? -errno : 0;
}

int gate_pin_commit(void) {
        return rename(GATE_PIN_NEW, PINS) < 0 ? -errno : 0;
}

/* Does a lease depend on it? One that cannot be asked is left alone. */
static bool is_used(const char *directory) {
        _cleanup_close_ int map = gate_pin_open_in(directory, "rules");
        char key[256]; /* as long as any key of ours will be */

        return map < 0 || bpf_map_get_next_key(map, NULL, key) != -ENOENT;
}

static int remove_unused(const char *path) {
        _cleanup_close_ int lock = lock_directory(path, LOCK_EX);

        if (lock < 0)
                return lock;
        return is_used(path) ? -EBUSY : remove_directory(path);
}

void gate_pin_for_each_other(void (*each)(const char *directory, void *userdata), void *userdata) {
        DIR *d = opendir(GATE_BPFFS);
        struct dirent *e;

        while (d && (e = readdir(d))) {
                char path[sizeof(GATE_BPFFS) + sizeof(e->d_name)];

                (void) snprintf(path, sizeof(path), "%s/%s", GATE_BPFFS, e->d_name);
                if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0 || streq(path, PINS))
                        continue;
                each(path, userdata);
                (void) remove_unused(path);
        }
        if (d)
                (void) closedir(d);
}

int gate_pin_remove_unused(void) {
        DIR *d = opendir(GATE_BPFFS);
        int r = -ENOENT, failed = 0;
        struct dirent *e;

        if (!d)
                return -errno;
        while ((e = readdir(d))) {
                char path[sizeof(GATE_BPFFS) + sizeof(e->d_name)];

                if (strncmp(e->d_name, PREFIX, strlen(PREFIX)) != 0)
                        continue;
                (void) snprintf(path, sizeof(path), "%s/%s", GATE_BPFFS, e->d_name);
                r = remove_unused(path);
                if (r < 0)
                        failed = r;
        }
        (void) closedir(d);
        return failed < 0 ? failed : r;
}
