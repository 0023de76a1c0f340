/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "kernel/proc.h"
#include "kernel/sysfs.h"
#include "util/fd.h"
#include "util/text.h"

/* What cannot be read of a process is passed over: it has ended (of which the kernel says ENOENT, ESRCH, EACCES or EINVAL),
 * or a security module hides it. Any user may have such processes, and none of them may stop the pass. Only a lack of
 * our own is an error. */
static int passed_over(int error) {
        return error == -ENOMEM || error == -EMFILE || error == -ENFILE ? error : 0;
}

static int walk_files(int proc_fd, const char *path, int pid, ProcFileFn fn, void *userdata) {
        _cleanup_closedir_ DIR *dir = NULL;
        char link[PATH_MAX];
        const char *name;
        int r;

        r = sysfs_open_directory(proc_fd, path, &dir);
        if (r < 0)
                return passed_over(r);

        while ((r = sysfs_next(dir, &name)) > 0) {
                ssize_t n = readlinkat(dirfd(dir), name, link, sizeof(link));

                if (n < 0 && errno != ENAMETOOLONG) {
                        r = passed_over(-errno);
                        if (r < 0)
                                return r;
                        continue;
                }
                /* Too long for the kernel, or for us: a device's node can be mounted so deep, too. */
                link[n < 0 || n == sizeof(link) ? 0 : n] = '\0';
                r = fn(&(ProcFile) { .pid = pid, .fd_dir = dirfd(dir), .name = name, .link = link }, userdata);
                if (r < 0)
                        return r;
        }
        return passed_over(r);
}

/* A thread can have descriptors of its own (CLONE_FILES), and the first one can have ended before the others. All but a few
 * share a table with it, which kcmp() tells; where that does not answer, each thread is looked at. */
static int walk_threads(int proc_fd, const char *pid_text, int pid, ProcFileFn fn, void *userdata) {
        _cleanup_closedir_ DIR *dir = NULL;
        char path[64];
        const char *name;
        struct stat st;
        uint64_t tid;
        int r;

        (void) snprintf(path, sizeof(path), "%.16s/task", pid_text);
        /* Two links and one for each thread: most processes have but one. */
        if (fstatat(proc_fd, path, &st, 0) < 0 || st.st_nlink == 3)
                return 0;
        r = sysfs_open_directory(proc_fd, path, &dir);
        if (r < 0)
                return passed_over(r);

        while ((r = sysfs_next(dir, &name)) > 0) {
                if (text_to_u64(name, INT32_MAX, &tid) < 0 || (int) tid == pid ||
                    syscall(SYS_kcmp, pid, (int) tid, KCMP_FILES, 0, 0) == 0)
                        continue;
                (void) snprintf(path, sizeof(path), "%.16s/task/%.16s/fd", pid_text, name);
                r = walk_files(proc_fd, path, pid, fn, userdata);
                if (r < 0)
                        return r;
        }
        return passed_over(r);
}

int proc_for_each_file(int root_fd, ProcFileFn fn, void *userdata) {
        _cleanup_closedir_ DIR *dir = NULL;
        const char *name;
        char path[64];
        uint64_t pid;
        int r;

        r = sysfs_open_directory(root_fd, "proc", &dir);
        if (r < 0)
                return r;

        while ((r = sysfs_next(dir, &name)) > 0) {
                if (text_to_u64(name, INT32_MAX, &pid) < 0 || (pid_t) pid == getpid())
                        continue;
                (void) snprintf(path, sizeof(path), "%.16s/fd", name);
                r = walk_files(dirfd(dir), path, (int) pid, fn, userdata);
                if (r >= 0)
                        r = walk_threads(dirfd(dir), name, (int) pid, fn, userdata);
                if (r < 0)
                        return r;
        }
        return r;
}

int proc_for_each_file_of(int root_fd, int pid, ProcFileFn fn, void *userdata) {
        char path[64];

        (void) snprintf(path, sizeof(path), "proc/%d/fd", pid);
        return walk_files(root_fd, path, pid, fn, userdata);
}

mode_t proc_file_device(const ProcFile *file, dev_t *ret) {
        struct statx st;

        /* Sockets, pipes and the like say so in their link and are most of what there is. */
        if (file->link[0] != '/' && file->link[0] != '\0')
                return 0;

        /* Not stat(): the file can lie on a network file system, whose server may never answer. */
        if (statx(file->fd_dir, file->name, AT_STATX_DONT_SYNC | AT_NO_AUTOMOUNT, STATX_TYPE, &st) < 0)
                return 0; /* closed meanwhile, or not a file that says anything about itself: devices always do */
        if (!S_ISCHR(st.stx_mode) && !S_ISBLK(st.stx_mode))
                return 0;
        *ret = makedev(st.stx_rdev_major, st.stx_rdev_minor);
        return st.stx_mode & S_IFMT;
}

static void make_printable(char *s) {
        for (; *s; s++)
                if (!isprint((unsigned char) *s) || (unsigned char) *s >= 0x80)
                        *s = '?';
}

/* By lines: the groups, which come later, can be very many. */
static int read_effective_user(int root_fd, int pid, uint32_t *ret) {
        _cleanup_fclose_ FILE *f = NULL;
        char path[64], line[256];
        int r;

        (void) snprintf(path, sizeof(path), "proc/%d/status", pid);
        r = proc_open(root_fd, path, &f);
        if (r < 0)
                return r;
        while ((r = proc_next_line(f, line, sizeof(line))) > 0)
                if (sscanf(line, "Uid: %*u %u", ret) == 1)
                        return 0;
        return r < 0 ? r : -EBADMSG;
}

int proc_read_process(int root_fd, int pid, Holder *ret) {
        char path[64], text[64];
        Holder h = { .pid = pid };
        int r;

        r = read_effective_user(root_fd, pid, &h.uid);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;

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

int proc_read_cgroup(int root_fd, int pid, char *buf, size_t size) {
        char path[64], text[2 * CGROUP_PATH_MAX], *line, *save = NULL;
        int r;

        (void) snprintf(path, sizeof(path), "proc/%d/cgroup", pid);
        r = fd_read_text(root_fd, path, text, sizeof(text));
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        buf[0] = '\0';
        for (line = strtok_r(text, "\n", &save); line; line = strtok_r(NULL, "\n", &save))
                if (strncmp(line, "0::/", 4) == 0 && text_is_printable(line + 3))
                        return text_copy(buf, size, line + 3) ? 0 : -ENAMETOOLONG;
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
