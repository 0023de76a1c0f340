/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "inventory.h"
#include "names.h"
#include "say.h"
#include "table.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl tree [OPTIONS]\n\n"
        "Show the groups with their devices, what blocks them, and which devices of other groups a reset hits.\n\n"
        "  -a, --all   groups of bridges alone too\n"
        "      --json  print JSON\n"
        "  -h, --help  this text\n";

static const Column columns[] = {
        { "NAME", SCOLS_FL_TREE },  { "DRIVER", 0 }, { "STATE", 0 }, { "LEASE", 0 }, { "MODEL", SCOLS_FL_TRUNC },
        { "NOTES", SCOLS_FL_WRAP },
};

static const Object *member(const Inventory *i, const Object *group, size_t k) {
        const char *path =
                sd_json_variant_string(sd_json_variant_by_index(sd_json_variant_by_key(group->properties, "Devices"),
                                                                k));

        return path ? inventory_find(i, path) : NULL;
}

static size_t n_members(const Object *group) {
        return sd_json_variant_elements(sd_json_variant_by_key(group->properties, "Devices"));
}

static bool only_bridges(const Inventory *i, const Object *group) {
        for (size_t k = 0; k < n_members(group); k++) {
                const Object *o = member(i, group, k);

                if (o && !object_is_bridge(o))
                        return false;
        }
        return true;
}

/* Devices outside all groups cannot be lent; they are shown so that nobody looks for them in vain. */
static bool is_shown(const Inventory *i, const Object *o, bool all) {
        if (o->kind == OBJECT_GROUP)
                return all || !only_bridges(i, o);
        return o->kind == OBJECT_DEVICE && streq(json_text(o->properties, "Group"), "/") &&
               (all || !object_is_bridge(o));
}

static void note(char *notes, size_t size, const char *text) {
        text_append(notes, size, "%s%s", notes[0] ? "\n" : "", text);
}

/* The blockers of a group that speak of this address; those of the group itself have "". */
static void note_blockers(const Object *group, const char *address, char *notes, size_t size) {
        sd_json_variant *blockers = sd_json_variant_by_key(group->properties, "Blockers");

        for (size_t k = 0; k < sd_json_variant_elements(blockers); k++) {
                sd_json_variant *b = sd_json_variant_by_index(blockers, k);
                char line[512] = "";

                if (!streq(json_text(b, "subject"), address))
                        continue;
                text_append(line, sizeof(line), "blocked (%s): %s", json_text(b, "code"), json_text(b, "text"));
                note(notes, size, line);
        }
}

/* Members of the own group are hit by a reset as a matter of course: they have the same owner. */
static void note_reset_set(const Inventory *i, const Object *device, char *notes, size_t size) {
        sd_json_variant *set = sd_json_variant_by_key(device->properties, "ResetSet");
        char line[512] = "";

        for (size_t k = 0; k < sd_json_variant_elements(set); k++) {
                const char *address = sd_json_variant_string(sd_json_variant_by_index(set, k));
                const Object *other = inventory_find_device(i, address);
                char group[OBJECT_LABEL_MAX] = "";

                if (other && streq(json_text(other->properties, "Group"), json_text(device->properties, "Group")))
                        continue;
                if (other)
                        object_label(json_text(other->properties, "Group"), group, sizeof(group));
                text_append(line, sizeof(line), "%s %s (group %s)", line[0] ? "," : "its bus reset also hits", address,
                            group[0] ? group : "none");
        }
        if (line[0])
                note(notes, size, line);
}

static int add_device(struct libscols_table *t, struct libscols_line *parent, const Inventory *i, const Object *group,
                      const Object *o) {
        char lease[OBJECT_LABEL_MAX * 2], model[256], notes[2048] = "";
        const char *address = json_text(o->properties, "Address"), *driver = json_text(o->properties, "Driver");
        const char *row[] = { address, isempty(driver) ? "-" : driver, json_text(o->properties, "State"), lease, model,
                              notes };

        object_lease_label(i, o, lease, sizeof(lease));
        names_device(o->properties, model, sizeof(model));
        if (group)
                note_blockers(group, address, notes, sizeof(notes));
        note_reset_set(i, o, notes, sizeof(notes));
        return table_add(t, parent, row, NULL);
}

