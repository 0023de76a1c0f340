/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

/* A process that ended in between is no error. The kernel says EACCES for some of these too (proc_pid_readlink()),
 * which must not be mistaken for a real lack of rights: then we would not see who holds a device. */
static int gone_or(int proc_fd, const char *pid, int error) {
        if (error == -ENOENT || error == -ESRCH)
                return 0;
        if (error == -EACCES && faccessat(proc_fd, pid, F_OK, 0) < 0 && errno == ENOENT)
                return 0;
        return error;
}

static int walk_files(int proc_fd, const char *pid_text, int pid, ProcFileFn fn, void *userdata) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[64], link[PATH_MAX];
        const char *name;
        int r;

        (void) snprintf(path, sizeof(path), "%.16s/fd", pid_text);
        r = sysfs_open_directory(proc_fd, path, &dir);
        if (r < 0)
                return gone_or(proc_fd, pid_text, r);

        while ((r = sysfs_next(dir, &name)) > 0) {
                ssize_t n = readlinkat(dirfd(dir), name, link, sizeof(link) - 1);

                if (n < 0) {
                        r = gone_or(proc_fd, pid_text, -errno);
                        if (r < 0)
                                return r;
                        continue;
                }
                link[n] = '\0';
                r = fn(&(ProcFile) { .pid = pid, .fd_dir = dirfd(dir), .name = name, .link = link }, userdata);
                if (r < 0)
                        return r;
        }
        return gone_or(proc_fd, pid_text, r);
}

int proc_for_each_file(int root_fd, ProcFileFn fn, void *userdata) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *name;
        uint64_t pid;
        int r;

        r = sysfs_open_directory(root_fd, "proc", &dir);
        if (r < 0)
                return r;

        while ((r = sysfs_next(dir, &name)) > 0) {
                if (text_to_u64(name, INT32_MAX, &pid) < 0 || (pid_t) pid == getpid())
                        continue;
                r = walk_files(dirfd(dir), name, (int) pid, fn, userdata);
                if (r < 0)
                        return r;
        }
        return r;
}

int proc_file_device(const ProcFile *file, mode_t type, dev_t *ret) {
        struct statx st;

        /* Sockets, pipes and the like say so in their link and are most of what there is. */
        if (file->link[0] != '/')
                return 0;

        /* Not stat(): the file can lie on a network file system, whose server may never answer. */
        if (statx(file->fd_dir, file->name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
                return 0; /* closed meanwhile, or not a file that says anything about itself: devices always do */
        if ((st.stx_mode & S_IFMT) != type)
                return 0;
        *ret = makedev(st.stx_rdev_major, st.stx_rdev_minor);
        return 1;
}

static void make_printable(char *s) {
        for (; *s; s++)
                if (!isprint((unsigned char) *s) || (unsigned char) *s >= 0x80)
                        *s = '?';
}

int proc_read_process(int root_fd, int pid, Holder *ret) {
        char path[64], text[4096], *line;
        Holder h = { .pid = pid };
        int r;

        (void) snprintf(path, sizeof(path), "proc/%d/status", pid);
        r = fd_read_text(root_fd, path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        line = strstr(text, "\nUid:");
        if (!line || sscanf(line, "\nUid: %*u %u", &h.uid) != 1)
                return -EBADMSG;

        (void) snprintf(path, sizeof(path), "proc/%d/comm", pid);
        r = fd_read_text(root_fd, path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        make_printable(text);
        /* Kernel threads alone have longer names, and no descriptors. */
        (void) snprintf(h.name, sizeof(h.name), "%.15s", text);
        *ret = h;
        return 0;
}

void proc_unescape(char *s) {
        char *to = s;

        for (const char *from = s; *from; to++) {
                if (from[0] == '\\' && from[1] >= '0' && from[1] <= '3' && from[2] >= '0' && from[2] <= '7' &&
                    from[3] >= '0' && from[3] <= '7') {
                        *to = (char) ((from[1] - '0') << 6 | (from[2] - '0') << 3 | (from[3] - '0'));
                        from += 4;
                } else
                        *to = *from++;
        }
        *to = '\0';
        make_printable(s);
}

int proc_open(int root_fd, const char *path, FILE **ret) {
        _cleanup_close_ int fd = openat(root_fd, path, O_RDONLY | O_CLOEXEC);
        FILE *f;

        if (fd < 0)
                return -errno;
        f = fdopen(fd, "r");
        if (!f)
                return -errno;
        (void) TAKE_FD(fd);
        *ret = f;
        return 0;
}

int proc_next_line(FILE *f, char *buf, size_t size) {
        size_t n;

        errno = 0;
        if (!fgets(buf, (int) size, f))
                return ferror(f) ? -(errno ?: EIO) : 0;
        n = strlen(buf);
        if (n > 0 && buf[n - 1] == '\n')
                buf[n - 1] = '\0';
        else
                for (int c = fgetc(f); c != EOF && c != '\n';)
                        c = fgetc(f);
        return 1;
}
