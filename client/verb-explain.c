/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json.h"
#include "request.h"
#include "say.h"
#include "verb.h"

static const char help[] = "iommuctl explain [OPTIONS] DEVICE...\n\n"
                           "Say whether the devices can be acquired, and if not, why and what to do. Changes nothing.\n"
                           "Exit status: 0 possible, 1 not possible or an error, 2 wrong usage.\n\n" REQUEST_HELP
                           "      --as USER              judge for this user (name or uid; root only)\n"
                           "      --json                 print JSON\n"
                           "  -h, --help                 this text\n";

static const char *const severities[] = { "block", "ask", "warn", "info" };

/* A severity that we do not know comes last, but it comes. */
static size_t rank(sd_json_variant *finding) {
        size_t i = 0;

        while (i < ARRAY_SIZE(severities) && !streq(severities[i], json_text(finding, "severity")))
                i++;
        return i;
}

/* The worst first; those of one severity stay in the daemon's order. */
static int sort_findings(sd_json_variant *findings, sd_json_variant **ret) {
        _cleanup_json_ sd_json_variant *sorted = NULL;
        int r;

        r = sd_json_variant_new_array(&sorted, NULL, 0);
        for (size_t severity = 0; severity <= ARRAY_SIZE(severities); severity++) {
                for (size_t i = 0; r >= 0 && i < sd_json_variant_elements(findings); i++) {
                        sd_json_variant *f = sd_json_variant_by_index(findings, i);

                        if (rank(f) == severity)
                                r = sd_json_variant_append_array(&sorted, f);
                }
        }
        if (r < 0)
                return r;
        *ret = TAKE_PTR(sorted);
        return 0;
}

static void print_finding(sd_json_variant *f) {
        sd_json_variant *details = sd_json_variant_by_key(f, "details");
        const char *subject = json_text(f, "subject"), *remedy = json_text(details, "remedy"),
                   *action = json_text(details, "action");

        say(stdout, "%-5s  %s%s%s [%s]", json_text(f, "severity"), subject, isempty(subject) ? "" : ": ",
            json_text(f, "text"), json_text(f, "code"));
        if (!isempty(action))
                say(stdout, "       action: %s", action);
        if (!isempty(remedy))
                say(stdout, "       remedy: %s", remedy);
}

static int print_answer(bool possible, sd_json_variant *findings, bool json) {
        _cleanup_json_ sd_json_variant *document = NULL;
        int r;

        if (!json) {
                for (size_t i = 0; i < sd_json_variant_elements(findings); i++)
                        print_finding(sd_json_variant_by_index(findings, i));
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
                r = sort_findings(findings, &sorted);
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
        Request q = {};
        bool json = false;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c == 'h')
                        return say_help(help);
                if (c == '?')
                        return VERB_USAGE;
                if (c == 'j') {
                        json = true;
                        continue;
                }
                r = request_option(&q, c, optarg);
                if (r != 0)
                        return r;
        }
        if (optind == argc)
                return say_usage("explain wants at least one device");
        for (; optind < argc; optind++) {
                r = request_add_device(&q, argv[optind]);
                if (r != 0)
                        return r;
        }
        return explain(&q, json);
}
