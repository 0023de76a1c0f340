/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* systemd's store of descriptors: what is put there comes back when the service is started again, however it ended. Whoever starts
 * the daemon by hand has none. */

typedef struct StoredFd {
        char *name;
        int fd; /* whoever takes it leaves -EBADF */
} StoredFd;

typedef struct FdStore {
        StoredFd *back; /* what came back at the start */
        size_t n_back;
        size_t n, max; /* how many are there, and may be */
        bool told_full;
} FdStore;

int fdstore_new(FdStore **ret);
/* Closes what came back and nobody took. The store itself stays as it is. */
FdStore *fdstore_free(FdStore *s);

/* Our copy stays ours. -EOPNOTSUPP: there is no store; -ENOSPC: it is full, which is logged. */
int fdstore_put(FdStore *s, const char *name, int fd);
/* All of that name. */
void fdstore_remove(FdStore *s, const char *name);
/* A descriptor that hangs up once systemd has read all that it was told until now. */
int fdstore_barrier(void);
