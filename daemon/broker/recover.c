/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/recover.h"
#include "broker/release.h"
#include "broker/run.h"
#include "system/journal.h"

static void on_lifeline_ended(void *userdata) {
        LeaseRun *run = userdata;

        release_begin(run->broker, run->lease, "its lifeline was closed");
}

/* What was joining was never handed out: it goes again. */
static void expel_joining(Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                if (!l->devices[i].joining)
                        continue;
                l->devices[i].joining = false;
                l->devices[i].role = ROLE_LEASED;
                l->devices[i].leaving = l->devices[i].closed = true;
        }
}

/* An active lease goes on if somebody holds its lifeline. */
static void resume(LeaseRun *run) {
        Broker *b = run->broker;
        int r = lifeline_reopen(&b->store, run->lease->id, &run->lifeline);

        if (r > 0)
                r = lifeline_watch(run->lifeline, b->event, on_lifeline_ended, run);
        else if (r == 0)
                r = -EPIPE;
        if (r < 0)
                release_begin(b, run->lease,
                              r == -EPIPE ? "its lifeline was closed while iommud was down" : "its lifeline is lost");
        else
                release_continue(run);
}

static void roll_back(LeaseRun *run) {
        /* It was never answered, so nothing of it can have been handed out. */
        for (size_t i = 0; i < run->lease->n_devices; i++)
                run->lease->devices[i].closed = true;
        run->lease->restore = true;
        release_begin(run->broker, run->lease, "iommud ended while it was being prepared");
}

static void on_found(Lease *lease, void *userdata) {
        _cleanup_(lease_freep) Lease *l = lease;
        Broker *b = userdata;
        LeaseRun *run;
        LeaseState was = l->state;
        int r;

        r = ledger_open(&b->ledger, l);
        if (r < 0) {
                journal_log(LOG_ERR, "Lease %s claims what another lease has; it is left alone: %s", l->id,
                            strerror(-r));
                return;
        }
        r = run_new(b, l, &run);
        if (r < 0) {
                journal_log(LOG_ERR, "Cannot take up lease %s: %s", l->id, strerror(-r));
                ledger_close(&b->ledger, TAKE_PTR(l));
                return;
        }
        TAKE_PTR(l);
        expel_joining(run->lease);
        ledger_update(&b->ledger, run->lease);
        journal_log(LOG_INFO, "Lease %s: taken up again as %s", run->lease->id, lease_state_to_string(was));
        if (b->listener)
                b->listener->lease_added(run->lease, b->listener_userdata);
        switch (was) {
        case LEASE_PREPARING:
                roll_back(run);
                break;
        case LEASE_ACTIVE:
                resume(run);
                break;
        default:
                release_continue(run);
        }
}

int recover_leases(Broker *b) {
        int r = store_load_leases(&b->store, on_found, b);

        if (r >= 0 && b->watch_is_new && b->runs)
                release_note_closed(b, -1);
        return r;
}
