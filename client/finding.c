/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "finding.h"
#include "say.h"

static const char *const severities[] = { "block", "ask", "warn", "info" };

/* A severity that we do not know comes last, but it comes. */
static size_t rank(sd_json_variant *finding) {
        size_t i = 0;

        while (i < ARRAY_SIZE(severities) && !streq(severities[i], json_text(finding, "severity")))
                i++;
        return i;
}

int finding_sort(sd_json_variant *findings, sd_json_variant **ret) {
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

void finding_print_all(sd_json_variant *findings) {
        for (size_t i = 0; i < sd_json_variant_elements(findings); i++)
                print_finding(sd_json_variant_by_index(findings, i));
}
