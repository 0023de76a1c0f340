/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>

#include "inventory.h"
#include "say.h"
#include "table.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl quota [--json]\n"
        "iommuctl quota [--runtime] set CGROUP NUMBER\n"
        "iommuctl quota [--runtime] unset CGROUP\n\n"
        "Show how many PASIDs each cgroup has booked and in use, and how many it and all below it may have; set such a\n"
        "limit, or take back what was set. CGROUP is a path as in /proc/PID/cgroup, like /machine.slice.\n\n"
        "      --runtime  until reboot only; counts before what is set for good\n"
        "      --json     print JSON\n"
        "  -h, --help     this text\n";

#define UNLIMITED UINT64_MAX

static const Column columns[] = {
        { "CGROUP", SCOLS_FL_TREE },   { "LIMIT", SCOLS_FL_RIGHT },  { "BOOKED", SCOLS_FL_RIGHT },
        { "SVA", SCOLS_FL_RIGHT },     { "IN USE", SCOLS_FL_RIGHT }, { "PEAK", SCOLS_FL_RIGHT },
        { "REFUSED", SCOLS_FL_RIGHT }, { "KILLED", SCOLS_FL_RIGHT }, { "LIMIT BY", SCOLS_FL_TRUNC },
};

typedef struct Row {
        const char *cgroup;
        struct libscols_line *line;
} Row;

/* The nearest row above. They come in the order of their paths, so it is there already. */
static const Row *find_parent(const Row *rows, size_t n, const char *cgroup) {
        const Row *best = NULL;

        for (size_t i = 0; i < n; i++) {
                size_t length = streq(rows[i].cgroup, "/") ? 0 : strlen(rows[i].cgroup);

                if (strncmp(rows[i].cgroup, cgroup, length) != 0 || cgroup[length] != '/')
                        continue;
                if (!best || strlen(best->cgroup) < strlen(rows[i].cgroup))
                        best = &rows[i];
        }
        return best;
}

static void print_count(const Object *o, const char *key, char cell[static 24]) {
        snprintf(cell, 24, "%" PRIu64, json_number(o->properties, key));
}

static int add_row(struct libscols_table *t, Row *rows, size_t n, const Object *o) {
        const char *cgroup = json_text(o->properties, "CGroup"), *label = cgroup;
        const Row *parent = find_parent(rows, n, cgroup);
        char limit[24] = "-", booked[24], shared[24], in_use[24], peak[24], refused[24], killed[24];
        const char *row[] = { cgroup,  limit,  booked,
                              shared,  in_use, peak,
                              refused, killed, json_text(o->properties, "Source") };

        if (parent)
                label = cgroup + (streq(parent->cgroup, "/") ? 1 : strlen(parent->cgroup) + 1);
        row[0] = label;
        if (json_number(o->properties, "Limit") != UNLIMITED)
                print_count(o, "Limit", limit);
        print_count(o, "Booked", booked);
        print_count(o, "Shared", shared);
        print_count(o, "InUse", in_use);
        print_count(o, "Peak", peak);
        print_count(o, "Refused", refused);
        print_count(o, "Killed", killed);
        rows[n].cgroup = cgroup;
        return table_add(t, parent ? parent->line : NULL, row, &rows[n].line);
}

static int print_tree(const Inventory *i) {
        _cleanup_table_ struct libscols_table *t = NULL;
        _cleanup_free_ Row *rows = calloc(i->n + 1, sizeof(*rows));
        size_t n = 0;
        int r;

        if (!rows)
                return say_oom();
        r = table_new(columns, ARRAY_SIZE(columns), &t);
        /* Names of units have them. */
        if (r >= 0)
                scols_column_set_safechars(scols_table_get_column(t, 0), "\\");
        for (size_t k = 0; r >= 0 && k < i->n; k++)
                if (i->objects[k].kind == OBJECT_QUOTA)
                        r = add_row(t, rows, n++, &i->objects[k]);
        return r < 0 ? r : table_print(t);
}

static int show(bool json) {
        _cleanup_inventory_ Inventory i = {};
        int r = inventory_fetch(&i);

        if (r < 0)
                return r;
        return json ? inventory_print_json(&i, OBJECT_QUOTA, true, "quotas") : print_tree(&i);
}

static int set(const char *cgroup, uint64_t limit, bool runtime) {
        _cleanup_message_ sd_bus_message *call = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = bus_connect(&bus);
        if (r >= 0)
                r = bus_new_call(bus, BUS_ROOT, BUS_MANAGER, "SetPasidLimit", &call);
        if (r < 0)
                return r;
        if (runtime)
                r = sd_bus_message_append(call, "sta{sv}", cgroup, limit, 1, "runtime", "b", true);
        else
                r = sd_bus_message_append(call, "sta{sv}", cgroup, limit, 0);
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        r = bus_call(bus, call, NULL);
        return r < 0 ? r : 0;
}

static int parse_set(int argc, char **argv, bool runtime) {
        uint64_t limit = UNLIMITED;

        if (streq(argv[0], "unset")) {
                if (argc != 2)
                        return say_usage("unset wants one cgroup");
        } else if (!streq(argv[0], "set"))
                return say_usage("quota takes set or unset, not \"%s\"", argv[0]);
        else if (argc != 3)
                return say_usage("set wants a cgroup and a number of PASIDs");
        else if (text_to_u64(argv[2], UINT32_MAX, &limit) < 0)
                return say_usage("\"%s\" is no number of PASIDs", argv[2]);
        if (argv[1][0] != '/')
                return say_usage("\"%s\" is no path of a cgroup: that is like /machine.slice", argv[1]);
        return set(argv[1], limit, runtime);
}

int verb_quota(int argc, char **argv) {
        static const struct option options[] = {
                { "runtime", no_argument, NULL, 'r' },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        bool runtime = false, json = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'r')
                        runtime = true;
                else if (c == 'j')
                        json = true;
                else
                        return c == 'h' ? say_help(help) : VERB_USAGE;
        }
        if (optind == argc)
                return runtime ? say_usage("--runtime is for set and unset") : show(json);
        if (json)
                return say_usage("--json is for looking");
        return parse_set(argc - optind, argv + optind, runtime);
}
