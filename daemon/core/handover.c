/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "handover.h"
#include "util/text.h"

static bool is_granted(const World *w, const Caller *caller, const Request *request, HandOver h) {
        const char *named = isempty(request->reservation) ? NULL : request->reservation;
        const Device *d = request->devices.n > 0 ? inventory_device(w->inventory, request->devices.items[0]) : NULL;

        return d && policy_device(w->config, caller, named, h, &d->facts).reservation;
}

/* Could it attach PASIDs without anything that holds it to a number? */
static bool is_unbounded(const World *w, const Request *request) {
        for (size_t i = 0; i < request->devices.n && w->enforcement != ENFORCEMENT_KERNEL; i++) {
                const Device *d = inventory_device(w->inventory, request->devices.items[i]);

                if (d && inventory_may_have_pasids(d))
                        return true;
        }
        return false;
}

void handover_choose(const World *w, const Caller *caller, Request *request) {
        const Platform *p = &w->inventory->platform;

        if (request->hand_over_named)
                return;
        if (!p->container || (p->iommufd && !is_unbounded(w, request)))
                request->hand_over = HAND_OVER_UNBOUND;
        else if (!is_granted(w, caller, request, HAND_OVER_GROUP) && is_granted(w, caller, request, HAND_OVER_NODE))
                request->hand_over = HAND_OVER_NODE;
        else
                request->hand_over = HAND_OVER_GROUP;
}

static void judge_platform(const Platform *p, const Request *request, Findings *findings) {
        const char *form = hand_over_to_string(request->hand_over);
        Finding *f;

        if (hand_over_is_legacy(request->hand_over) && !p->container) {
                f = findings_add(findings, FINDING_NO_LEGACY, SEVERITY_BLOCK, "",
                                 "this kernel has no VFIO groups and containers, which the %s hand-over needs", form);
                finding_set_remedy(f, "%sboot a kernel with CONFIG_VFIO_GROUP and CONFIG_VFIO_CONTAINER",
                                   p->iommufd ? "ask for unbound, or " : "");
        } else if (hand_over_has_iommufd(request->hand_over) && !p->iommufd) {
                f = findings_add(findings, FINDING_NO_IOMMUFD, SEVERITY_BLOCK, "",
                                 "this kernel has no iommufd, which the %s hand-over needs", form);
                finding_set_remedy(f, "%sboot a kernel with CONFIG_IOMMUFD and CONFIG_VFIO_DEVICE_CDEV",
                                   p->container ? "ask for group or node, or " : "");
        }
}

static void judge_legacy(const Request *request, Findings *findings) {
        const char *form = hand_over_to_string(request->hand_over);
        Finding *f;

        if (request->pasids > 0) {
                f = findings_add(findings, FINDING_UNSUPPORTED, SEVERITY_BLOCK, "",
                                 "VFIO's legacy interface attaches no PASIDs, and the hand-over is %s", form);
                finding_set_remedy(f, "ask for no PASIDs, or for unbound on a kernel with iommufd");
        }
        if (request->joins) {
                f = findings_add(findings, FINDING_UNSUPPORTED, SEVERITY_BLOCK, "",
                                 "nothing can join a lease whose hand-over is %s: its groups were handed over whole",
                                 form);
                finding_set_remedy(f, "acquire the devices in a lease of their own");
        }
}

void handover_member_reachable(const Request *request, const Device *m, Findings *findings) {
        Finding *f = findings_add(findings, FINDING_MEMBER_ON_VFIO_DRIVER, SEVERITY_BLOCK, ADDRESS(m->facts.address),
                                  "%s is on %s, so whoever gets its group %d by the %s hand-over could open it too",
                                  ADDRESS(m->facts.address), m->facts.driver, m->facts.group,
                                  hand_over_to_string(request->hand_over));

        finding_set_remedy(f, "name it in \"members\" to have it on pci-stub for the life of the lease, or ask for it");
}

void handover_reset_impossible(const Request *request, Address a, const Device *other, Findings *findings) {
        Finding *f =
                findings_add(findings, FINDING_NO_HOT_RESET, SEVERITY_BLOCK, ADDRESS(a),
                             "a hot reset of %s hits %s too, which the %s hand-over would park on pci-stub, and the "
                             "kernel wants all of them on VFIO drivers",
                             ADDRESS(a), ADDRESS(other->facts.address), hand_over_to_string(request->hand_over));

        finding_set_remedy(f, "ask for %s as well, or without \"reset-set\"", ADDRESS(other->facts.address));
}

void handover_judge(const World *w, const Request *request, Findings *findings) {
        if (!request->hand_over_named)
                (void) findings_add(findings, FINDING_HAND_OVER, SEVERITY_INFO, "",
                                    "the hand-over is %s, since the request names none%s",
                                    hand_over_to_string(request->hand_over),
                                    w->inventory->platform.iommufd ? "" : " and this kernel has no iommufd");
        judge_platform(&w->inventory->platform, request, findings);
        if (hand_over_is_legacy(request->hand_over))
                judge_legacy(request, findings);
}
