/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "macro.h"

/* Closes fd if there is one; returns "none", so that fd = fd_close(fd) leaves nothing stale behind. Keeps errno. */
int fd_close(int fd);

static inline void fd_closep(int *fd) {
        fd_close(*fd);
}
#define _cleanup_close_ _cleanup_(fd_closep)

/* A close-on-exec duplicate above the standard streams, or a negative errno. */
int fd_dup(int fd);

/* Puts /dev/null in its place: the number stays, for whoever will close it. */
int fd_blank(int fd);

/* What tells the process of a pidfd from all others until the next boot; 0 before Linux 6.9. */
uint64_t fd_pidfd_id(int pidfd);

/* Reads a small file whole, at most size - 1 bytes, and ends it with a NUL.
 * Returns the length, -E2BIG if it does not fit, or another negative errno. */
int fd_read_file(int dirfd, const char *path, char *buf, size_t size);

/* The same without the newlines at its end: for attributes of sysfs and procfs. */
int fd_read_text(int dirfd, const char *path, char *buf, size_t size);

/* Writes text with one write(), as sysfs wants it. Returns 0 or the errno that the kernel gave. */
int fd_write_text(int dirfd, const char *path, const char *text);

/* Replaces dirfd/name by a file with this content: temporary file, fsync, rename. */
int fd_replace_file(int dirfd, const char *name, const char *content, size_t size, unsigned mode);
/* The same in steps, for whoever cannot wait for a disk: gives the temporary file, of which the fsync is the caller's, ... */
int fd_begin_file(int dirfd, const char *name, const char *content, size_t size, unsigned mode);
/* ... and puts it in the place of the other, or removes it. */
int fd_finish_file(int dirfd, const char *name);
void fd_drop_file(int dirfd, const char *name);
