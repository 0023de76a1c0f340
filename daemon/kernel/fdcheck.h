/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/fdname.h"

/* See KernelOps::check_fd. */
int fdcheck_run(int root_fd, int fd, FdKind kind, Address a, int group);
