/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cgroup.h"
#include "util/fd.h"
#include "util/text.h"

/* systemd marks what it delegates, as its documents on the container interface say, and mostly gives it to another user. */
bool cgroup_is_delegated(int fd, const struct stat *st) {
        static const char *const marks[] = { "trusted.delegate", "user.delegate" };
        char value[2];

        for (size_t i = 0; i < ARRAY_SIZE(marks); i++)
                if (fgetxattr(fd, marks[i], value, sizeof(value)) == 1 && value[0] == '1')
                        return true;
        return st->st_uid != 0;
}

static int open_root(const char *root) {
        _cleanup_close_ int fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0)
                return errno == ENOENT ? -EOPNOTSUPP : -errno;
        /* No hierarchy of version 1 has it. */
        if (faccessat(fd, "cgroup.controllers", F_OK, 0) < 0)
                return -EOPNOTSUPP;
        return TAKE_FD(fd);
}

/* One level down. ids: from the root down. */
static int add_level(int fd, const char *name, bool *delegated, CGroup *c, uint64_t ids[static PASID_LEVELS_MAX]) {
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (name) {
                if (c->path[1] != '\0')
                        text_append(c->path, sizeof(c->path), "/");
                text_append(c->path, sizeof(c->path), "%s", name);
        }
        if (!*delegated)
                (void) text_copy(c->charged, sizeof(c->charged), c->path);
        ids[c->chain.n_levels++] = st.st_ino;
        *delegated = *delegated || (name && cgroup_is_delegated(fd, &st));
        return 0;
}

int cgroup_read(const char *root, const char *path, CGroup *ret) {
        uint64_t ids[PASID_LEVELS_MAX];
        char copy[QUOTA_PATH_MAX], *name, *save = NULL;
        bool delegated = false;
        int r;
        _cleanup_close_ int fd = open_root(root);

        if (fd < 0)
                return fd;
        if (path[0] != '/' || !text_copy(copy, sizeof(copy), path))
                return -ENOENT;
        *ret = (CGroup) { .path = "/" };
        r = add_level(fd, NULL, &delegated, ret, ids);
        for (name = strtok_r(copy, "/", &save); r >= 0 && name; name = strtok_r(NULL, "/", &save)) {
                int down;

                if (!text_is_printable(name) || ret->chain.n_levels == PASID_LEVELS_MAX)
                        break;
                /* Beyond the root of our own namespace nothing is to be seen; and no cgroup is called like the other. */
                if (streq(name, "..") || streq(name, "."))
                        return -ENOENT;
                down = openat(fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
                if (down < 0)
                        return -errno;
                fd_close(fd);
                fd = down;
                r = add_level(fd, name, &delegated, ret, ids);
        }
        for (unsigned i = 0; i < ret->chain.n_levels; i++)
                ret->chain.levels[i] = ids[ret->chain.n_levels - 1 - i];
        return r;
}
