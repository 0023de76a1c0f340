/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"

/* What outlives the daemon, below /run/iommud (0700, root): leases/ID, lifelines/ID (a FIFO each), locks/SET. */

typedef struct Store {
        int root, leases, lifelines, locks; /* directory descriptors */
} Store;

#define STORE_EMPTY                                                                                                    \
        (Store) {                                                                                                      \
                .root = -EBADF, .leases = -EBADF, .lifelines = -EBADF, .locks = -EBADF                                 \
        }

int store_open(Store *s, const char *path);
void store_close(Store *s);

int store_save_lease(const Store *s, const Lease *l);
/* Removes the file and the lifeline of a lease that has ended. */
void store_remove_lease(const Store *s, const char *id);

/* Calls found for each lease that was saved, which takes it over; a file that cannot be trusted is set aside as ID.bad, with a
 * message, and grants nothing. */
int store_load_leases(const Store *s, void (*found)(Lease *l, void *userdata), void *userdata);

/* The lock of a reset set: an open file description with flock() held. -EWOULDBLOCK: a worker of an earlier daemon has it. */
int store_lock_set(const Store *s, Address set);
