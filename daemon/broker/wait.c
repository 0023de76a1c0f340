/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/wait.h"
#include "util/text.h"

/* A worker that takes longer than this is worth a word. */
#define STUCK_USEC UINT64_C(3000000)

static Device *device_of(const LeaseRun *run, size_t i) {
        return inventory_device(&run->broker->ledger.inventory, run->lease->devices[i].address);
}

bool wait_may_be_open(const LeaseRun *run, const LeaseDevice *d) {
        /* A node is opened by others and as often as they like: /proc and the worker have to tell. */
        return d->opened && !d->closed && run->lease->hand_over != HAND_OVER_NODE;
}

bool wait_is_part_open(const LeaseRun *run, const LeasePart *part) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (run->devices[i].part == part && wait_may_be_open(run, &run->lease->devices[i]))
                        return true;
        return false;
}

static void describe_worker(const LeaseRun *run, size_t i, Device *d) {
        const Task *task = run->devices[i].part->task;
        const Job *job = task_progress(task);

        for (size_t j = 0; job && j < job->n_devices; j++)
                if (address_equal(job->devices[j].lease.address, run->lease->devices[i].address))
                        text_append(d->reason, sizeof(d->reason), "a worker has been trying to %s for %llu s",
                                    step_to_string(job->devices[j].step),
                                    (unsigned long long) (task_age(task) / 1000000));
}

static void describe(LeaseRun *run, size_t i) {
        const LeaseDevice *ld = &run->lease->devices[i];
        const RunDevice *rd = &run->devices[i];
        const Task *task = rd->part->task;
        Device *d = device_of(run, i);
        bool open = wait_may_be_open(run, ld) || (hand_over_is_legacy(run->lease->hand_over) && !task);

        if (!d || (d->state != DEVICE_RELEASING && d->state != DEVICE_BROKEN) || ld->released)
                return;
        /* A worker that has just begun will tell soon. */
        if (task && task_age(task) <= STUCK_USEC && rd->holders.n == 0 && !open)
                return;
        d->reason[0] = '\0';
        if (rd->holders.n > 0) {
                text_append(d->reason, sizeof(d->reason), "still open in");
                holders_describe(&rd->holders, d->reason, sizeof(d->reason));
        } else if (rd->refusal < 0 && !task)
                text_append(d->reason, sizeof(d->reason), "cannot %s: %s", step_to_string(rd->refused),
                            strerror(-rd->refusal));
        else if (open)
                text_append(d->reason, sizeof(d->reason), "%s%s", WAIT_OPEN,
                            rd->looked ? ", in no process that can be seen (on its way over a socket?)" : "");
        else if (task)
                describe_worker(run, i, d);
        else if (lease_is_ending(run->lease) && wait_is_part_open(run, rd->part))
                text_append(d->reason, sizeof(d->reason),
                            "it goes back together with another one, which is still open");
        if (d->state == DEVICE_BROKEN && isempty(d->reason)) /* or it waits for the others of its group */
                text_append(d->reason, sizeof(d->reason), "%s",
                            isempty(run->lease->reason) ? "it was taken away, and is not given back yet"
                                                        : run->lease->reason);
}

void wait_describe(LeaseRun *run) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                describe(run, i);
}

bool wait_note(LeaseRun *run, const LeasePart *part, const char *what) {
        bool changed = false;

        for (size_t i = 0; i < run->lease->n_devices; i++) {
                Device *d = device_of(run, i);

                if (run->devices[i].part != part || !d || d->state != DEVICE_RELEASING || !isempty(d->reason))
                        continue;
                text_append(d->reason, sizeof(d->reason), "%s", what);
                changed = true;
        }
        return changed;
}
