/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "broker/checkup.h"
#include "broker/inspect.h"
#include "broker/run.h"

/* What a lease needs over a restart, and systemd does not have. */
static void judge_kept(const LeaseRun *run, Findings *findings) {
        size_t n = run->iommufd >= 0 && !run->iommufd_stored;
        Finding *f;

        if (run->lease->state != LEASE_ACTIVE)
                return;
        for (size_t i = 0; i < run->lease->n_devices; i++)
                n += run->devices[i].fd >= 0 && !run->devices[i].stored;
        if (n == 0)
                return;
        f = findings_add(findings, FINDING_NOT_KEPT, SEVERITY_WARN, run->lease->id,
                         "systemd does not keep %zu descriptors of it: a restart of iommud would lose them", n);
        finding_set_remedy(f, "start iommud by systemd, with FileDescriptorStoreMax= large enough");
}

/* Of those that are locked, ours are no news. */
static void forgive_own_locks(const Broker *b, StateEntry *entries, size_t n) {
        for (size_t i = 0; i < n; i++) {
                Address set;

                if (entries[i].locked && address_parse(entries[i].name, &set) >= 0 && task_has_set(b->tasks, set))
                        entries[i].locked = false;
        }
}

int checkup_run(const Broker *b, Findings *ret) {
        _cleanup_free_ StateEntry *entries = NULL;
        HealthFacts facts = {
                .ledger = &b->ledger,
                .config = &b->config,
                /* What is wrong with it is not for everybody. */
                .complaint = b->is_behind ? "the configuration could not be read again; iommud --check says why" : NULL,
                .reloaded = true,
                .gate_why = b->gate_why,
                .owner = geteuid(),
                .polkit_actions = b->polkit_actions,
        };
        int r = inspect_state(b->store.root, &entries, &facts.n_entries);

        if (r < 0)
                return r;
        forgive_own_locks(b, entries, facts.n_entries);
        facts.entries = entries;
        health_judge_machine(&facts, ret);
        health_judge_state(&facts, ret);
        for (const LeaseRun *run = b->runs; run; run = run->next)
                judge_kept(run, ret);
        return ret->out_of_memory ? -ENOMEM : 0;
}
