/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/leave.h"
#include "broker/keep.h"
#include "broker/reread.h"
#include "util/fd.h"

static void drop_device(LeaseRun *run, Address a) {
        LeaseDevice *d = lease_device(run->lease, a);
        size_t i = run_index(run, d);
        int group = d->group;

        watch_remove(run->broker->watch, d->watch);
        run->devices[i].fd = fd_close(run->devices[i].fd);
        (void) keep_update(run);
        /* As the ledger does it: the last one takes its place. */
        run->devices[i] = run->devices[run->lease->n_devices - 1];
        ledger_leave(&run->broker->ledger, run->lease, a);
        broker_note_forgotten(run->broker, a, group);
}

void leave_lease(LeaseRun *run, const AddressList *list) {
        for (size_t i = 0; i < list->n; i++)
                drop_device(run, list->items[i]);
        for (size_t i = 0; i < list->n; i++)
                reread_device(run->broker, list->items[i]);
}
