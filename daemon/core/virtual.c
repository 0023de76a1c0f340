/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "virtual.h"
#include "core/resetset.h"
#include "util/text.h"

Device *virtual_physical(const Inventory *inv, const Device *d) {
        return d->facts.virtual_function ? inventory_device(inv, d->facts.physical_function) : NULL;
}

bool virtual_is_changing(const Inventory *inv, const Device *d) {
        const Device *pf = virtual_physical(inv, d);

        return d->changing || (pf && pf->changing);
}

static const char *unit_of(const Lease *l) {
        return isempty(l->unit) ? "no unit" : l->unit;
}

static void add_changing(const Device *d, const Device *pf, Findings *findings) {
        Finding *f = findings_add(findings, FINDING_BUSY, SEVERITY_BLOCK, ADDRESS(d->facts.address),
                                  "%s is busy: a worker is changing how many virtual functions %s has",
                                  ADDRESS(d->facts.address), ADDRESS(pf->facts.address));

        finding_set_remedy(f, "try again when that is done");
}

/* The kernel lets nobody bind a virtual function whose physical one is on VFIO but who shows the token of that. */
static void note_token(const Device *d, const Device *pf, HandOver hand_over, Findings *findings) {
        AddressText at = address_text(d->facts.address);
        Finding *f;

        if (!pf || pf->facts.driver_kind != DRIVER_VFIO || hand_over == HAND_OVER_ATTACHED)
                return;
        f = findings_add(
                findings, FINDING_VF_TOKEN, SEVERITY_WARN, at.text,
                "whoever binds %s has to show the kernel its VF token, since its physical function %s is on %s",
                at.text, ADDRESS(pf->facts.address), pf->facts.driver);
        finding_set_remedy(f,
                           "ask with \"hand-over\" attached, or see that the program passes the token that comes with "
                           "the device: QEMU 11 does not");
}

void virtual_judge_lending(const Inventory *inv, const Device *d, const Caller *caller, HandOver hand_over,
                           bool granted, Findings *findings) {
        const Device *pf = virtual_physical(inv, d), *vf;
        AddressText at = address_text(d->facts.address);
        Finding *f;

        if (virtual_is_changing(inv, d))
                add_changing(d, d->changing ? d : pf, findings);
        /* The owner of a physical function controls its virtual ones, so whoever else got one would be at its mercy. */
        if (pf && pf->lease && !policy_is_user(caller, pf->lease->uid) && !granted) {
                f = findings_add(findings, FINDING_LEASED, SEVERITY_BLOCK, at.text,
                                 "%s is a virtual function of %s, which belongs to lease %s of uid %u (%s)", at.text,
                                 ADDRESS(pf->facts.address), pf->lease->id, pf->lease->uid, unit_of(pf->lease));
                finding_set_remedy(
                        f, "wait for the end of that lease, or have a reservation grant this function to the caller");
        }
        note_token(d, pf, hand_over, findings);
        /* Without its driver it loses them, and the kernel waits for whoever has one open. */
        VIRTUAL_FOREACH (inv, d, vf) {
                if (!vf->lease)
                        continue;
                f = findings_add(findings, FINDING_LEASED, SEVERITY_BLOCK, at.text,
                                 "%s has the virtual function %s, which belongs to lease %s of uid %u (%s)", at.text,
                                 ADDRESS(vf->facts.address), vf->lease->id, vf->lease->uid, unit_of(vf->lease));
                finding_set_remedy(f, "wait for the end of that lease, or revoke it: iommuctl revoke %.8s",
                                   vf->lease->id);
                return;
        }
}

/* Two workers would need each other's locks; one may take away by the one what it prepares by the other. What is only held is nobody's
 * to lose, and what has no driver leaves none. */
static bool can_be_together(const Inventory *inv, const LeaseDevice *vf, const LeaseDevice *pf) {
        const Device *d = inventory_device(inv, pf->address);

        return vf->role == ROLE_HELD || pf->role == ROLE_HELD ||
               (d && d->facts.driver_kind == DRIVER_NONE && pf->group == vf->group);
}

