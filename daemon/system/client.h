/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/policy.h"

/* A process that asks for something: who it is according to the bus and the kernel, never according to itself. */

typedef struct Client {
        Caller caller; /* points into the fields below */
        int pidfd;
        gid_t *gids;
        char *unit, *cgroup;
} Client;

/* From the bus's own credentials. -ESRCH: the process has ended; -EOPNOTSUPP: the bus gives no pidfd (dbus before 1.16). */
int client_from_message(sd_bus_message *m, Client **ret);
/* From a pidfd that a policy client sent along; the descriptor is duplicated. -EINVAL: not a pidfd, -ESRCH: it has ended. */
int client_from_pidfd(int pidfd, Client **ret);
/* A user that is only asked about (Explain's "as"): no process. -ENOENT: no such user. */
int client_from_uid(uid_t uid, Client **ret);

/* Raises the process's RLIMIT_MEMLOCK to at least limit. -ESRCH: it has ended. */
int client_raise_memlock(const Client *c, uint64_t limit);

Client *client_free(Client *c);
DEFINE_CLEANUP(Client, client_free)
