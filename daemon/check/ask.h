/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/health.h"

/* What --check asks the bus, and the daemon that runs. Nothing is started by it. */

typedef struct Owner {
        bool there; /* somebody has the name of the daemon */
        uid_t uid;
        int pid;
} Owner;

/* Negative: the bus does not say. */
int ask_owner(sd_bus *bus, Owner *ret);

/* One of the findings of Health, as the daemon says it: it may be of another version. */
typedef void (*ask_told_t)(const char *code, const char *severity, const char *subject, const char *text,
                           const char *remedy, void *userdata);
int ask_health(sd_bus *bus, ask_told_t told, void *userdata);

/* Does the daemon know the devices as they are? ret_leases: how many it has. */
int ask_devices(sd_bus *bus, const Inventory *inv, Findings *findings, size_t *ret_leases);
