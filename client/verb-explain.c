/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "finding.h"
#include "request.h"
#include "say.h"
#include "verb.h"

static const char help[] = "iommuctl explain [OPTIONS] DEVICE...\n\n"
                           "Say whether the devices can be acquired, and if not, why and what to do. Changes nothing.\n"
                           "Exit status: 0 possible, 1 not possible or an error, 2 wrong usage.\n\n" REQUEST_HELP
                           "      --as USER              judge for this user (name or uid; root only)\n"
                           "      --json                 print JSON\n"
                           "  -h, --help                 this text\n";

static int print_answer(bool possible, sd_json_variant *findings, bool json) {
        _cleanup_json_ sd_json_variant *document = NULL;
        int r;

        if (!json) {
                finding_print_all(findings);
                say(stdout, "possible: %s", possible ? "yes" : "no");
                return 0;
        }
        r = sd_json_variant_set_field_boolean(&document, "possible", possible);
        if (r >= 0)
                r = sd_json_variant_set_field(&document, "findings", findings);
        return r < 0 ? bus_fail(r, "cannot make JSON") : json_print(document);
}

static int explain(const Request *q, bool json) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_message_ sd_bus_message *call = NULL, *reply = NULL;
        _cleanup_json_ sd_json_variant *findings = NULL, *sorted = NULL;
        int possible, r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = bus_new_call(bus, BUS_ROOT, BUS_MANAGER, "Explain", &call);
        if (r < 0)
                return r;
        r = request_append(q, call);
        if (r < 0)
                return r;
        r = bus_call(bus, call, &reply);
        if (r < 0)
                return r;
        r = sd_bus_message_read(reply, "b", &possible);
        if (r >= 0)
                r = json_read(reply, "findings", &findings);
        if (r >= 0)
                r = finding_sort(findings, &sorted);
        if (r < 0)
                return bus_fail(r, "cannot read the findings");
        r = print_answer(possible, sorted, json);
        return r < 0 ? r : !possible;
}

int verb_explain(int argc, char **argv) {
        static const struct option options[] = {
                REQUEST_OPTIONS,
                { "as", required_argument, NULL, REQUEST_AS },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };

        return request_run(argc, argv, options, help, explain);
}
