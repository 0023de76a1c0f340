/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <time.h>

#include "inventory.h"
#include "names.h"
#include "say.h"
#include "table.h"
#include "util/text.h"
#include "verb.h"

static const char help[] = "iommuctl list [OPTIONS] [devices|groups|leases]\n\n"
                           "List devices (the default), groups or leases.\n\n"
                           "  -a, --all   bridges too\n"
                           "      --json  print JSON\n"
                           "  -h, --help  this text\n";

enum {
        CELLS_MAX = 8,
        CELL_SIZE = 1024,
};

typedef char Cells[CELLS_MAX][CELL_SIZE];

static void copy(char *cell, const char *text) {
        cell[0] = '\0';
        text_append(cell, CELL_SIZE, "%s", text);
}

static void fill_device(const Inventory *i, const Object *o, Cells cells) {
        const char *driver = json_text(o->properties, "Driver");

        copy(cells[0], json_text(o->properties, "Address"));
        object_label(json_text(o->properties, "Group"), cells[1], CELL_SIZE);
        copy(cells[2], isempty(driver) ? "-" : driver);
        copy(cells[3], json_text(o->properties, "State"));
        object_lease_label(i, o, cells[4], CELL_SIZE);
        names_device(o->properties, cells[5], CELL_SIZE);
}

/* The labels of an array of object paths or of addresses, which are their own labels. */
static void fill_names(sd_json_variant *names, char *cell) {
        char label[OBJECT_LABEL_MAX];

        cell[0] = '\0';
        for (size_t k = 0; k < sd_json_variant_elements(names); k++) {
                object_label(sd_json_variant_string(sd_json_variant_by_index(names, k)), label, sizeof(label));
                text_append(cell, CELL_SIZE, "%s%s", k > 0 ? " " : "", label);
        }
}

static void fill_group(const Inventory *i, const Object *o, Cells cells) {
        snprintf(cells[0], CELL_SIZE, "%" PRIu64, json_number(o->properties, "Id"));
        copy(cells[1], json_flag(o->properties, "Viable") ? "yes" : "no");
        copy(cells[2], json_text(o->properties, "Type"));
        object_lease_label(i, o, cells[3], CELL_SIZE);
        fill_names(sd_json_variant_by_key(o->properties, "Devices"), cells[4]);
}

static void fill_lease(_unused_ const Inventory *i, const Object *o, Cells cells) {
        time_t created = (time_t) (json_number(o->properties, "Created") / 1000000);
        struct tm tm;

        object_label(o->path, cells[0], CELL_SIZE);
        names_user(json_number(o->properties, "Uid"), cells[1], CELL_SIZE);
        snprintf(cells[2], CELL_SIZE, "%" PRIu64, json_number(o->properties, "Pid"));
        copy(cells[3], json_text(o->properties, "State"));
        copy(cells[4], json_text(o->properties, "HandOver"));
        cells[5][0] = '\0';
        if (localtime_r(&created, &tm))
                strftime(cells[5], CELL_SIZE, "%Y-%m-%d %H:%M:%S", &tm);
        fill_names(sd_json_variant_by_key(o->properties, "Devices"), cells[6]);
        copy(cells[7], json_text(o->properties, "Unit"));
}

static const struct Listing {
        const char *name;
        void (*fill)(const Inventory *i, const Object *o, Cells cells);
        Column columns[CELLS_MAX];
        size_t n_columns;
} listings[] = {
        [OBJECT_DEVICE] = { "devices",
                            fill_device,
                            { { "ADDRESS", 0 },
                              { "GROUP", SCOLS_FL_RIGHT },
                              { "DRIVER", 0 },
                              { "STATE", 0 },
                              { "LEASE", 0 },
                              { "MODEL", SCOLS_FL_TRUNC } },
                            6 },
        [OBJECT_GROUP] = { "groups",
                           fill_group,
                           { { "GROUP", SCOLS_FL_RIGHT },
                             { "VIABLE", 0 },
                             { "TYPE", 0 },
                             { "LEASE", 0 },
                             { "DEVICES", SCOLS_FL_TRUNC } },
                           5 },
        [OBJECT_LEASE] = { "leases",
                           fill_lease,
                           { { "LEASE", 0 },
                             { "OWNER", 0 },
                             { "PID", SCOLS_FL_RIGHT },
                             { "STATE", 0 },
                             { "HAND-OVER", 0 },
                             { "CREATED", 0 },
                             { "DEVICES", SCOLS_FL_TRUNC },
                             { "UNIT", SCOLS_FL_TRUNC } },
                           8 },
};

static int print_table(const Inventory *i, ObjectKind kind, bool all) {
        const struct Listing *l = &listings[kind];
        _cleanup_table_ struct libscols_table *t = NULL;
        const char *row[CELLS_MAX];
        Cells cells;
        int r;

        r = table_new(l->columns, l->n_columns, &t);
        if (r < 0)
                return r;
        for (size_t k = 0; k < l->n_columns; k++)
                row[k] = cells[k];
        for (size_t k = 0; k < i->n; k++) {
                if (!object_is_listed(&i->objects[k], kind, all))
                        continue;
                l->fill(i, &i->objects[k], cells);
                r = table_add(t, NULL, row, NULL);
                if (r < 0)
                        return r;
        }
        return table_print(t);
}

static int list(ObjectKind kind, bool all, bool json) {
        _cleanup_inventory_ Inventory i = {};
        int r = inventory_fetch(&i);

        if (r < 0)
                return r;
        return json ? inventory_print_json(&i, kind, all, listings[kind].name) : print_table(&i, kind, all);
}

int verb_list(int argc, char **argv) {
        static const struct option options[] = {
                { "all", no_argument, NULL, 'a' },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        bool all = false, json = false;
        int c;

        while ((c = getopt_long(argc, argv, "ah", options, NULL)) >= 0) {
                if (c == 'a')
                        all = true;
                else if (c == 'j')
                        json = true;
                else
                        return c == 'h' ? say_help(help) : VERB_USAGE;
        }
        if (argc - optind > 1)
                return say_usage("list takes one of devices, groups and leases");
        if (optind == argc)
                return list(OBJECT_DEVICE, all, json);
        for (size_t k = 0; k < ARRAY_SIZE(listings); k++)
                if (streq(listings[k].name, argv[optind]))
                        return list((ObjectKind) k, all, json);
        return say_usage("list takes devices, groups or leases, not \"%s\"", argv[optind]);
}
