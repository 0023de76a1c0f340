/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "broker/task.h"
#include "broker/watch.h"
#include "core/ledger.h"
#include "system/client.h"

/* The broker: the ledger with what makes it real (leases on disk, lifelines, workers). It knows nothing of the bus; who wants to
 * hear of changes gives it a listener. */

typedef struct Broker Broker;
typedef struct LeaseRun LeaseRun;

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
        void (*lease_ended)(Lease *l, const char *reason, void *userdata);
} BrokerListener;

struct Broker {
        sd_event *event;
        Kernel *kernel;
        Ledger ledger;
        Config config;
        VariantTable variants;
        Store store;
        Watch *watch;
        bool watch_is_new; /* what an earlier daemon watched is lost */
        TaskQueue *tasks;
        LeaseRun *runs; /* one per lease */
        const BrokerListener *listener;
        void *listener_userdata;
};

/* config and variants are taken over. watch_fd: the inotify descriptor of an earlier daemon, or -EBADF; consumed. */
int broker_new(sd_event *event, Kernel *kernel, const char *runtime_directory, Config config, VariantTable variants,
               int watch_fd, Broker **ret);
Broker *broker_free(Broker *b);
DEFINE_CLEANUP(Broker, broker_free)

/* Reads all devices and groups. */
int broker_enumerate(Broker *b);
/* Looks at one device again: it came, changed or went. Leaves alone what a worker is at work on. */
void broker_refresh(Broker *b, Address a);
void broker_forget(Broker *b, Address a);

World broker_world(const Broker *b);

/* Who still has the device of this index of a lease open, as of the last look; NULL if nobody has looked. */
const Holders *broker_holders(const Broker *b, const Lease *l, size_t i);
/* The lifeline that came with a call: is it this lease's? */
bool broker_is_lifeline(const Broker *b, const Lease *l, int fd);

/* Tell the listener. Devices and groups of a lease change with it. */
void broker_device_changed(Broker *b, Device *d);
void broker_lease_changed(Broker *b, Lease *l);
