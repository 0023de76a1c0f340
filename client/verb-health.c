/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>

#include "bus.h"
#include "finding.h"
#include "say.h"
#include "verb.h"

static const char help[] =
        "iommuctl health [--json]\n\n"
        "Say what is off with the kernel, the configuration and the leases, as the daemon sees them. As root,\n"
        "iommud --check looks from outside, too.\n"
        "Exit status: 0 all is well, 1 something is off or an error, 2 wrong usage.\n\n"
        "      --json  print JSON\n"
        "  -h, --help  this text\n";

static bool is_well(sd_json_variant *findings) {
        for (size_t i = 0; i < sd_json_variant_elements(findings); i++)
                if (!streq(json_text(sd_json_variant_by_index(findings, i), "severity"), "info"))
                        return false;
        return true;
}

static int load(sd_json_variant **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_json_ sd_json_variant *findings = NULL;
        int r;

        r = bus_connect(&bus);
        if (r >= 0)
                r = bus_new_call(bus, BUS_ROOT, "org.freedesktop.DBus.Properties", "Get", &call);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "ss", BUS_MANAGER, "Health");
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        r = bus_call(bus, call, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_enter_container(reply, 'v', "a(ssssa{sv})");
        if (r >= 0)
                r = json_read(reply, "findings", &findings);
        if (r >= 0)
                r = finding_sort(findings, ret);
        return r < 0 ? bus_fail(r, "cannot read the findings") : 0;
}

static int show(bool json) {
        _cleanup_json_ sd_json_variant *findings = NULL, *document = NULL;
        int r = load(&findings);

        if (r < 0)
                return r;
        if (json) {
                r = sd_json_variant_set_field(&document, "health", findings);
                r = r < 0 ? bus_fail(r, "cannot make JSON") : json_print(document);
                return r < 0 ? r : !is_well(findings);
        }
        finding_print_all(findings);
        if (is_well(findings))
                say(stdout, "all well");
        return !is_well(findings);
}

int verb_health(int argc, char **argv) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        bool json = false;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'j')
                        return c == 'h' ? say_help(help) : VERB_USAGE;
                json = true;
        }
        return optind < argc ? say_usage("health takes no arguments") : show(json);
}
