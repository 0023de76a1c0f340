/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/inventory.h"
#include "core/lease.h"
#include "core/quota.h"

/* What outlives the daemon, below /run/iommud (0700, root): leases/ID, lifelines/ID (a FIFO each), locks/SET,
 * devices/ADDRESS (see core/mark.h), quotas, configuration. What outlives the machine, below /var/lib/iommud: quotas. */

typedef struct Store {
        int root, leases, lifelines, locks, devices; /* directory descriptors */
        int state;                                   /* negative: what is wrong with it */
} Store;

#define STORE_EMPTY                                                                                                    \
        (Store) {                                                                                                      \
                .root = -EBADF, .leases = -EBADF, .lifelines = -EBADF, .locks = -EBADF, .devices = -EBADF,             \
                .state = -EBADF                                                                                        \
        }

/* Without a state directory there is only nothing to be kept in it. */
int store_open(Store *s, const char *path, const char *state_path);
void store_close(Store *s);

int store_save_lease(const Store *s, const Lease *l);
/* Removes the file and the lifeline of a lease that has ended. */
void store_remove_lease(const Store *s, const char *id);

/* Calls found for each lease that was saved, which takes it over; a file that cannot be trusted is set aside as ID.bad, with a
 * message, and grants nothing. */
int store_load_leases(const Store *s, void (*found)(Lease *l, void *userdata), void *userdata);

/* One of them, from the directory of the leases; changes nothing. Negative with why, if there is more to say than the errno. */
int store_read_lease(int leases_fd, const char *name, Lease **ret, char why[static 128]);

/* Removes lifelines of which there is no lease. */
int store_remove_orphans(const Store *s);

/* What is to be remembered of a device; nothing removes the file. */
int store_save_mark(const Store *s, const Device *d);
void store_remove_mark(const Store *s, Address a);
/* Puts what is remembered on the devices of the inventory. What nobody of us wrote is set aside, what is of no device removed. */
int store_load_marks(const Store *s, const Inventory *inv);

/* Which configuration the daemon has, for iommud --check. */
int store_save_digest(const Store *s, uint64_t digest);
/* -ENOENT: there is none. */
int store_load_digest(int root_fd, uint64_t *ret);

/* The limits of PASIDs that were set on the bus, until reboot or for good. In steps, for the second are on a disk: gives a descriptor, of which
 * the fsync is the caller's; then they are put in the place of the earlier ones, or dropped. */
int store_begin_quotas(const Store *s, bool runtime, const QuotaSettings *settings);
int store_finish_quotas(const Store *s, bool runtime);
void store_drop_quotas(const Store *s, bool runtime);
/* What cannot be trusted is set aside, with a message. */
int store_load_quotas(const Store *s, bool runtime, QuotaSettings *ret);

/* The lock of a reset set: an open file description with flock() held. -EWOULDBLOCK: a worker of an earlier daemon has it. */
int store_lock_set(const Store *s, Address set);
