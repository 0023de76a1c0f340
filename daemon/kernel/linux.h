/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kernel/gate.h"
#include "kernel/kernel.h"

/* Private to linux.c. The other files of this directory take the root directory, and nothing else, from here. */
typedef struct LinuxKernel {
        Kernel kernel; /* first: Kernel * and LinuxKernel * are the same address */
        int root_fd;   /* O_PATH; everything is opened relative to it, as "sys/...", "proc/..." or "dev/..." */
        bool running;  /* / is the root: what it shows is the kernel that we run on */
        Gate gate;
} LinuxKernel;
