/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>
#include <systemd/sd-hwdb.h>

#include "broker/broker.h"
#include "bus/backlog.h"
#include "bus/unread.h"

/* The daemon's face on the bus. The files of this room decode, check, call the broker and answer; they open nothing and decide
 * nothing. */

typedef struct Bus {
        sd_bus *bus;
        Broker *broker;
        sd_hwdb *hwdb; /* NULL: no names */
        CallList calls;
        UnreadList unread;
        Backlog backlog;
        int (*reload)(void *userdata, char **why); /* reads the configuration again */
        void *reload_userdata;
} Bus;

#define BUS_NAME         "org.iommud1"
#define BUS_ROOT         "/org/iommud1"
#define BUS_MANAGER      "org.iommud1.Manager"
#define BUS_DEVICE       "org.iommud1.Device"
#define BUS_GROUP        "org.iommud1.Group"
#define BUS_LEASE        "org.iommud1.Lease"
#define BUS_QUOTA        "org.iommud1.Quota"
#define BUS_DEVICES_PATH BUS_ROOT "/device"
#define BUS_GROUPS_PATH  BUS_ROOT "/group"
#define BUS_LEASES_PATH  BUS_ROOT "/lease"
#define BUS_QUOTAS_PATH  BUS_ROOT "/quota"

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

/* The way back; negative if the path is none of these. An object has one path: "group/007" is not group 7. */
int bus_path_to_address(const char *path, Address *ret);
int bus_path_to_group(const char *path, int *ret);
const char *bus_path_to_lease_id(const char *path);
int bus_path_to_cgroup(const char *path, char **ret);

/* Answers a call that was refused: journal, D-Bus error, end of the call. */
int bus_refuse(Bus *bus, sd_bus_message *m, const Client *client, const char *error_name, const char *format, ...)
        _printf_(5, 6);

/* How a handler begins that wants to know who calls. 1: here it is, and the call is counted. 0: the bus is being asked, and the message
 * comes back. Negative: the handler is to give up. */
int bus_enter(Bus *bus, sd_bus_message *m, Call **ret, Client **ret_client, sd_bus_error *error);

/* The lease of a method's object, if the next argument is its lifeline; otherwise an error that is set. A call that is not answered
 * at once remembers the proof, and its message lets go of the lifeline: we are not to keep a lease alive. c: NULL if it is. */
int bus_proven_lease(Bus *bus, sd_bus_message *m, Call *c, Lease **ret, sd_bus_error *error);

/* A device that was handed out with the lease, by its address; otherwise an error that is set. */
int bus_leased_device(const Lease *l, const char *device, const LeaseDevice **ret, sd_bus_error *error);

/* vtables, each at the bottom of its file */
extern const sd_bus_vtable bus_manager_vtable[], bus_device_vtable[], bus_group_vtable[], bus_lease_vtable[],
        bus_quota_vtable[];

/* Properties whose changes are told. */
extern char *bus_device_changing[], *bus_group_changing[], *bus_lease_changing[], *bus_quota_changing[];
