/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "ending.h"
#include "event.h"
#include "inventory.h"
#include "names.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

#define REASON_MAX   121     /* the daemon takes 120 characters */
#define DEADLINE_MAX 2592000 /* 30 days, as the daemon has it */

typedef struct Wait {
        sd_bus *bus;
        const char *path, *id;
        bool done, broken;
} Wait;

static void say_holders(sd_json_variant *holders) {
        for (size_t i = 0; i < sd_json_variant_elements(holders); i++) {
                sd_json_variant *h = sd_json_variant_by_index(holders, i);
                char user[NAMES_USER_MAX];

                names_user(json_number(h, "uid"), user, sizeof(user));
                say_error("waiting for %s (pid %" PRIu64 " of %s), which holds %s", json_text(h, "name"),
                          json_number(h, "pid"), user, json_text(h, "address"));
        }
}

static void on_properties(Wait *w, sd_json_variant *properties) {
        if (streq(json_text(properties, "State"), "broken")) {
                say_error("lease %s is broken: %s", w->id, json_text(properties, "StateReason"));
                w->done = w->broken = true;
                return;
        }
        say_holders(sd_json_variant_by_key(properties, "Holders"));
}

/* What happened while iommud was away was not heard. */
static void on_daemon_back(Wait *w) {
        _cleanup_inventory_ Inventory i = {};
        const Object *lease;

        if (inventory_load(w->bus, &i) < 0)
                return;
        lease = inventory_find(&i, w->path);
        if (lease)
                on_properties(w, lease->properties);
        else
                w->done = true;
}

static void on_event(const Event *e, void *userdata) {
        Wait *w = userdata;

        if (e->kind == EVENT_STOPPED)
                say_error("iommud stopped; waiting for it to come back");
        else if (e->kind == EVENT_STARTED)
                on_daemon_back(w);
        else if (!e->path || !streq(e->path, w->path))
                return;
        else if (e->kind == EVENT_CHANGED)
                on_properties(w, e->data);
        else if (e->kind == EVENT_REMOVED || (e->kind == EVENT_SIGNAL && streq(e->name, "Ended")))
                w->done = true;
}

static int call_revoke(sd_bus *bus, const char *path, const char *reason, uint64_t deadline_usec) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = bus_new_call(bus, path, BUS_LEASE, "Revoke", &call);
        if (r < 0)
                return r;
        r = sd_bus_message_append(call, "sta{sv}", reason, deadline_usec, 0);
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        return bus_call(bus, call, NULL);
}

static int find(const Inventory *i, const char *name, const Object **ret) {
        int r;

        r = inventory_find_lease(i, name, ret);
        if (r == -ENOTUNIQ)
                say_error("\"%s\" is the beginning of several leases; nothing was done", name);
        else if (r < 0)
                say_error("no lease \"%s\"; see: iommuctl list leases", name);
        return r;
}

/* Returns when the lease has ended, if it is to wait: 0; 1 if it is broken. Says who holds it up. */
static int end_lease(const char *name, const char *reason, uint64_t deadline_usec, bool wait) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_inventory_ Inventory i = {};
        Wait w = {};
        EventWatch watch = { .handler = on_event, .userdata = &w };
        const Object *lease;
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = inventory_load(bus, &i);
        if (r < 0)
                return r;
        r = find(&i, name, &lease);
        if (r < 0)
                return r;
        w = (Wait) { .bus = bus, .path = lease->path, .id = json_text(lease->properties, "Id") };
        if (wait) {
                /* Before the call, so that the end cannot be missed. */
                r = event_watch(bus, &watch);
                if (r < 0)
                        return r;
        }
        r = call_revoke(bus, lease->path, reason, deadline_usec);
        if (r >= 0 && wait)
                r = event_wait(bus, &watch, &w.done);
        return r < 0 ? r : w.broken;
}

/* "released by alice with iommuctl": of both verbs. */
static void default_reason(const char *verb, char buf[static REASON_MAX]) {
        char user[NAMES_USER_MAX];

        names_user(getuid(), user, sizeof(user));
        buf[0] = '\0';
        text_append(buf, REASON_MAX, "%sd by %s with iommuctl", verb, user);
}

int ending_run(int argc, char **argv, const struct option *options, const char *help, const char *verb,
               uint64_t seconds) {
        char reason[REASON_MAX];
        bool wait = true;
        int c;

        default_reason(verb, reason);
        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case ENDING_DEADLINE:
                        if (text_to_u64(optarg, DEADLINE_MAX, &seconds) < 0)
                                return say_usage("--deadline wants a number of seconds, not \"%s\"", optarg);
                        break;
                case ENDING_REASON:
                        if (!text_is_printable(optarg) || !text_copy(reason, sizeof(reason), optarg))
                                return say_usage("--reason wants printable ASCII, at most %d characters",
                                                 REASON_MAX - 1);
                        break;
                case ENDING_NO_WAIT:
                        wait = false;
                        break;
                case 'h':
                        return say_help(help);
                default:
                        return VERB_USAGE;
                }
        }
        if (argc - optind != 1 || isempty(argv[optind]))
                return say_usage("%s wants one lease", verb);
        return end_lease(argv[optind], reason, seconds * 1000000, wait);
}
