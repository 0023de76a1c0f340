/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/enforce.h"
#include "broker/keep.h"
#include "broker/limit.h"
#include "broker/newcomer.h"
#include "broker/node.h"
#include "broker/quota.h"
#include "broker/recover.h"
#include "broker/release.h"
#include "broker/revoke.h"
#include "broker/run.h"
#include "broker/taken.h"
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
        else {
                revoke_resume(run);
                release_continue(run);
        }
}

static void roll_back(LeaseRun *run) {
        /* It was never answered, so nothing of it can have been handed out. */
        for (size_t i = 0; i < run->lease->n_devices; i++)
                run->lease->devices[i].closed = true;
        run->lease->restore = true;
        release_begin(run->broker, run->lease, "iommud ended while it was being prepared");
}

/* The inotify descriptor of the earlier daemon is lost, and its numbers mean nothing to the new one. */
static void watch_anew(Broker *b, Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                LeaseDevice *d = &l->devices[i];
                int r = -ENOENT;

                if (d->opened && !d->released)
                        r = b->kernel->ops->watch_cdev(b->kernel, d->address, watch_fd(b->watch));
                d->watch = r < 0 ? -1 : r;
        }
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
        if (b->watch_is_new)
                watch_anew(b, run->lease);
        expel_joining(run->lease);
        keep_take_back(run);
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
                revoke_resume(run);
                release_continue(run);
        }
}

/* What came into the groups of leases while no iommud was there. Whether a driver that it has was bound on purpose is not known, so that
 * is only told. */
static void judge_members(Broker *b) {
        Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d)
                newcomer_judge(b, d, false);
}

int recover_leases(Broker *b) {
        int r = store_load_marks(&b->store, &b->ledger.inventory);

        if (r >= 0)
                r = store_load_leases(&b->store, on_found, b);
        if (r >= 0)
                r = store_remove_orphans(&b->store);
        node_settle(b);
        quota_start(b);
        enforce_settle(b);
        limit_start(b);
        if (r >= 0)
                keep_close_rest(b);
        if (r >= 0 && b->watch_is_new && b->runs)
                release_note_closed(b, -1);
        if (r >= 0)
                r = watch_begin(b->watch);
        if (r >= 0)
                judge_members(b);
        if (r >= 0)
                taken_settle_all(b);
        return r;
}
