/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/world.h"

/* Who owns what. All changes of ownership go through here, and each keeps the invariants that ledger_check() spells out. */

typedef struct Ledger {
        Inventory inventory;
        Lease **leases;
        size_t n_leases;
        Quota quota; /* what the leases have booked */
} Ledger;

#define LEDGER_FOREACH_LEASE(ledger, l)                                                                                \
        for (size_t _i_##l = 0; _i_##l < (ledger)->n_leases && ((l) = (ledger)->leases[_i_##l], true); _i_##l++)

void ledger_clear(Ledger *ledger);

Lease *ledger_lease(const Ledger *ledger, const char *id);
Usage ledger_usage(const Ledger *ledger, uid_t uid);

/* Takes over a lease that was just planned or read from its file: its groups and devices become the lease's. The lease is the
 * ledger's from then on. -EBUSY: something of it belongs to another lease; nothing has changed. */
int ledger_open(Ledger *ledger, Lease *l);

/* Devices join an active lease: they and their groups become its own, marked joining. One that the lease has parked or held is
 * promoted. -EBUSY: something of it belongs to another lease; nothing has changed. */
int ledger_join(Ledger *ledger, Lease *l, const LeaseDevice *devices, size_t n);
/* It is ready for its owner. ledger_update() is for the caller to do. */
void ledger_joined(const Lease *l, LeaseDevice *ld);
/* A device that is proven free leaves a lease that goes on; its group goes with the last of its devices. */
void ledger_leave(Ledger *ledger, Lease *l, Address a);

/* The devices follow the state of their lease, and their own within it. */
void ledger_update(Ledger *ledger, Lease *l);
void ledger_activate(Ledger *ledger, Lease *l);
void ledger_begin_release(Ledger *ledger, Lease *l, const char *reason);
/* The same for one that is ending already, and waits for somebody, perhaps for long. */
void ledger_begin_again(Ledger *ledger, Lease *l, const char *reason);

/* A device is proven free: nothing that was handed out can reach it any more. It goes back once its whole group does. */
void ledger_device_released(Ledger *ledger, Lease *l, LeaseDevice *ld);
/* Its release failed for good, or somebody does not let go of it. */
void ledger_device_broken(Ledger *ledger, Lease *l, LeaseDevice *ld, const char *reason);

/* Somebody does not let go of what the lease still has. It goes on waiting for him. */
void ledger_lease_broken(Ledger *ledger, Lease *l, const char *reason);
/* Whoever held the device has let go of it. */
void ledger_device_let_go(Ledger *ledger, const Lease *l, const LeaseDevice *ld);

/* Ends a lease all of whose devices are released: groups and devices are nobody's, the lease is freed. */
void ledger_close(Ledger *ledger, Lease *l);

/* Why the ledger contradicts itself, or NULL: one owner per group, leases and devices point at each other, counts are exact. */
const char *ledger_check(const Ledger *ledger);
