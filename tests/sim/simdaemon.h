/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "sim/model.h"

/* A daemon in small around the real ledger, examination and worker logic, and the world around it: clients and the
 * host. What it does is what DESIGN.md, "A lease, step by step", tells of the real one, one random step at a time. */

#define TENANT_DEVICES 64

/* A lease, with what a daemon has of it besides. */
typedef struct Tenant {
        Lease *lease;
        Lease *saved; /* the lease file */
        unsigned serial;
        int client;
        bool handed;
        bool blind; /* no close event can be trusted any more: look for holders, then unbind */
        int iommufd;
        int fds[TENANT_DEVICES];
        unsigned part[TENANT_DEVICES];
        unsigned n_parts;
} Tenant;

typedef struct SimDaemon {
        Sim *sim;
        Model model;
        Ledger ledger;
        Config config;
        VariantTable variants;
        Tenant **tenants;
        size_t n_tenants;
        uint64_t random;
        unsigned serial;
        int next_pid;
        unsigned long seen_hotplugs;
        Job job;
        unsigned long n_leases, n_refused, n_failed, n_hung, n_died, n_restarts, n_broken, n_busy;
} SimDaemon;

/* simdaemon.c: leases begin, and the daemon starts again */
void daemon_init(SimDaemon *d, Sim *s, uint64_t seed);
void daemon_clear(SimDaemon *d);
unsigned daemon_below(SimDaemon *d, unsigned n);
bool daemon_acquire(SimDaemon *d);
void daemon_restart(SimDaemon *d);
/* What udev tells. */
void daemon_sync_hotplug(SimDaemon *d);
void daemon_refresh(SimDaemon *d, SimDevice *sd);
Tenant *daemon_tenant(const SimDaemon *d, const Lease *l);
void daemon_save(Tenant *t);

/* simrelease.c: leases end */
void release_begin(SimDaemon *d, Tenant *t, const char *reason);
/* Runs JOB_RESTORE for the parts for which the time has come. Returns true if the tenant is gone. */
bool release_go_on(SimDaemon *d, Tenant *t);
/* Ends the lease if all of it is released. */
bool release_end(SimDaemon *d, Tenant *t);
void release_close_fds(SimDaemon *d, Tenant *t);

/* simworld.c: clients and the host */
void world_hand_over(SimDaemon *d, Tenant *t);
void world_client(SimDaemon *d);
void world_host(SimDaemon *d);
void world_meanwhile(void *userdata);
/* Everybody closes what is open, hung workers end, broken devices are mended. */
void world_calm_down(SimDaemon *d);