void virtual_judge_together(const Inventory *inv, const Plan *plan, Findings *findings) {
        for (size_t i = 0; i < plan->n_devices; i++) {
                const Device *d = inventory_device(inv, plan->devices[i].address);
                Finding *f;

                for (size_t j = 0; d && d->facts.virtual_function && j < plan->n_devices; j++) {
                        AddressText vf = address_text(d->facts.address), pf = address_text(plan->devices[j].address);

                        if (!address_equal(plan->devices[j].address, d->facts.physical_function) ||
                            can_be_together(inv, &plan->devices[i], &plan->devices[j]))
                                continue;
                        f = findings_add(findings, FINDING_INVALID, SEVERITY_BLOCK, vf.text,
                                         "%s is a virtual function of %s, which the request takes too: it may be gone "
                                         "when that has left its driver",
                                         vf.text, pf.text);
                        finding_set_remedy(f,
                                           "ask for %s first, and for its virtual functions when they are there "
                                           "(AddDevices, iommuctl plug); or have them removed: iommuctl vfs %s 0",
                                           pf.text, pf.text);
                }
        }
}

/* --- how many there are --- */

/* A leased device can get virtual functions, which are its owner's, as long as its client has it and nothing else is done to it. */
static void judge_physical(const Inventory *inv, const Device *pf, Findings *findings) {
        const Group *g = inventory_group_of(inv, pf);
        const Lease *l = pf->lease ?: g ? g->lease : NULL;
        AddressText at = address_text(pf->facts.address);
        Finding *f;

        if (pf->changing)
                add_changing(pf, pf, findings);
        else if (pf->state == DEVICE_BROKEN) {
                f = findings_add(findings, FINDING_BROKEN, SEVERITY_BLOCK, at.text, "%s is broken: %s", at.text,
                                 pf->reason);
                finding_set_remedy(f,
                                   pf->lease
                                           ? "end whoever has it open; then it is released"
                                           : "mend the cause; when a driver takes the device again it counts as free");
        } else if (l && pf->state != DEVICE_LEASED) {
                f = findings_add(findings, l->state == LEASE_RELEASING ? FINDING_RELEASING : FINDING_LEASED,
                                 SEVERITY_BLOCK, at.text, "%s is %s, and its group belongs to lease %s of uid %u (%s)",
                                 at.text, device_state_to_string(pf->state), l->id, l->uid, unit_of(l));
                finding_set_remedy(f, "wait for the end of that lease, or revoke it: iommuctl revoke %.8s", l->id);
        }
}

static bool is_used(const Device *vf) {
        return vf->facts.driver_kind == DRIVER_HOST && vf->uses.n > 0;
}

static void judge_removal(const Device *vf, bool force_in_use, Findings *findings) {
        AddressText at = address_text(vf->facts.address);
        Finding *f;

        if (vf->lease) {
                f = findings_add(findings, FINDING_LEASED, SEVERITY_BLOCK, at.text,
                                 "the virtual function %s belongs to lease %s of uid %u (%s)", at.text, vf->lease->id,
                                 vf->lease->uid, unit_of(vf->lease));
                finding_set_remedy(f, "wait for the end of that lease, or revoke it: iommuctl release %.8s",
                                   vf->lease->id);
        }
        for (size_t i = 0; is_used(vf) && i < vf->uses.n; i++) {
                if (force_in_use) {
                        (void) findings_add(findings, FINDING_IN_USE, SEVERITY_WARN, at.text,
                                            "the host will lose this: %s", vf->uses.uses[i].text);
                        continue;
                }
                f = findings_add(findings, FINDING_IN_USE, SEVERITY_BLOCK, at.text,
                                 "the host uses the virtual function %s: %s", at.text, vf->uses.uses[i].text);
                finding_set_remedy(f, "end that use, or ask with \"force-in-use\" and the right to it");
        }
}

/* Of a lease with its reset set the kernel would refuse a hot reset from then on: a virtual function on the bus is in no set but its own. */
static void judge_reset_sets(const Inventory *inv, const Device *pf, Findings *findings) {
        AddressText at = address_text(pf->facts.address);
        const Device *other;
        Finding *f;

        INVENTORY_FOREACH_DEVICE (inv, other) {
                const Lease *l = other->lease;

                if (!l || !l->reset_set || !resetset_has(pf, other))
                        continue;
                f = findings_add(findings, FINDING_LEASED, SEVERITY_BLOCK, at.text,
                                 "%s belongs to lease %s of uid %u (%s) with its reset set, and could not be hot-reset "
                                 "any more with virtual functions of %s on its bus",
                                 ADDRESS(other->facts.address), l->id, l->uid, unit_of(l), at.text);
                finding_set_remedy(f, "wait for the end of that lease, or have it ask without \"reset-set\"");
                return;
        }
}