static int add_group(struct libscols_table *t, const Inventory *i, const Object *group) {
        char name[32], lease[OBJECT_LABEL_MAX * 2], notes[2048] = "";
        const char *row[] = {
                name, "", json_flag(group->properties, "Viable") ? "viable" : "blocked", lease, "", notes
        };
        struct libscols_line *line;
        int r;

        snprintf(name, sizeof(name), "group %" PRIu64, json_number(group->properties, "Id"));
        object_lease_label(i, group, lease, sizeof(lease));
        note_blockers(group, "", notes, sizeof(notes));
        r = table_add(t, NULL, row, &line);
        for (size_t k = 0; r >= 0 && k < n_members(group); k++) {
                const Object *o = member(i, group, k);

                if (o)
                        r = add_device(t, line, i, group, o);
        }
        return r;
}

static int print_table(const Inventory *i, bool all) {
        _cleanup_table_ struct libscols_table *t = NULL;
        struct libscols_line *outside = NULL;
        int r;

        r = table_new(columns, ARRAY_SIZE(columns), &t);
        for (size_t k = 0; r >= 0 && k < i->n; k++)
                if (i->objects[k].kind == OBJECT_GROUP && is_shown(i, &i->objects[k], all))
                        r = add_group(t, i, &i->objects[k]);
        for (size_t k = 0; r >= 0 && k < i->n; k++) {
                const Object *o = &i->objects[k];

                if (o->kind != OBJECT_DEVICE || !is_shown(i, o, all))
                        continue;
                if (!outside)
                        r = table_add(t, NULL, (const char *[]) { "no group", "", "", "", "", "" }, &outside);
                if (r >= 0)
                        r = add_device(t, outside, i, NULL, o);
        }
        return r < 0 ? r : table_print(t);
}

/* A group with its devices in place of their paths. */
static int group_to_json(const Inventory *i, const Object *group, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *v = NULL, *devices = NULL;
        int r;

        r = sd_json_variant_new_array(&devices, NULL, 0);
        for (size_t k = 0; r >= 0 && k < n_members(group); k++) {
                _cleanup_json_ sd_json_variant *device = NULL;
                const Object *o = member(i, group, k);

                if (!o)
                        continue;
                r = object_to_json(o, &device);
                if (r < 0)
                        return r;
                r = sd_json_variant_append_array(&devices, device);
        }
        if (r >= 0)
                r = object_to_json(group, &v);
        if (r >= 0)
                r = sd_json_variant_set_field(&v, "Devices", devices);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(v);
        return 0;
}

static int print_json(const Inventory *i, bool all) {
        _cleanup_json_ sd_json_variant *groups = NULL, *outside = NULL, *document = NULL;
        int r;

        r = sd_json_variant_new_array(&groups, NULL, 0);
        if (r >= 0)
                r = sd_json_variant_new_array(&outside, NULL, 0);
        for (size_t k = 0; r >= 0 && k < i->n; k++) {
                _cleanup_json_ sd_json_variant *v = NULL;
                const Object *o = &i->objects[k];
                bool is_group = o->kind == OBJECT_GROUP;

                if (!is_shown(i, o, all))
                        continue;
                r = is_group ? group_to_json(i, o, &v) : object_to_json(o, &v);
                if (r >= 0)
                        r = sd_json_variant_append_array(is_group ? &groups : &outside, v);
        }
        if (r >= 0)
                r = sd_json_variant_set_field(&document, "groups", groups);
        if (r >= 0)
                r = sd_json_variant_set_field(&document, "outside", outside);
        return r < 0 ? bus_fail(r, "cannot make JSON") : json_print(document);
}

int verb_tree(int argc, char **argv) {
        static const struct option options[] = {
                { "all", no_argument, NULL, 'a' },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        _cleanup_inventory_ Inventory i = {};
        bool all = false, json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "ah", options, NULL)) >= 0) {
                if (c == 'a')
                        all = true;
                else if (c == 'j')
                        json = true;
                else
                        return c == 'h' ? say_help(help) : VERB_USAGE;
        }
        if (optind < argc)
                return say_usage("tree takes no arguments");
        r = inventory_fetch(&i);
        if (r < 0)
                return r;
        return json ? print_json(&i, all) : print_table(&i, all);
}
