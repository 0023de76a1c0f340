/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "fd.h"

int fd_close(int fd) {
        if (fd >= 0) {
                int saved = errno;

                close(fd);
                errno = saved;
        }
        return -EBADF;
}

int fd_dup(int fd) {
        int r = fcntl(fd, F_DUPFD_CLOEXEC, 3);

        return r < 0 ? -errno : r;
}

int fd_blank(int fd) {
        _cleanup_close_ int null = open("/dev/null", O_RDWR | O_CLOEXEC);

        if (null < 0 || dup3(null, fd, O_CLOEXEC) < 0)
                return -errno;
        return 0;
}

uint64_t fd_pidfd_id(int pidfd) {
        static const long pidfs = 0x50494446; /* PID_FS_MAGIC, not in the headers of 6.12 */
        struct statfs fs;
        struct stat st;

        /* Before 6.9 all pidfds were of one anonymous inode. */
        return fstatfs(pidfd, &fs) >= 0 && fs.f_type == pidfs && fstat(pidfd, &st) >= 0 ? st.st_ino : 0;
}

int fd_read_file(int dirfd, const char *path, char *buf, size_t size) {
        _cleanup_close_ int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        size_t length = 0;

        if (fd < 0)
                return -errno;
        for (;;) {
                ssize_t n = read(fd, buf + length, size - length);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                length += (size_t) n;
                if (n == 0)
                        break;
                if (length == size)
                        return -E2BIG;
        }
        buf[length] = '\0';
        return (int) length;
}

int fd_read_text(int dirfd, const char *path, char *buf, size_t size) {
        int length = fd_read_file(dirfd, path, buf, size);

        while (length > 0 && buf[length - 1] == '\n')
                buf[--length] = '\0';
        return length;
}

int fd_write_text(int dirfd, const char *path, const char *text) {
        _cleanup_close_ int fd = openat(dirfd, path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
        size_t size = strlen(text);
        ssize_t n;

        if (fd < 0)
                return -errno;
        do
                n = write(fd, text, size);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        return (size_t) n == size ? 0 : -EIO;
}

static int write_all(int fd, const char *content, size_t size) {
        while (size > 0) {
                ssize_t n = write(fd, content, size);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                content += n;
                size -= (size_t) n;
        }
        return 0;
}

#define TEMPORARY_MAX 256

static int temporary_name(const char *name, char ret[static TEMPORARY_MAX]) {
        return snprintf(ret, TEMPORARY_MAX, ".%s.new", name) < TEMPORARY_MAX ? 0 : -ENAMETOOLONG;
}

int fd_begin_file(int dirfd, const char *name, const char *content, size_t size, unsigned mode) {
        _cleanup_close_ int fd = -EBADF;
        char temporary[TEMPORARY_MAX];
        int r = temporary_name(name, temporary);

        if (r < 0)
                return r;
        (void) unlinkat(dirfd, temporary, 0);
        fd = openat(dirfd, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
        if (fd < 0)
                return -errno;
        r = write_all(fd, content, size);
        if (r < 0) {
                (void) unlinkat(dirfd, temporary, 0);
                return r;
        }
        return TAKE_FD(fd);
}

int fd_finish_file(int dirfd, const char *name) {
        char temporary[TEMPORARY_MAX];
        int r = temporary_name(name, temporary);

        if (r >= 0 && renameat(dirfd, temporary, dirfd, name) < 0) {
                r = -errno;
                (void) unlinkat(dirfd, temporary, 0);
        }
        return r;
}

void fd_drop_file(int dirfd, const char *name) {
        char temporary[TEMPORARY_MAX];

        if (temporary_name(name, temporary) >= 0)
                (void) unlinkat(dirfd, temporary, 0);
}

int fd_replace_file(int dirfd, const char *name, const char *content, size_t size, unsigned mode) {
        _cleanup_close_ int fd = fd_begin_file(dirfd, name, content, size, mode);

        if (fd < 0)
                return fd;
        if (fsync(fd) < 0) {
                int r = -errno;

                fd_drop_file(dirfd, name);
                return r;
        }
        return fd_finish_file(dirfd, name);
}
