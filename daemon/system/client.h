/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/policy.h"

/* A process that asks for something: who it is according to the bus and the kernel, never according to itself. */

typedef struct Client {
        Caller caller; /* points into the fields below */
        int pidfd;
        gid_t *gids;
        char *unit, *cgroup, *charged;
        PasidChain chain; /* of the cgroup */
} Client;

/* From what the bus answered to GetConnectionCredentials; never from /proc by a pid, which is not what the bus vouches for.
 * -ESRCH: the process has ended; -EOPNOTSUPP: the bus gives no pidfd (dbus before 1.16). */
int client_from_credentials(sd_bus_message *credentials, Client **ret);
/* From a pidfd that a policy client sent along; the descriptor is duplicated. Its ids are those that it acts with now.
 * -EINVAL: not a pidfd, -ESRCH: it has ended. */
int client_from_pidfd(int pidfd, Client **ret);
/* A user that is only asked about (Explain's "as"): no process. -ENOENT: no such user. */
int client_from_uid(uid_t uid, Client **ret);

/* The inode of its cgroup, which tells it from a later one of the same path; 0 if it is not known. */
uint64_t client_cgroup_id(const Client *c);

/* Raises the process's RLIMIT_MEMLOCK to at least limit. -ESRCH: it has ended. */
int client_raise_memlock(const Client *c, uint64_t limit);

Client *client_free(Client *c);
DEFINE_CLEANUP(Client, client_free)