static void judge_number(const Device *pf, uint32_t n, Findings *findings) {
        uint32_t now = pf->facts.virtual_functions;
        AddressText at = address_text(pf->facts.address);
        Finding *f;

        if (n > 0 && now > 0) {
                f = findings_add(findings, FINDING_BUSY, SEVERITY_BLOCK, at.text,
                                 "%s has %u virtual functions, and the kernel goes from %u to %u only by way of 0",
                                 at.text, now, now, n);
                finding_set_remedy(f, "set 0 first");
        } else if (n > 0 && pf->facts.driver_kind == DRIVER_NONE) {
                f = findings_add(findings, FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, at.text,
                                 "%s has no driver, and it is the driver that makes virtual functions", at.text);
                finding_set_remedy(f, "bind its own driver, or pci-pf-stub");
        }
}

/* What makes no sense whatever the state of the machine. */
static bool judge_sense(const Device *pf, uint32_t n, Findings *findings) {
        AddressText at = address_text(pf->facts.address);
        uint32_t max = MIN(pf->facts.virtual_functions_max, (uint32_t) VIRTUAL_FUNCTIONS_MAX);
        Finding *f;

        if (pf->gone) {
                f = findings_add(findings, FINDING_NO_SUCH_DEVICE, SEVERITY_BLOCK, at.text, "there is no device %s",
                                 at.text);
                finding_set_remedy(f, "iommuctl list shows all devices");
        } else if (pf->facts.virtual_function) {
                f = findings_add(findings, FINDING_UNSUPPORTED, SEVERITY_BLOCK, at.text,
                                 "%s is itself a virtual function and can have none", at.text);
                finding_set_remedy(f, "ask its physical function, %s", ADDRESS(pf->facts.physical_function));
        } else if (max == 0) {
                f = findings_add(findings, FINDING_UNSUPPORTED, SEVERITY_BLOCK, at.text,
                                 "%s cannot have virtual functions: it has no SR-IOV", at.text);
                finding_set_remedy(f, "some cards have to be told in their firmware's settings to offer it");
        } else if (pf->facts.virtual_functions > VIRTUAL_FUNCTIONS_MAX) {
                f = findings_add(findings, FINDING_UNSUPPORTED, SEVERITY_BLOCK, at.text,
                                 "%s has %u virtual functions, and iommud handles at most %u", at.text,
                                 pf->facts.virtual_functions, VIRTUAL_FUNCTIONS_MAX);
                finding_set_remedy(f, "remove them by hand: sriov_numvfs in sysfs");
        } else if (n > max) {
                f = findings_add(findings, FINDING_INVALID, SEVERITY_BLOCK, at.text,
                                 "%s has room for %u virtual functions, and %u were asked for", at.text, max, n);
                finding_set_remedy(f, "ask for at most %u", max);
        } else
                return true;
        return false;
}

static void add_ask(const Device *d, const char *action, const char *what, Findings *findings) {
        Finding *f = findings_add(findings, FINDING_NOT_AUTHORIZED, SEVERITY_ASK, ADDRESS(d->facts.address),
                                  "%s %s needs the authorization %s", what, ADDRESS(d->facts.address), action);

        f->action = action;
}

void virtual_judge_change(const Inventory *inv, const Device *pf, uint32_t n, bool force_in_use, const Caller *caller,
                          Findings *findings) {
        const Device *vf;

        if (!judge_sense(pf, n, findings))
                return;
        if (caller->uid != 0)
                add_ask(pf, ACTION_MANAGE_VIRTUAL_FUNCTIONS, "to change the virtual functions of", findings);
        if (n == pf->facts.virtual_functions && !pf->changing)
                return;
        judge_physical(inv, pf, findings);
        judge_number(pf, n, findings);
        if (n > 0) {
                judge_reset_sets(inv, pf, findings);
                return;
        }
        VIRTUAL_FOREACH (inv, pf, vf) {
                judge_removal(vf, force_in_use, findings);
                if (force_in_use && is_used(vf) && caller->uid != 0)
                        add_ask(vf, ACTION_ACQUIRE_IN_USE, "to take away the host's", findings);
        }
}
