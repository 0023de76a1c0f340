/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "inventory.h"
#include "names.h"
#include "request.h"
#include "say.h"
#include "table.h"
#include "util/text.h"
#include "verb.h"

static const char help[] = "iommuctl show [OPTIONS] DEVICE|GROUP|LEASE...\n\n"
                           "Show all about devices (by address), groups (by number) or leases (by id, a unique "
                           "beginning of it, or object path).\n\n"
                           "      --json  print JSON\n"
                           "  -h, --help  this text\n";

/* Renders a value of any type; appends to the cell. */
typedef void (*Render)(sd_json_variant *v, char *cell, size_t size);

static void render_plain(sd_json_variant *v, char *cell, size_t size) {
        _cleanup_free_ char *text = NULL;

        if (sd_json_variant_is_string(v))
                text_append(cell, size, "%s", sd_json_variant_string(v));
        else if (sd_json_variant_is_boolean(v))
                text_append(cell, size, "%s", sd_json_variant_boolean(v) ? "yes" : "no");
        else if (sd_json_variant_format(v, 0, &text) >= 0)
                text_append(cell, size, "%s", text);
}

static void render_id(sd_json_variant *v, char *cell, size_t size) {
        text_append(cell, size, "%04" PRIx64, sd_json_variant_unsigned(v));
}

static void render_class(sd_json_variant *v, char *cell, size_t size) {
        char name[160];

        names_class((uint32_t) sd_json_variant_unsigned(v), name, sizeof(name));
        text_append(cell, size, "%s", name);
}

static void render_user(sd_json_variant *v, char *cell, size_t size) {
        char name[NAMES_USER_MAX];

        names_user(sd_json_variant_unsigned(v), name, sizeof(name));
        text_append(cell, size, "%s", name);
}

static void render_time(sd_json_variant *v, char *cell, size_t size) {
        time_t t = (time_t) (sd_json_variant_unsigned(v) / 1000000);
        char text[64];
        struct tm tm;

        if (t != 0 && localtime_r(&t, &tm) && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S %Z", &tm) > 0)
                text_append(cell, size, "%s", text);
}

/* A path or a text, or an array of them. */
static void render_names(sd_json_variant *v, char *cell, size_t size) {
        char label[OBJECT_LABEL_MAX];

        if (sd_json_variant_is_string(v)) {
                object_label(sd_json_variant_string(v), label, sizeof(label));
                text_append(cell, size, "%s%s", cell[0] ? " " : "", label);
        }
        for (size_t i = 0; sd_json_variant_is_array(v) && i < sd_json_variant_elements(v); i++)
                render_names(sd_json_variant_by_index(v, i), cell, size);
}

/* An array of structs: one a line, fields by spaces. */
static void render_lines(sd_json_variant *v, char *cell, size_t size) {
        for (size_t i = 0; i < sd_json_variant_elements(v); i++) {
                sd_json_variant *line = sd_json_variant_by_index(v, i), *field;
                const char *between = i > 0 ? "\n" : "";

                for (size_t k = 0; k < json_members(line); k++) {
                        json_member(line, k, &field);
                        if (sd_json_variant_is_string(field) && isempty(sd_json_variant_string(field)))
                                continue;
                        text_append(cell, size, "%s", between);
                        render_plain(field, cell, size);
                        between = "  ";
                }
        }
}

static void render_regions(sd_json_variant *v, char *cell, size_t size) {
        for (size_t i = 0; i < sd_json_variant_elements(v); i++) {
                sd_json_variant *region = sd_json_variant_by_index(v, i);

                text_append(cell, size, "%s%#" PRIx64 "-%#" PRIx64 "  %s", i > 0 ? "\n" : "",
                            json_number(region, "first"), json_number(region, "last"), json_text(region, "type"));
        }
}

/* The properties of the contract in the order of interest; others follow under their own names. Without a label: part
 * of another row. Without a function: the name of the device, which is made of several properties. */
static const struct {
        ObjectKind kind;
        const char *property, *label;
        Render render;
} rows[] = {
        { OBJECT_DEVICE, "Address", "Device", render_plain },
        { OBJECT_DEVICE, "Model", "Model", NULL },
        { OBJECT_DEVICE, "Vendor", NULL, NULL },
        { OBJECT_DEVICE, "VendorId", "Vendor id", render_id },
        { OBJECT_DEVICE, "DeviceId", "Device id", render_id },
        { OBJECT_DEVICE, "SubsystemVendorId", "Subsystem vendor", render_id },
        { OBJECT_DEVICE, "SubsystemDeviceId", "Subsystem device", render_id },
        { OBJECT_DEVICE, "Class", "Class", render_class },
        { OBJECT_DEVICE, "State", "State", render_plain },
        { OBJECT_DEVICE, "StateReason", "Reason", render_plain },
        { OBJECT_DEVICE, "Lease", "Lease", render_names },
        { OBJECT_DEVICE, "Driver", "Driver", render_plain },
        { OBJECT_DEVICE, "VfioDriver", "VFIO driver", render_plain },
        { OBJECT_DEVICE, "HostUse", "Used by the host", render_lines },
        { OBJECT_DEVICE, "Group", "Group", render_names },
        { OBJECT_DEVICE, "ResetMethods", "Reset methods", render_names },
        { OBJECT_DEVICE, "ResetSet", "Reset set", render_names },
        { OBJECT_DEVICE, "Clean", "Clean", render_plain },
        { OBJECT_DEVICE, "PasidBits", "PASID bits", render_plain },
        { OBJECT_DEVICE, "Enforcement", "PASIDs held by", render_plain },
        { OBJECT_DEVICE, "PhysicalFunction", "Physical function", render_plain },
        { OBJECT_DEVICE, "VirtualFunctions", "Virtual functions", render_plain },
        { OBJECT_DEVICE, "VirtualFunctionsMax", "At most", render_plain },
        { OBJECT_DEVICE, "NumaNode", "NUMA node", render_plain },
        { OBJECT_GROUP, "Id", "Group", render_plain },
        { OBJECT_GROUP, "Devices", "Devices", render_names },
        { OBJECT_GROUP, "Viable", "Viable", render_plain },
        { OBJECT_GROUP, "Blockers", "Blockers", render_lines },
        { OBJECT_GROUP, "Lease", "Lease", render_names },
        { OBJECT_GROUP, "Type", "Domain type", render_plain },
        { OBJECT_GROUP, "ReservedRegions", "Reserved regions", render_regions },
        { OBJECT_LEASE, "Id", "Lease", render_plain },
        { OBJECT_LEASE, "State", "State", render_plain },
        { OBJECT_LEASE, "StateReason", "Reason", render_plain },
        { OBJECT_LEASE, "Holders", "Held by", render_lines },
        { OBJECT_LEASE, "RevokeDeadline", "To end by", render_time },
        { OBJECT_LEASE, "Uid", "Owner", render_user },
        { OBJECT_LEASE, "Pid", "Acquired by pid", render_plain },
        { OBJECT_LEASE, "Unit", "Unit", render_plain },
        { OBJECT_LEASE, "CGroup", "Control group", render_plain },
        { OBJECT_LEASE, "Created", "Since", render_time },
        { OBJECT_LEASE, "Devices", "Devices", render_names },
        { OBJECT_LEASE, "Parked", "Parked", render_names },
        { OBJECT_LEASE, "Groups", "Groups", render_names },
        { OBJECT_LEASE, "HandOver", "Hand-over", render_plain },
        { OBJECT_LEASE, "Pasids", "PASIDs booked", render_plain },
        { OBJECT_LEASE, "Enforcement", "PASIDs held by", render_plain },
};

static bool has_row(const Object *o, const char *property) {
        for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
                if (rows[i].kind == o->kind && streq(rows[i].property, property))
                        return true;
        return false;
}

static int add_row(struct libscols_table *t, const Object *o, const char *label, sd_json_variant *v, Render render) {
        char title[64], cell[4096] = "";

        snprintf(title, sizeof(title), "%s:", label);
        if (render)
                render(v, cell, sizeof(cell));
        else
                names_device(o->properties, cell, sizeof(cell));
        return table_add(t, NULL, (const char *[]) { title, cell[0] ? cell : "-" }, NULL);
}

static int print_object(const Object *o) {
        static const Column columns[] = { { NULL, 0 }, { NULL, SCOLS_FL_WRAP } };
        _cleanup_table_ struct libscols_table *t = NULL;
        sd_json_variant *v;
        int r;

        r = table_new(columns, ARRAY_SIZE(columns), &t);
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(rows); i++) {
                v = sd_json_variant_by_key(o->properties, rows[i].property);
                if (rows[i].kind == o->kind && v && rows[i].label)
                        r = add_row(t, o, rows[i].label, v, rows[i].render);
        }
        for (size_t i = 0; r >= 0 && i < json_members(o->properties); i++) {
                const char *property = json_member(o->properties, i, &v);

                if (!has_row(o, property))
                        r = add_row(t, o, property, v, render_plain);
        }
        return r < 0 ? r : table_print(t);
}

