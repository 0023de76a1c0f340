/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

#include "core/facts.h"

/* The devices and groups of the machine with what is ours to say about them: who owns what, and in which state it is.
 * The inventory owns its devices and groups; leases are owned by the ledger. */

typedef struct Lease Lease;

typedef enum DeviceState {
        DEVICE_FREE,
        DEVICE_PREPARING, /* a worker is binding it for a lease */
        DEVICE_LEASED,    /* handed out, or ready to be */
        DEVICE_PARKED,    /* taken for a lease, handed to nobody */
        DEVICE_RELEASING, /* on its way back: waits for the last close, or a worker is restoring it */
        DEVICE_BROKEN,    /* nobody can have it; reason says why */
        _DEVICE_STATE_MAX,
} DeviceState;

typedef struct Device {
        DeviceFacts facts;
        const char *vendor_name, *model_name; /* kept by whoever has looked them up; NULL: nobody has */
        HostUses uses;                        /* as of the last look: refreshed for what a request touches */
        bool surveying, surveyed;             /* once, see broker/survey.h */
        uint8_t pasid_bits;                   /* width of the PASID capability, 0 without one or not surveyed yet */
        DeviceState state;
        char reason[256]; /* why it is broken or what it waits for, else "" */
        Lease *lease;
        bool gone;        /* pulled while leased: kept until the lease ends */
        bool changing;    /* a worker is changing how many virtual functions it has */
        bool newcomer;    /* it appeared while a lease owned its group */
        bool unclean;     /* a lease left it that could not be reset after it... */
        uid_t unclean_of; /* ... of this user */
        /* A worker is about to take this virtual function off its VFIO driver, or was killed when it had: what it goes back to. "" as a
         * rule. */
        char taken_from[NAME_MAX_LEN], taken_override[NAME_MAX_LEN];
        int taken_why;     /* why it could not be given back when that was tried last, a negative errno */
        bool marked;       /* there is a file about it */
        unsigned disturbs; /* how often it was found in a leased group where it should not be */
} Device;

/* Until it has been looked at it may. */
static inline bool inventory_may_have_pasids(const Device *d) {
        return d->pasid_bits > 0 || !d->surveyed;
}

typedef struct Group {
        GroupFacts facts;
        Lease *lease;
        bool no_isolation; /* the kernel refused a claim although every member agreed: interrupts are not isolated */
} Group;

typedef struct Inventory {
        Device **devices; /* in the order of their addresses */
        size_t n_devices;
        Group **groups; /* in the order of their numbers */
        size_t n_groups;
        Platform platform;
} Inventory;

#define INVENTORY_FOREACH_DEVICE(inv, d)                                                                               \
        for (size_t _i_##d = 0; _i_##d < (inv)->n_devices && ((d) = (inv)->devices[_i_##d], true); _i_##d++)
#define INVENTORY_FOREACH_GROUP(inv, g)                                                                                \
        for (size_t _i_##g = 0; _i_##g < (inv)->n_groups && ((g) = (inv)->groups[_i_##g], true); _i_##g++)

void inventory_clear(Inventory *inv);

Device *inventory_device(const Inventory *inv, Address a);
Group *inventory_group(const Inventory *inv, int id);
/* The group of a device; NULL if it has none. */
Group *inventory_group_of(const Inventory *inv, const Device *d);

/* Adds a device or renews its facts. Returns 1 if it is new, 0 if it was known, -ENOMEM. */
int inventory_put_device(Inventory *inv, const DeviceFacts *facts, Device **ret);
int inventory_put_group(Inventory *inv, const GroupFacts *facts, Group **ret);
/* Forgets a device; its group goes with its last member. A leased one is only marked gone. Returns true if it is forgotten. */
bool inventory_remove_device(Inventory *inv, Address a);

/* What devices of one reset set have in common: a bus, or the device itself where a bus reset cannot reach it. Two devices
 * are in one set if their keys are equal. From Linux's dev_set (drivers/vfio/pci/vfio_pci_core.c). */
Address inventory_set_key(const DeviceFacts *f);

const char *device_state_to_string(DeviceState s);
DeviceState device_state_from_string(const char *s); /* _DEVICE_STATE_MAX: none of them */
