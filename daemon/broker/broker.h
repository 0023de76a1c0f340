/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "broker/task.h"
#include "broker/watch.h"
#include "core/ledger.h"
#include "system/cgroup-tree.h"
#include "system/client.h"
#include "system/fdstore.h"

/* The broker: the ledger with what makes it real (leases on disk, lifelines, workers). It knows nothing of the bus; who wants to
 * hear of changes gives it a listener. */

typedef struct Broker Broker;
typedef struct LeaseRun LeaseRun;
typedef struct VirtualChange VirtualChange;
typedef struct Setting Setting;

typedef struct BrokerListener {
        void (*device_added)(Device *d, void *userdata);
        void (*device_removed)(Address a, int group, void *userdata);
        void (*device_changed)(Device *d, void *userdata);
        void (*group_added)(Group *g, void *userdata);
        void (*group_removed)(int group, void *userdata);
        void (*group_changed)(Group *g, void *userdata);
        /* Something happened in a group that a lease owns: what goes on from "DEVICE ". */
        void (*group_disturbed)(Group *g, Address a, const char *what, void *userdata);
        void (*lease_added)(Lease *l, void *userdata);
        void (*lease_changed)(Lease *l, void *userdata);
        /* A cgroup has something booked or a limit of its own, or has neither any more. */
        void (*quota_added)(const QuotaLevel *level, void *userdata);
        void (*quota_removed)(const QuotaLevel *level, void *userdata);
        void (*quota_changed)(const QuotaLevel *level, void *userdata);
        void (*lease_ended)(Lease *l, const char *reason, void *userdata);
} BrokerListener;

/* What files further up in this room do when something below them has happened; assembly.c knows who they are. */
typedef struct BrokerHooks {
        void (*device_read)(Broker *b, Device *d, bool is_new);
        void (*device_gone)(Broker *b, Device *d);      /* a leased one went away */
        void (*worker_done)(Broker *b, const Lease *l); /* with some devices of a lease */
        void (*release_began)(LeaseRun *run);
} BrokerHooks;

struct Broker {
        const BrokerHooks *hooks;
        sd_event *event;
        Kernel *kernel;
        Ledger ledger;
        Config config;
        VariantTable variants;
        Store store;
        FdStore *fdstore;
        Watch *watch;
        CGroupTree *cgroups;     /* NULL: the gate is not told of them */
        bool gate_was_full;      /* it had no room for one of them */
        Enforcement enforcement; /* of leases that are made now */
        const char *gate_why;    /* nothing holds them to their PASIDs; NULL: the gate does */
        bool is_behind;          /* the configuration could not be read again */
        bool polkit_actions;     /* polkit knows ours */
        bool watch_is_new;       /* what an earlier daemon watched is lost */
        char *own_cgroup;        /* what is in it is never killed... */
        int bus_pid;             /* ... nor this */
        TaskQueue *tasks;
        bool surveying;               /* a worker is at it */
        LeaseRun *runs;               /* one per lease */
        VirtualChange *changes;       /* one per device whose virtual functions are being changed */
        sd_event_source *taken_timer; /* for what could not be given back, see taken.h */
        uint64_t taken_interval;
        Setting *settings; /* limits that are being set, oldest first */
        const BrokerListener *listener;
        void *listener_userdata;
};

/* Tells that the inventory has no such device any more, if it has none: what was pulled while leased goes with its lease. */
void broker_note_forgotten(Broker *b, Address a, int group);

/* Writes down what is to be remembered of a device after its lease, see core/mark.h. */
void broker_keep_mark(Broker *b, Device *d);

World broker_world(const Broker *b);

/* Tell the listener. Devices and groups of a lease change with it. */
void broker_device_changed(Broker *b, Device *d);
void broker_lease_changed(Broker *b, Lease *l);