/* An address, a number of a group that exists, or a lease. */
static int find(const Inventory *i, const char *name, const Object **ret) {
        char address[ADDRESS_MAX];
        uint64_t group;
        int r;

        *ret = NULL;
        if (address_parse(name, address))
                *ret = inventory_find_device(i, address);
        else if (name[0] == '/')
                *ret = inventory_find(i, name);
        else if (text_to_u64(name, UINT32_MAX, &group) >= 0)
                *ret = inventory_find_group(i, group);
        if (*ret)
                return 0;
        r = inventory_find_lease(i, name, ret);
        if (r == -ENOTUNIQ)
                say_error("\"%s\" is the beginning of several leases", name);
        else if (r < 0)
                say_error("iommud knows no device, group or lease \"%s\"", name);
        return r;
}

static int show(const Inventory *i, char **names, size_t n, bool json) {
        _cleanup_json_ sd_json_variant *list = NULL;
        const Object *o;
        int r;

        for (size_t k = 0; k < n; k++) {
                _cleanup_json_ sd_json_variant *v = NULL;

                r = find(i, names[k], &o);
                if (r < 0)
                        return r;
                if (!json) {
                        if (k > 0)
                                putchar('\n');
                        r = print_object(o);
                } else {
                        r = object_to_json(o, &v);
                        if (r >= 0)
                                r = sd_json_variant_append_array(&list, v);
                }
                if (r < 0)
                        return r;
        }
        return json ? json_print(n == 1 ? sd_json_variant_by_index(list, 0) : list) : 0;
}

int verb_show(int argc, char **argv) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        _cleanup_inventory_ Inventory i = {};
        bool json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'j')
                        return c == 'h' ? say_help(help) : VERB_USAGE;
                json = true;
        }
        if (optind == argc)
                return say_usage("show wants a device, a group or a lease");
        r = inventory_fetch(&i);
        if (r < 0)
                return r;
        return show(&i, argv + optind, (size_t) (argc - optind), json);
}
