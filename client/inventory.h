/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus.h"
#include "json.h"

/* What iommud manages, as it was at one moment: devices by address, groups by number, leases by age,
 * quotas by cgroup. */

typedef enum ObjectKind {
        OBJECT_DEVICE,
        OBJECT_GROUP,
        OBJECT_LEASE,
        OBJECT_QUOTA,
        _OBJECT_INVALID = -EINVAL,
} ObjectKind;

typedef struct Object {
        ObjectKind kind;
        const char *path;            /* lives in Inventory.tree */
        sd_json_variant *properties; /* likewise */
} Object;

typedef struct Inventory {
        sd_json_variant *tree;
        Object *objects;
        size_t n;
} Inventory;

#define OBJECT_LABEL_MAX 64

/* Says what went wrong. */
int inventory_load(sd_bus *bus, Inventory *ret);
/* The same for who has nothing else to ask. */
int inventory_fetch(Inventory *ret);
void inventory_done(Inventory *i);
#define _cleanup_inventory_ _cleanup_(inventory_done)

const Object *inventory_find(const Inventory *i, const char *path);
const Object *inventory_find_device(const Inventory *i, const char *address);
const Object *inventory_find_group(const Inventory *i, uint64_t id);
/* By id, unique prefix or object path. Returns -ENOENT, or -ENOTUNIQ with the text of neither said. */
int inventory_find_lease(const Inventory *i, const char *name, const Object **ret);

ObjectKind object_kind_from_interface(const char *interface);
const char *object_kind_to_string(ObjectKind kind);

/* A bridge of any kind: nobody leases those. */
bool object_is_bridge(const Object *o);

/* What people call an object: "0000:01:00.0", "7", "1a2b3c4d", "/machine.slice"; "" for "/". */
void object_label(const char *path, char *buf, size_t size);

/* "1a2b3c4d alice", or "" without a lease. */
void object_lease_label(const Inventory *i, const Object *o, char *buf, size_t size);

/* The properties with the path. */
int object_to_json(const Object *o, sd_json_variant **ret);

/* Is it to be among those that are listed? all: bridges too. */
bool object_is_listed(const Object *o, ObjectKind kind, bool all);
/* Prints {"NAME": [OBJECT...]}; says what went wrong. */
int inventory_print_json(const Inventory *i, ObjectKind kind, bool all, const char *name);
