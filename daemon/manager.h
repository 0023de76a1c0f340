/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* Everything that the daemon is made of, put together. */

typedef struct Manager Manager;

typedef struct ManagerOptions {
        const char *config_root;       /* "" or, in tests, what stands for / when the configuration is read */
        const char *runtime_directory; /* /run/iommud */
        const char *state_directory;   /* /var/lib/iommud */
} ManagerOptions;

/* Reads the configuration and begins to start up; the rest happens in manager_run(). */
int manager_new(const ManagerOptions *options, Manager **ret);
/* Serves until a signal ends it. Returns the exit status or a negative errno. */
int manager_run(Manager *m);
/* Instead of all that: takes the gate of PASIDs out of the kernel, see kernel/gate.h. Says why not. */
int manager_unload_gate(void);
Manager *manager_free(Manager *m);
DEFINE_CLEANUP(Manager, manager_free)
