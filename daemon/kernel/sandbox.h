/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* What a process may still do once it knows its work, beside opening, reading and writing files, and ioctls. */

typedef enum SandboxNeeds {
        SANDBOX_MODULES = 1u << 0, /* load them, or have systemd do it */
        SANDBOX_BPF = 1u << 1,     /* load and pin programs */
        SANDBOX_OTHERS = 1u << 2,  /* look into other processes, and borrow a descriptor from them */
        SANDBOX_KILL = 1u << 3,    /* end them */
        SANDBOX_MEMLOCK = 1u << 4, /* decide how locked memory is accounted */
        SANDBOX_PCI = 1u << 5,     /* reset a bus, and read all of configuration space */
        _SANDBOX_MAX = 1u << 6,
} SandboxNeeds;

typedef struct Sandbox Sandbox;

/* For processes that have these needs. Made before they are forked, once for all of them: that takes longer than to enter it. */
int sandbox_new(unsigned needs, Sandbox **ret);
Sandbox *sandbox_free(Sandbox *s);
DEFINE_CLEANUP(Sandbox, sandbox_free)

/* Gives up every capability and every system call that it does not leave. What is called nonetheless fails with EPERM, and the kernel
 * tells the audit log: to be killed in the middle of its work would leave a device half bound, an error is undone like any
 * other. */
int sandbox_enter(const Sandbox *s);
