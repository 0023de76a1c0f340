/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-event.h>

#include "event.h"
#include "grant.h"
#include "inventory.h"
#include "say.h"
#include "verb.h"

static const char help[] = "iommuctl acquire [OPTIONS] DEVICE...\n\n"
                           "Acquire devices, print the lease's id, and hold the lease until SIGINT or SIGTERM (exit "
                           "status 0), or until it is\n"
                           "ended by others (exit status 1).\n\n" REQUEST_HELP
                           "      --wait SECONDS         wait so long for devices that are leased or being released\n"
                           "      --json                 print JSON instead of the id\n"
                           "  -h, --help                 this text\n";

typedef struct Hold {
        sd_bus *bus;
        sd_event *event;
        Grant grant;
} Hold;

static void hold_done(Hold *h) {
        grant_done(&h->grant);
        sd_event_unref(h->event);
        sd_bus_flush_close_unref(h->bus);
}

static void end(Hold *h, const char *how, const char *reason) {
        say_error("lease %s %s%s%s", h->grant.id, how, isempty(reason) ? "" : ": ", reason);
        sd_event_exit(h->event, EXIT_FAILURE);
}

static void on_lease_signal(Hold *h, const Event *e) {
        uint64_t seconds = json_number(e->data, "deadline_usec") / 1000000;
        const char *reason = json_text(e->data, "reason");

        if (streq(e->name, "Ended"))
                end(h, "ended", reason);
        else if (streq(e->name, "RevokeRequested") && seconds > 0)
                say_error("lease %s is asked to end within %" PRIu64 " s: %s", h->grant.id, seconds, reason);
        else if (streq(e->name, "RevokeRequested"))
                say_error("lease %s is asked to end at once: %s", h->grant.id, reason);
}

/* A lease that is releasing waits for every descriptor to be closed: only then can it end. */
static void on_lease_changed(Hold *h, const Event *e) {
        const char *state = json_text(e->data, "State"), *reason = json_text(e->data, "StateReason");

        if (streq(state, "releasing") && h->grant.n_fds > 0) {
                say_error("lease %s is being released%s%s", h->grant.id, isempty(reason) ? "" : ": ", reason);
                grant_close(&h->grant);
        } else if (streq(state, "broken"))
                end(h, "is broken", reason);
}

/* What happened while iommud was away was not heard. */
static void on_daemon_back(Hold *h) {
        _cleanup_inventory_ Inventory i = {};

        if (inventory_load(h->bus, &i) >= 0 && !inventory_find(&i, h->grant.path))
                end(h, "ended", "iommud no longer knows it");
        else
                say_error("iommud is back");
}

static void on_event(const Event *e, void *userdata) {
        Hold *h = userdata;

        if (e->kind == EVENT_STARTED)
                on_daemon_back(h);
        else if (e->kind == EVENT_STOPPED)
                say_error("iommud stopped; lease %s goes on", h->grant.id);
        else if (e->kind == EVENT_LOST)
                say_error("lost the connection to the bus; lease %s goes on", h->grant.id);
        else if (!streq(e->path, h->grant.path))
                return;
        else if (e->kind == EVENT_SIGNAL)
                on_lease_signal(h, e);
        else if (e->kind == EVENT_CHANGED)
                on_lease_changed(h, e);
        else if (e->kind == EVENT_REMOVED)
                end(h, "ended", "");
}

/* Before anybody is told of the lease: whoever knows of it may end us, and that is a good end. */
static int prepare_to_end(Hold *h) {
        static const int signals[] = { SIGINT, SIGTERM };
        int r;

        r = sd_event_new(&h->event);
        for (size_t i = 0; r >= 0 && i < ARRAY_SIZE(signals); i++)
                r = sd_event_add_signal(h->event, NULL, signals[i] | SD_EVENT_SIGNAL_PROCMASK, NULL, NULL);
        return r < 0 ? bus_fail(r, "cannot wait for signals") : 0;
}

static int hold(Hold *h) {
        int r = sd_bus_attach_event(h->bus, h->event, SD_EVENT_PRIORITY_NORMAL);

        if (r >= 0)
                r = sd_event_loop(h->event);
        return r < 0 ? bus_fail(r, "cannot wait for the end of the lease") : r;
}

static int print_grant(const Grant *g, bool json) {
        _cleanup_json_ sd_json_variant *v = NULL;
        int r;

        if (!json) {
                say(stdout, "%s", g->id);
                fflush(stdout);
                return 0;
        }
        r = grant_to_json(g, &v);
        return r < 0 ? r : json_print(v);
}

static int acquire(const Request *q, bool json) {
        _cleanup_(hold_done) Hold h = {};
        EventWatch watch = { .handler = on_event, .userdata = &h };
        int r;

        r = bus_connect(&h.bus);
        if (r < 0)
                return r;
        /* Before the call, so that no signal can fall between the two. */
        r = event_watch(h.bus, &watch);
        if (r < 0)
                return r;
        r = grant_acquire(h.bus, q, &h.grant);
        if (r < 0)
                return r;
        r = prepare_to_end(&h);
        if (r < 0)
                return r;
        r = print_grant(&h.grant, json);
        return r < 0 ? r : hold(&h);
}

int verb_acquire(int argc, char **argv) {
        static const struct option options[] = {
                REQUEST_OPTIONS,
                { "wait", required_argument, NULL, REQUEST_WAIT },
                { "json", no_argument, NULL, 'j' },
                { "help", no_argument, NULL, 'h' },
                {},
        };

        return request_run(argc, argv, options, help, acquire);
}
