/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "event.h"
#include "inventory.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl monitor [OPTIONS]\n\n"
        "Print what happens to devices, groups and leases, and when iommud starts and stops, until interrupted.\n\n"
        "      --json  print one JSON object a line\n"
        "  -h, --help  this text\n";

static const char *const names[] = {
        [EVENT_ADDED] = "added",   [EVENT_REMOVED] = "removed", [EVENT_CHANGED] = "changed",
        [EVENT_SIGNAL] = "signal", [EVENT_STARTED] = "started", [EVENT_STOPPED] = "stopped",
        [EVENT_LOST] = "lost",
};

static void append_value(char *line, size_t size, const char *key, sd_json_variant *v) {
        _cleanup_free_ char *text = NULL;

        if (sd_json_variant_is_string(v) && !isempty(sd_json_variant_string(v)) &&
            !strchr(sd_json_variant_string(v), ' '))
                text_append(line, size, " %s=%s", key, sd_json_variant_string(v));
        else if (sd_json_variant_format(v, 0, &text) >= 0)
                text_append(line, size, " %s=%s", key, text);
}

static void print_line(const Event *e) {
        char line[4096] = "", stamp[32] = "", label[OBJECT_LABEL_MAX];
        time_t now = time(NULL);
        sd_json_variant *v;
        struct tm tm;

        if (localtime_r(&now, &tm))
                strftime(stamp, sizeof(stamp), "%H:%M:%S", &tm);
        if (!e->path) {
                say(stdout, "%s iommud %s", stamp, names[e->kind]);
                return;
        }
        object_label(e->path, label, sizeof(label));
        text_append(line, sizeof(line), "%s %s %s %s", stamp,
                    object_kind_to_string(object_kind_from_interface(e->interface)), label,
                    e->kind == EVENT_SIGNAL ? e->name : names[e->kind]);
        for (size_t i = 0; i < json_members(e->data); i++) {
                const char *key = json_member(e->data, i, &v);

                append_value(line, sizeof(line), key, v);
        }
        say(stdout, "%s", line);
}

static int make_json(const Event *e, sd_json_variant **ret) {
        struct timespec now;
        int r;

        clock_gettime(CLOCK_REALTIME, &now);
        r = sd_json_variant_set_field_unsigned(ret, "time",
                                               (uint64_t) now.tv_sec * 1000000 + (uint64_t) now.tv_nsec / 1000);
        if (r >= 0)
                r = sd_json_variant_set_field_string(ret, "event", names[e->kind]);
        if (r >= 0 && e->path)
                r = sd_json_variant_set_field_string(ret, "path", e->path);
        if (r >= 0 && e->interface)
                r = sd_json_variant_set_field_string(ret, "interface", e->interface);
        if (r >= 0 && e->name)
                r = sd_json_variant_set_field_string(ret, "signal", e->name);
        if (r >= 0 && e->data)
                r = sd_json_variant_set_field(ret, e->kind == EVENT_SIGNAL ? "arguments" : "properties", e->data);
        return r;
}

static void on_event(const Event *e, void *userdata) {
        _cleanup_json_ sd_json_variant *v = NULL;
        const bool *json = userdata;
        int r;

        if (*json) {
                r = make_json(e, &v);
                if (r >= 0)
                        r = sd_json_variant_dump(v, SD_JSON_FORMAT_NEWLINE, stdout, NULL);
                if (r < 0)
                        bus_fail(r, "cannot make JSON");
        } else
                print_line(e);
        /* A reader at the other end of a pipe wants each line when it happens. */
        fflush(stdout);
}

/* Says how things stand at the start. Looking must not start the daemon. */
static int print_start(sd_bus *bus, bool json) {
        _cleanup_(sd_bus_creds_unrefp) sd_bus_creds *creds = NULL;
        int r;

        r = sd_bus_get_name_creds(bus, BUS_NAME, 0, &creds);
        if (r < 0 && r != -ENXIO)
                return bus_fail(r, "cannot ask the bus for iommud");
        on_event(&(Event) { .kind = r < 0 ? EVENT_STOPPED : EVENT_STARTED }, &json);
        return 0;
}

int verb_monitor(int argc, char **argv) {
        static const struct option options[] = {
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        _cleanup_bus_ sd_bus *bus = NULL;
        bool json = false, never = false;
        EventWatch watch = { .handler = on_event, .userdata = &json };
        int c, r;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'j')
                        return c == 'h' ? say_help(help) : VERB_USAGE;
                json = true;
        }
        if (optind < argc)
                return say_usage("monitor takes no arguments");
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = event_watch(bus, &watch);
        if (r < 0)
                return r;
        r = print_start(bus, json);
        return r < 0 ? r : event_wait(bus, &watch, &never);
}
