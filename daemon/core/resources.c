/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "resources.h"

static void limit_reached(const Caller *caller, const char *what, uint32_t limit, const char *key, Findings *findings) {
        Finding *f = findings_add(findings, FINDING_LIMIT, SEVERITY_BLOCK, "",
                                  "uid %u would have more than %u %s; those being released count until they are free",
                                  caller->uid, limit, what);

        finding_set_remedy(f, "end other leases, or raise %s in iommud.conf", key);
}

static void judge_limits(const Limits *limits, const Caller *caller, const Usage *usage, uint32_t more_leases,
                         size_t more_devices, Findings *findings) {
        if (usage->leases + more_leases > limits->leases_per_user)
                limit_reached(caller, "leases", limits->leases_per_user, "LeasesPerUser", findings);
        if (usage->devices + more_devices > limits->devices_per_user)
                limit_reached(caller, "devices", limits->devices_per_user, "DevicesPerUser", findings);
        if (usage->all_leases + more_leases > limits->leases) {
                Finding *f = findings_add(findings, FINDING_LIMIT, SEVERITY_BLOCK, "",
                                          "the machine has %u leases, and no more are allowed", usage->all_leases);

                finding_set_remedy(f, "end other leases, or raise Leases in iommud.conf");
        }
}

/* The smallest guest that makes sense; the kernel's default limit of 8 MiB cannot even map that. */
#define MEMLOCK_USEFUL (UINT64_C(64) << 20)

static void judge_memory(const Caller *caller, const Reservation *res, Findings *findings) {
        uint64_t memlock = res && res->memlock > caller->memlock ? res->memlock : caller->memlock;
        Finding *f;

        if (memlock >= MEMLOCK_USEFUL)
                return;
        f = findings_add(
                findings, FINDING_MEMLOCK, SEVERITY_WARN, "",
                "the caller may lock %llu KiB of memory; mapping a guest's memory for DMA needs all of it locked",
                (unsigned long long) memlock >> 10);
        finding_set_remedy(f, "raise its RLIMIT_MEMLOCK, or set MemoryLock= in the reservation");
}

/* A reservation caps each lease. Where it says nothing, a limit on one of the levels is a grant too; without any there are none. */
static void judge_pasids(const World *w, const Caller *caller, const Reservation *res, uint32_t wanted,
                         Findings *findings) {
        Finding *f;
        bool limited;

        if (!caller->charged) {
                f = findings_add(
                        findings, FINDING_QUOTA, SEVERITY_BLOCK, "",
                        "%u PASIDs were asked for, and they cannot be booked: the caller's cgroup is not known",
                        wanted);
                finding_set_remedy(f, "ask for none, or mount cgroup v2 on /sys/fs/cgroup");
                return;
        }
        limited = quota_judge(w->quota, &w->config->quotas, caller->charged, caller->shared, wanted, findings);
        if (!policy_is_root(caller) && (res && res->has_pasids ? wanted > res->pasids : !limited)) {
                f = findings_add(findings, FINDING_QUOTA, SEVERITY_BLOCK, caller->charged,
                                 "%u PASIDs were asked for and the reservation grants %u", wanted,
                                 res ? res->pasids : 0);
                finding_set_remedy(f, "ask for fewer, or set Pasids= in the reservation%s",
                                   limited ? "" : ", or a limit for the cgroup: iommuctl quota set");
        }
        if (w->enforcement == ENFORCEMENT_KERNEL)
                (void) findings_add(findings, FINDING_PASIDS_ENFORCED, SEVERITY_INFO, "",
                                    "the kernel holds the lease to its %u PASIDs", wanted);
        else
                (void) findings_add(findings, FINDING_PASIDS_UNENFORCED, SEVERITY_WARN, "",
                                    "the number of PASIDs is booked, but nothing in this kernel enforces it");
}

/* Whoever has a descriptor of such a device could attach as many as the hardware can. The legacy interface attaches none, but the
 * administrator may want such a device not to be lent at all. With the form none nothing is handed out: whoever opens the nodes has other
 * means. */
static void judge_unbounded(const World *w, const Request *request, const Plan *plan, Findings *findings) {
        bool refuse = w->config->limits.refuse_ungated;

        if (w->enforcement == ENFORCEMENT_KERNEL || request->hand_over == HAND_OVER_NONE ||
            (!refuse && !hand_over_has_iommufd(request->hand_over)))
                return;
        for (size_t i = 0; i < plan->n_devices; i++) {
                const LeaseDevice *ld = &plan->devices[i];
                const Device *d = inventory_device(w->inventory, ld->address);
                Finding *f;

                if (ld->role != ROLE_LEASED || !d || !inventory_may_have_pasids(d) ||
                    !streq(ld->driver, VARIANT_PLAIN_DRIVER))
                        continue;
                f = findings_add(
                        findings, FINDING_PASIDS_UNBOUNDED, SEVERITY_BLOCK, ADDRESS(ld->address),
                        "%s can have PASIDs, and nothing in this kernel would hold the lease to a number of them",
                        ADDRESS(ld->address));
                finding_set_remedy(f, "%sboot a kernel with BPF and its type information, see iommud(8)",
                                   refuse                             ? "set WithoutGate=group in iommud.conf, or "
                                   : w->inventory->platform.container ? "ask for the hand-over group, or "
                                                                      : "");
        }
}

void resources_judge(const World *w, const Caller *caller, const Usage *usage, const Request *request, const Plan *plan,
                     Findings *findings) {
        judge_limits(&w->config->limits, caller, usage, request->joins ? 0 : 1, plan->n_devices, findings);
        if (request->hand_over != HAND_OVER_NONE)
                judge_memory(caller, plan->reservation, findings);
        if (request->pasids > 0)
                judge_pasids(w, caller, plan->reservation, request->pasids, findings);
        judge_unbounded(w, request, plan, findings);
}
