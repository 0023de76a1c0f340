/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>
#include <sys/types.h>

#include "core/facts.h"

/* Reading /proc. */

/* An open file of some process, which must not be used after the callback has returned. */
typedef struct ProcFile {
        int pid;
        int fd_dir;       /* /proc/PID/fd, or a thread's /proc/PID/task/TID/fd */
        const char *name; /* in there, the number of the descriptor */
        const char
                *link; /* what it points to: "/dev/nvme0", "anon_inode:[vfio-device]"; "" for a path that is too long */
} ProcFile;

/* Called for every open file: a negative errno ends the pass. */
typedef int (*ProcFileFn)(const ProcFile *file, void *userdata);

/* One pass over the descriptors of all processes but this one. Processes that come and go meanwhile are seen or not;
 * those that cannot be looked at are not. */
int proc_for_each_file(int root_fd, ProcFileFn fn, void *userdata);

/* The same over those of one process, as its first thread has them; none is no error. */
int proc_for_each_file_of(int root_fd, int pid, ProcFileFn fn, void *userdata);

/* S_IFCHR or S_IFBLK with the number of the device that a file is, or 0 if it is none. */
mode_t proc_file_device(const ProcFile *file, dev_t *ret);

/* Name and effective user of a process; -ESRCH if it is gone. */
int proc_read_process(int root_fd, int pid, Holder *ret);

/* Its path in the unified hierarchy, "" if it has none or an unprintable one; -ESRCH if it is gone. */
int proc_read_cgroup(int root_fd, int pid, char *buf, size_t size);

/* Turns \040 and the like, as in mountinfo, back into characters; those that are not printable become '?'. In place. */
void proc_unescape(char *s);

/* A file of /proc to be read line by line: some have no bound. */
int proc_open(int root_fd, const char *path, FILE **ret);

/* The next line, without its end and cut if it does not fit: 1, 0 at the end of the file, or a negative errno. */
int proc_next_line(FILE *f, char *buf, size_t size);

static inline void proc_fclosep(FILE **f) {
        if (*f)
                fclose(*f);
}
#define _cleanup_fclose_ _cleanup_(proc_fclosep)
