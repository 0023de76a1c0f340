/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-hwdb.h>

#include "broker/broker.h"
#include "bus/call.h"
#include "system/polkit.h"

/* The daemon's face on the bus. The files of this room decode, check, call the broker and answer; they open nothing and decide
 * nothing. */

typedef struct Bus {
        sd_bus *bus;
        Broker *broker;
        Polkit *polkit;
        sd_hwdb *hwdb; /* NULL: no names */
        CallList calls;
        int (*reload)(void *userdata, char **why); /* reads the configuration again */
        void *reload_userdata;
} Bus;

#define BUS_NAME         "org.iommud1"
#define BUS_ROOT         "/org/iommud1"
#define BUS_MANAGER      "org.iommud1.Manager"
#define BUS_DEVICE       "org.iommud1.Device"
#define BUS_GROUP        "org.iommud1.Group"
#define BUS_LEASE        "org.iommud1.Lease"
#define BUS_DEVICES_PATH BUS_ROOT "/device"
#define BUS_GROUPS_PATH  BUS_ROOT "/group"
#define BUS_LEASES_PATH  BUS_ROOT "/lease"

#define BUS_PATH_MAX 96

/* Exports all objects on the bus. Takes no name yet. */
int bus_export(Bus *bus, sd_bus *connection, Broker *broker);
/* From now on changes are told. */
void bus_listen(Bus *bus);
void bus_clear(Bus *bus);

/* Object paths, into buffers of BUS_PATH_MAX. "/" stands for none. */
const char *bus_device_path(Address a, char buf[static BUS_PATH_MAX]);
const char *bus_group_path(int group, char buf[static BUS_PATH_MAX]);
const char *bus_lease_path(const Lease *l, char buf[static BUS_PATH_MAX]);

/* The way back; negative if the path is none of these. */
int bus_path_to_address(const char *path, Address *ret);
int bus_path_to_group(const char *path, int *ret);
const char *bus_path_to_lease_id(const char *path);

/* Answers a call that was refused: journal, D-Bus error, end of the call. */
int bus_refuse(Bus *bus, sd_bus_message *m, const Client *client, const char *error_name, const char *format, ...)
        _printf_(5, 6);

/* Who sent the message; answers with an error itself and returns 0 if that cannot be known. */
int bus_client(Bus *bus, sd_bus_message *m, Client **ret, sd_bus_error *error);

/* The lease of a method's object, if the next argument is its lifeline; otherwise an error that is set. */
int bus_proven_lease(Bus *bus, sd_bus_message *m, Lease **ret, sd_bus_error *error);

/* vtables, each at the bottom of its file */
extern const sd_bus_vtable bus_manager_vtable[], bus_device_vtable[], bus_group_vtable[], bus_lease_vtable[];

/* Properties whose changes are told. */
extern char *bus_device_changing[], *bus_group_changing[], *bus_lease_changing[];
