/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json.h"
#include "request.h"

/* A lease that this process holds: its descriptors and what was found. */

typedef struct GrantFd {
        char kind[16]; /* "lifeline", "iommufd", "device", "container", "group" */
        char name[24]; /* a device's address, a group's number, else "" */
        int fd;
} GrantFd;

typedef struct Grant {
        char *path;
        const char *id; /* the end of path */
        GrantFd *fds;
        size_t n_fds;
        sd_json_variant *found;
} Grant;

/* Acquires, and fetches the descriptors that did not fit into the reply. Says what went wrong; then nothing is held. */
int grant_acquire(sd_bus *bus, const Request *q, Grant *ret);

/* The lease that "iommuctl run" started this process with: its path and lifeline. Says what is missing. */
int grant_from_environment(Grant *ret);

/* More devices for a lease. Says what went wrong. */
int grant_add_devices(sd_bus *bus, const Request *q, Grant *g);

/* Closes all descriptors, and so ends the lease unless somebody else has the lifeline. */
void grant_close(Grant *g);
void grant_done(Grant *g);
#define _cleanup_grant_ _cleanup_(grant_done)

/* The descriptor, or -EBADF. */
int grant_fd(const Grant *g, const char *kind, const char *name);

/* The I/O address space that the devices are attached to, or -ENODATA: they are not. */
int grant_ioas(const Grant *g);

/* The group that was handed out first, or -EBADF. */
int grant_first_group(const Grant *g);

/* Leaves all descriptors open across exec. Says what went wrong. */
int grant_inherit(const Grant *g);

/* "lifeline=3 iommufd=4 0000:01:00.0=5" */
int grant_to_environment(const Grant *g, char **ret);

int grant_to_json(const Grant *g, sd_json_variant **ret);
