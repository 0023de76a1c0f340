/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "inventory.h"
#include "names.h"
#include "say.h"
#include "util/text.h"

static const struct {
        const char *interface, *name;
} kinds[] = {
        [OBJECT_DEVICE] = { BUS_DEVICE, "device" },
        [OBJECT_GROUP] = { BUS_GROUP, "group" },
        [OBJECT_LEASE] = { BUS_LEASE, "lease" },
        [OBJECT_QUOTA] = { BUS_QUOTA, "quota" },
};

ObjectKind object_kind_from_interface(const char *interface) {
        for (size_t i = 0; i < ARRAY_SIZE(kinds); i++)
                if (streq(kinds[i].interface, interface))
                        return i;
        return _OBJECT_INVALID;
}

const char *object_kind_to_string(ObjectKind kind) {
        return kinds[kind].name;
}

static int compare_numbers(uint64_t a, uint64_t b) {
        return a < b ? -1 : a > b;
}

static int compare_objects(const void *x, const void *y) {
        const Object *a = x, *b = y;
        int r;

        r = compare_numbers(a->kind, b->kind);
        if (r == 0 && a->kind == OBJECT_GROUP)
                r = compare_numbers(json_number(a->properties, "Id"), json_number(b->properties, "Id"));
        if (r == 0 && a->kind == OBJECT_LEASE)
                r = compare_numbers(json_number(a->properties, "Created"), json_number(b->properties, "Created"));
        if (r == 0 && a->kind == OBJECT_QUOTA)
                r = strcmp(json_text(a->properties, "CGroup"), json_text(b->properties, "CGroup"));
        return r == 0 ? strcmp(a->path, b->path) : r;
}

static int inventory_fill(Inventory *i) {
        size_t n = json_members(i->tree);

        i->objects = calloc(n ? n : 1, sizeof(Object));
        if (!i->objects)
                return -ENOMEM;
        for (size_t p = 0; p < n; p++) {
                sd_json_variant *interfaces, *properties;
                const char *path = json_member(i->tree, p, &interfaces);

                for (size_t k = 0; k < ARRAY_SIZE(kinds); k++) {
                        properties = sd_json_variant_by_key(interfaces, kinds[k].interface);
                        if (!sd_json_variant_is_object(properties))
                                continue;
                        i->objects[i->n++] = (Object) { .kind = k, .path = path, .properties = properties };
                        break;
                }
        }
        qsort(i->objects, i->n, sizeof(Object), compare_objects);
        return 0;
}

int inventory_load(sd_bus *bus, Inventory *ret) {
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_inventory_ Inventory i = {};
        int r;

        r = bus_new_call(bus, BUS_ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", &call);
        if (r < 0)
                return r;
        r = bus_call(bus, call, &reply);
        if (r < 0)
                return r;
        r = json_read(reply, "", &i.tree);
        if (r >= 0)
                r = inventory_fill(&i);
        if (r < 0)
                return bus_fail(r, "cannot read what iommud manages");
        *ret = TAKE(i, (Inventory) {});
        return 0;
}

int inventory_fetch(Inventory *ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r = bus_connect(&bus);

        return r < 0 ? r : inventory_load(bus, ret);
}

void inventory_done(Inventory *i) {
        free(i->objects);
        sd_json_variant_unref(i->tree);
}

const Object *inventory_find(const Inventory *i, const char *path) {
        for (size_t k = 0; k < i->n; k++)
                if (streq(i->objects[k].path, path))
                        return &i->objects[k];
        return NULL;
}

const Object *inventory_find_device(const Inventory *i, const char *address) {
        for (size_t k = 0; k < i->n; k++)
                if (i->objects[k].kind == OBJECT_DEVICE &&
                    streq(json_text(i->objects[k].properties, "Address"), address))
                        return &i->objects[k];
        return NULL;
}

const Object *inventory_find_group(const Inventory *i, uint64_t id) {
        for (size_t k = 0; k < i->n; k++)
                if (i->objects[k].kind == OBJECT_GROUP && json_number(i->objects[k].properties, "Id") == id)
                        return &i->objects[k];
        return NULL;
}

int inventory_find_lease(const Inventory *i, const char *name, const Object **ret) {
        const Object *found = NULL;

        if (isempty(name))
                return -ENOENT;
        for (size_t k = 0; k < i->n; k++) {
                const Object *o = &i->objects[k];

                if (o->kind != OBJECT_LEASE)
                        continue;
                if (!streq(o->path, name) && strncasecmp(json_text(o->properties, "Id"), name, strlen(name)) != 0)
                        continue;
                if (found)
                        return -ENOTUNIQ;
                found = o;
        }
        if (!found)
                return -ENOENT;
        *ret = found;
        return 0;
}

bool object_is_bridge(const Object *o) {
        return o->kind == OBJECT_DEVICE && json_number(o->properties, "Class") >> 16 == 0x06;
}

void object_label(const char *path, char *buf, size_t size) {
        static const char devices[] = BUS_ROOT "/device/", leases[] = BUS_LEASES "/";
        _cleanup_free_ char *cgroup = NULL;
        unsigned domain, bus, slot, function;

        if (sd_bus_path_decode(path, BUS_QUOTAS, &cgroup) > 0)
                snprintf(buf, size, "%s", cgroup);
        else if (strncmp(path, devices, strlen(devices)) == 0 &&
                 sscanf(path + strlen(devices), "%x_%x_%x_%x", &domain, &bus, &slot, &function) == 4)
                snprintf(buf, size, "%04x:%02x:%02x.%x", domain, bus, slot, function);
        else if (strncmp(path, leases, strlen(leases)) == 0)
                snprintf(buf, size, "%.8s", path + strlen(leases));
        else
                snprintf(buf, size, "%s", strrchr(path, '/') ? strrchr(path, '/') + 1 : path);
}

void object_lease_label(const Inventory *i, const Object *o, char *buf, size_t size) {
        const char *path = json_text(o->properties, "Lease");
        const Object *lease = inventory_find(i, path);
        char user[NAMES_USER_MAX];

        object_label(path, buf, size);
        if (!lease)
                return;
        names_user(json_number(lease->properties, "Uid"), user, sizeof(user));
        text_append(buf, size, " %s", user);
}

int object_to_json(const Object *o, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *v = sd_json_variant_ref(o->properties);
        int r;

        r = sd_json_variant_set_field_string(&v, "Path", o->path);
        if (r < 0)
                return bus_fail(r, "cannot make JSON");
        *ret = TAKE_PTR(v);
        return 0;
}

/* Bridges are hidden: nobody leases them. */
bool object_is_listed(const Object *o, ObjectKind kind, bool all) {
        return o->kind == kind && (kind != OBJECT_DEVICE || all || !object_is_bridge(o));
}

int inventory_print_json(const Inventory *i, ObjectKind kind, bool all, const char *name) {
        _cleanup_json_ sd_json_variant *list = NULL, *document = NULL;
        int r;

        r = sd_json_variant_new_array(&list, NULL, 0);
        for (size_t k = 0; r >= 0 && k < i->n; k++) {
                _cleanup_json_ sd_json_variant *v = NULL;

                if (!object_is_listed(&i->objects[k], kind, all))
                        continue;
                r = object_to_json(&i->objects[k], &v);
                if (r < 0)
                        return r;
                r = sd_json_variant_append_array(&list, v);
        }
        if (r >= 0)
                r = sd_json_variant_set_field(&document, name, list);
        return r < 0 ? bus_fail(r, "cannot make JSON") : json_print(document);
}
