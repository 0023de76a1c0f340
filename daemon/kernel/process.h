/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* Processes and cgroups that are to end: see KernelOps for what each does. */

int process_open(int root_fd, int pid, ProcessFacts *ret);
int process_kill(int pidfd);
int process_kill_cgroup(int root_fd, const char *path, uint64_t id);

/* -ESRCH: there is no such process. */
int process_pidfd(int pid);
/* A copy of a descriptor of that process. -EBADF: it has no such one (any more). */
int process_copy_fd(int pidfd, int fd);
