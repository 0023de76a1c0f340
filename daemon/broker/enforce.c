/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/enforce.h"
#include "broker/reread.h"
#include "system/journal.h"

const char *enforce_why_not(int r) {
        switch (r) {
        case -EPERM:
        case -EACCES:
                return "the kernel is locked down, or lets this process load no BPF programs";
        case -ENOSYS:
                return "\"bpf\" is not among its security modules (lsm= on its command line)";
        case -ENOENT:
        case -ESRCH:
        case -EOPNOTSUPP:
        case -EINVAL:
                return "it lacks BPF with type information, or functions that the gate hooks into (Linux 6.15 has all of them)";
        case -ENODEV:
                return "there is no IOMMU";
        default:
                return "the journal of its start says why";
        }
}

void enforce_begin(Broker *b, int loaded) {
        int r = loaded < 0 ? loaded : b->kernel->ops->gate_open(b->kernel);

        b->gate_why = r < 0 ? enforce_why_not(r) : NULL;
        b->enforcement = r < 0 ? ENFORCEMENT_NONE : ENFORCEMENT_KERNEL;
        if (r < 0 && r != -ENODEV)
                journal_log(LOG_WARNING, "Nothing in this kernel holds leases to their PASIDs: %s (%s)", b->gate_why,
                            strerror(-r));
}

/* Somebody has its node open, or will have. */
static bool is_out(const Lease *l, const LeaseDevice *d) {
        return l->state == LEASE_ACTIVE && hand_over_has_iommufd(l->hand_over) && d->opened && !d->leaving &&
               !d->released;
}

/* All devices that can be opened: parked ones, too. */
static int list_devices(const LeaseRun *run, GateLease *ret) {
        for (size_t i = 0; i < run->lease->n_devices && ret->n_devices < GATE_DEVICES_MAX; i++) {
                const LeaseDevice *ld = &run->lease->devices[i];
                const Device *d = inventory_device(&run->broker->ledger.inventory, ld->address);

                if (!d || d->gone || ld->released)
                        continue;
                if (!isempty(d->facts.cdev))
                        ret->devices[ret->n_devices++] =
                                (GateDevice) { .cdev = d->facts.cdev_number, .group = ld->group };
                else if (is_out(run->lease, ld))
                        return -ENODEV;
        }
        return 0;
}

static int tell(LeaseRun *run) {
        _cleanup_free_ GateLease *gate = calloc(1, sizeof(*gate));
        const Lease *l = run->lease;
        int r;

        if (!gate)
                return -ENOMEM;
        (void) memcpy(gate->id, l->id, sizeof(gate->id));
        gate->chain = l->chain;
        /* What is on its way out gets no new ones. */
        gate->limit = l->state == LEASE_ACTIVE ? l->pasids : 0;
        r = list_devices(run, gate);
        return r < 0 ? r : run->broker->kernel->ops->gate_set_lease(run->broker->kernel, gate);
}

int enforce_update(LeaseRun *run) {
        int r = run->enforced ? tell(run) : 0;

        if (r < 0)
                journal_log(LOG_ERR, "Lease %s: cannot tell the gate of its devices and limit: %s", run->lease->id,
                            strerror(-r));
        return r;
}

int enforce_lease(LeaseRun *run, bool is_new) {
        for (size_t i = 0; i < run->lease->n_devices; i++)
                reread_device(run->broker, run->lease->devices[i].address);
        if (is_new)
                run->enforced = run->broker->enforcement == ENFORCEMENT_KERNEL;
        return enforce_update(run);
}

void enforce_end(LeaseRun *run) {
        const Broker *b = run->broker;
        int r = 0;

        /* A lease that is older than this gate may be known to an earlier one. */
        if (b->enforcement == ENFORCEMENT_KERNEL)
                r = b->kernel->ops->gate_drop_lease(b->kernel, run->lease->id);
        if (TAKE(run->enforced, false) && r < 0)
                journal_log(LOG_ERR, "Lease %s: the gate does not forget it: %s", run->lease->id, strerror(-r));
}

static LeaseRun *run_of_id(const Broker *b, const char *id) {
        LeaseRun *run = b->runs;

        while (run && !streq(run->lease->id, id))
                run = run->next;
        return run;
}

/* Its file was lost. Who has PASIDs attached by it would have as many as he likes without the gate's rule. */
static void drop_unknown(const Broker *b, const char *id) {
        const KernelOps *ops = b->kernel->ops;
        PasidCounts counts;

        if (ops->gate_read_lease(b->kernel, id, &counts) >= 0 && counts.in_use > 0)
                journal_log(
                        LOG_WARNING,
                        "Lease %s: only the gate knows of it, and it has %llu PASIDs attached; the gate holds it to "
                        "its limit until iommud starts without them",
                        id, (unsigned long long) counts.in_use);
        else
                (void) ops->gate_drop_lease(b->kernel, id);
}

/* A lease that the gate does not know was made without it: what it has attached nobody counted, so it is not claimed to be held. */
void enforce_settle(Broker *b) {
        _cleanup_free_ char(*ids)[LEASE_ID_LEN + 1] = NULL;
        size_t n = 0;
        int r = 0;

        if (b->enforcement == ENFORCEMENT_KERNEL)
                r = b->kernel->ops->gate_list_leases(b->kernel, &ids, &n);
        if (r < 0)
                journal_log(LOG_ERR, "Cannot read which leases the gate knows: %s", strerror(-r));
        for (size_t i = 0; i < n; i++) {
                LeaseRun *run = run_of_id(b, ids[i]);

                if (!run) {
                        drop_unknown(b, ids[i]);
                        continue;
                }
                run->enforced = true;
                (void) enforce_update(run);
        }
        for (const LeaseRun *run = b->runs; run; run = run->next)
                if (!run->enforced && run->lease->pasids > 0)
                        journal_log(LOG_WARNING,
                                    "Lease %s: nothing holds it to its %u PASIDs, since it is older than the gate",
                                    run->lease->id, run->lease->pasids);
}

Enforcement enforce_of(const Broker *b, const Lease *l) {
        const LeaseRun *run = l ? run_find(b, l) : NULL;

        if (l ? hand_over_is_legacy(l->hand_over)
              : b->enforcement == ENFORCEMENT_NONE && b->ledger.inventory.platform.container)
                return ENFORCEMENT_GROUP;
        return !l || (run && run->enforced) ? b->enforcement : ENFORCEMENT_NONE;
}
