/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "core/health.h"
#include "util/text.h"

const char *state_place_to_string(StatePlace place) {
        static const char *const names[] = { "", "leases", "lifelines", "locks", "devices" };

        return place < _STATE_PLACE_MAX ? names[place] : "invalid";
}

bool health_is_off(const Finding *f) {
        return f->severity != SEVERITY_INFO && f->code != FINDING_CANNOT_TELL;
}

/* --- the kernel --- */

static void judge_vfio(const Platform *p, Findings *findings) {
        bool any = (p->iommufd && p->cdev) || p->container;
        Finding *f;

        if (p->iommufd && p->cdev)
                return;
        f = findings_add(findings, FINDING_NO_IOMMUFD, any ? SEVERITY_INFO : SEVERITY_BLOCK, "",
                         "this kernel has no %s%s", p->iommufd ? "VFIO character devices" : "iommufd",
                         any ? "; devices are lent by the legacy interface"
                             : ", and no legacy VFIO either: there is nothing to hand over");
        if (!any)
                finding_set_remedy(f, "load vfio_pci, with iommufd or vfio_iommu_type1; see modprobe(8)");
}

static void judge_interrupts(const Platform *p, Findings *findings) {
        Finding *f;

        if (p->unsafe_interrupts) {
                f = findings_add(findings, FINDING_UNSAFE_INTERRUPTS, SEVERITY_WARN, "",
                                 "the kernel is told to lend devices whose interrupts are not isolated: a guest can "
                                 "send the host any interrupt");
                finding_set_remedy(f, "take allow_unsafe_interrupts off iommufd and vfio_iommu_type1");
        } else if (p->remapping == REMAPPING_OFF) {
                f = findings_add(findings, FINDING_NO_ISOLATION, SEVERITY_WARN, "",
                                 "interrupts are not remapped, so the kernel refuses to lend devices");
                finding_set_remedy(f, "enable interrupt remapping in the firmware, and take intremap=off off the "
                                      "kernel's command line");
        }
}

static void judge_groups(const Inventory *inv, Findings *findings) {
        const Group *g;

        INVENTORY_FOREACH_GROUP (inv, g) {
                char subject[32];
                Finding *f;

                if (!g->facts.noiommu)
                        continue;
                (void) snprintf(subject, sizeof(subject), "group %d", g->facts.id);
                f = findings_add(findings, FINDING_NOIOMMU, SEVERITY_WARN, subject,
                                 "a device is on a VFIO driver without an IOMMU: nothing keeps its DMA from the host's "
                                 "memory");
                finding_set_remedy(f, "unbind it, and take enable_unsafe_noiommu_mode off vfio");
        }
}

static void judge_gate(const HealthFacts *facts, Findings *findings) {
        bool matters = false;
        const Device *d;
        Finding *f;

        if (!facts->gate_why)
                return;
        INVENTORY_FOREACH_DEVICE (&facts->ledger->inventory, d)
                matters = matters || d->pasid_bits > 0;
        f = findings_add(findings, FINDING_PASIDS_UNENFORCED, matters ? SEVERITY_WARN : SEVERITY_INFO, "",
                         "nothing in this kernel holds leases to their PASIDs: %s", facts->gate_why);
        if (matters)
                finding_set_remedy(f, "boot a kernel with BPF and its type information, see iommud(8)");
}

static void judge_kernel(const HealthFacts *facts, Findings *findings) {
        const Inventory *inv = &facts->ledger->inventory;
        Finding *f;

        judge_groups(inv, findings);
        if (!inv->platform.iommu) {
                f = findings_add(findings, FINDING_NO_IOMMU, SEVERITY_BLOCK, "",
                                 "this machine has no IOMMU, or the kernel does not use it: no device can be lent");
                finding_set_remedy(f, "enable it in the firmware (VT-d, AMD-Vi) and on the kernel's command line "
                                      "(intel_iommu=on)");
                return;
        }
        judge_vfio(&inv->platform, findings);
        judge_interrupts(&inv->platform, findings);
        judge_gate(facts, findings);
}

/* --- the configuration --- */

/* An address that is written out names one device, and that should be there. */
static bool judge_addresses(const Inventory *inv, const Reservation *r, Findings *findings) {
        const char *words = isempty(r->match_address) ? "" : r->match_address, *word;
        bool complained = false;
        size_t n;

        while (text_next_word(&words, &word, &n)) {
                char text[ADDRESS_TEXT_MAX];
                Finding *f;
                Address a;

                if (n >= sizeof(text))
                        continue;
                memcpy(text, word, n);
                text[n] = '\0';
                if (address_parse(text, &a) < 0 || inventory_device(inv, a))
                        continue;
                f = findings_add(findings, FINDING_RESERVES_NOTHING, SEVERITY_WARN, text,
                                 "%s reserves %s, and there is no such device", r->source, text);
                finding_set_remedy(f,
                                   "correct the address (the kernel may have given it another number), or remove it");
                complained = true;
        }
        return complained;
}

static void judge_reservation(const Inventory *inv, const Reservation *r, Findings *findings) {
        bool complained = judge_addresses(inv, r, findings);
        const Device *d;
        Finding *f;

        /* One that goes by kind may wait for a device that is plugged in some day. */
        if (complained || isempty(r->match_address))
                return;
        INVENTORY_FOREACH_DEVICE (inv, d)
                if (reservation_matches_device(r, &d->facts))
                        return;
        f = findings_add(findings, FINDING_RESERVES_NOTHING, SEVERITY_WARN, "",
                         "%s fits no device: what has the address is of another kind", r->source);
        finding_set_remedy(f, "correct its [Device] section; iommuctl list shows what there is");
}

static void judge_configuration(const HealthFacts *facts, Findings *findings) {
        Finding *f;

        if (facts->complaint) {
                f = findings_add(findings, FINDING_CONFIGURATION, facts->config ? SEVERITY_WARN : SEVERITY_BLOCK, "",
                                 "%s%s", facts->complaint,
                                 facts->config ? "; what was read before goes on counting" : "");
                finding_set_remedy(f, "correct it, then: systemctl reload iommud");
        } else if (!facts->reloaded) {
                f = findings_add(findings, FINDING_NOT_RELOADED, SEVERITY_WARN, "",
                                 "the configuration has changed since iommud read it");
                finding_set_remedy(f, "systemctl reload iommud");
        }
        for (size_t i = 0; facts->config && i < facts->config->n_reservations; i++)
                judge_reservation(&facts->ledger->inventory, &facts->config->reservations[i], findings);
}

void health_judge_machine(const HealthFacts *facts, Findings *findings) {
        Finding *f;

        judge_kernel(facts, findings);
        judge_configuration(facts, findings);
        if (facts->polkit_actions)
                return;
        f = findings_add(findings, FINDING_NO_POLKIT_ACTIONS, SEVERITY_WARN, "",
                         "polkit does not know iommud's actions, so it refuses whatever it is asked");
        finding_set_remedy(f, "install org.iommud1.policy into /usr/share/polkit-1/actions");
}

/* --- leases and their devices --- */

static void judge_leased(const Lease *l, const LeaseDevice *ld, const Device *d, Findings *findings) {
        const char *wanted = ld->role == ROLE_HELD ? "" : ld->driver;
        Finding *f;

        if (l->state != LEASE_ACTIVE || ld->joining || ld->leaving || ld->released || ld->pulled || d->gone ||
            streq(d->facts.driver, wanted))
                return;
        f = findings_add(findings, FINDING_WRONG_DRIVER, SEVERITY_WARN, ADDRESS(ld->address),
                         "lease %.8s has it on %s, and it is on %s", l->id, isempty(wanted) ? "no driver" : wanted,
                         isempty(d->facts.driver) ? "no driver" : d->facts.driver);
        finding_set_remedy(f, "somebody has bound it by hand; revoke the lease to have it put right");
}

static void judge_devices(const Ledger *ledger, Findings *findings) {
        const Device *d;

        INVENTORY_FOREACH_DEVICE (&ledger->inventory, d) {
                const LeaseDevice *ld = d->lease ? lease_device(d->lease, d->facts.address) : NULL;
                Finding *f;

                if (ld)
                        judge_leased(d->lease, ld, d, findings);
                if (d->state == DEVICE_BROKEN) {
                        f = findings_add(findings, FINDING_BROKEN, SEVERITY_WARN, ADDRESS(d->facts.address),
                                         "it cannot be lent: %s", d->reason);
                        finding_set_remedy(f, "%s",
                                           ld ? "end the processes that have it open"
                                              : "bind a driver to it, and it counts as free again");
                } else if (!d->lease && streq(d->facts.driver_override, LEASE_HELD_OVERRIDE)) {
                        f = findings_add(findings, FINDING_LEFT_HELD, SEVERITY_WARN, ADDRESS(d->facts.address),
                                         "no lease has it, and its driver_override, %s, keeps every driver from it",
                                         LEASE_HELD_OVERRIDE);
                        finding_set_remedy(f, "write an empty line to its driver_override in sysfs");
                }
        }
}

/* --- the files --- */

static void entry_path(const StateEntry *e, char ret[static 80]) {
        ret[0] = '\0';
        text_append(ret, 80, "%s%s%s", state_place_to_string(e->place),
                    e->place == STATE_ROOT || isempty(e->name) ? "" : "/",
                    text_is_printable(e->name) ? e->name : "(unprintable)");
}

static const StateEntry *find_entry(const HealthFacts *facts, StatePlace place, const char *name, const char *suffix) {
        size_t n = strlen(name);

        for (size_t i = 0; i < facts->n_entries; i++) {
                const StateEntry *e = &facts->entries[i];

                if (e->place == place && strncmp(e->name, name, n) == 0 && streq(e->name + n, suffix))
                        return e;
        }
        return NULL;
}

static void judge_mode(const HealthFacts *facts, const StateEntry *e, const char *path, Findings *findings) {
        Finding *f;

        if (e->uid == facts->owner && (e->mode & 077) == 0)
                return;
        f = findings_add(findings, FINDING_STATE_MODE, SEVERITY_WARN, path,
                         "it is of uid %u with mode %04o in /run/iommud: others might read or forge leases", e->uid,
                         (unsigned) e->mode & 07777);
        finding_set_remedy(f, "chown root, chmod %s", isempty(e->name) ? "0700" : "0600");
}

/* Of such a file there is no more to say, nor of the lifeline beside it. */
static bool is_untrusted(const HealthFacts *facts, const Findings *findings, const StateEntry *e) {
        char path[80];

        if (e->place != STATE_LEASES && e->place != STATE_LIFELINES)
                return false;
        path[0] = '\0';
        text_append(path, sizeof(path), "%s/%s", state_place_to_string(STATE_LEASES), e->name);
        for (size_t i = 0; i < findings->n; i++)
                if (findings->items[i].code == FINDING_STATE_UNTRUSTED && streq(findings->items[i].subject, path))
                        return true;
        return e->place == STATE_LIFELINES && find_entry(facts, STATE_LEASES, e->name, ".bad");
}

/* Why nothing of ours has this file, NULL: something has. */
static const char *why_unknown(const HealthFacts *facts, const StateEntry *e) {
        static const char *const ours[] = { "quotas", "configuration" };
        Address a;

        switch (e->place) {
        case STATE_LEASES:
        case STATE_LIFELINES:
                return ledger_lease(facts->ledger, e->name) ? NULL : "there is no such lease";
        case STATE_LOCKS:
                return address_parse(e->name, &a) < 0 ? "its name is no address" : NULL;
        case STATE_DEVICES:
                return address_parse(e->name, &a) < 0                   ? "its name is no address"
                       : inventory_device(&facts->ledger->inventory, a) ? NULL
                                                                        : "there is no such device";
        default:
                for (size_t i = 0; i < ARRAY_SIZE(ours); i++)
                        if (streq(ours[i], e->name))
                                return NULL;
                return "iommud keeps nothing of this name";
        }
}

static void judge_entry(const HealthFacts *facts, const StateEntry *e, Findings *findings) {
        const char *why;
        char path[80];
        Finding *f;

        entry_path(e, path);
        judge_mode(facts, e, isempty(path) ? "/run/iommud" : path, findings);
        if (isempty(e->name))
                return;
        if (text_has_suffix(e->name, ".bad")) {
                f = findings_add(findings, FINDING_STATE_SET_ASIDE, SEVERITY_WARN, path,
                                 "iommud could not trust this file of its own and has set it aside");
                finding_set_remedy(f,
                                   "the journal says why; see that its devices are where they belong, then remove it");
                return;
        }
        why = why_unknown(facts, e);
        if (why && !is_untrusted(facts, findings, e)) {
                f = findings_add(findings, FINDING_STATE_UNKNOWN, SEVERITY_WARN, path,
                                 "there is a file in /run/iommud of which iommud knows nothing: %s", why);
                finding_set_remedy(f, "restart iommud, which takes up or sets aside what it finds");
        }
        if (e->locked) {
                f = findings_add(findings, FINDING_STUCK_WORKER, SEVERITY_WARN, e->name,
                                 "a worker that iommud does not wait for any more is stuck in the kernel with it, or "
                                 "with a device beside it");
                finding_set_remedy(f, "end whoever has it open; if nobody has, only a reboot helps");
        }
}

static void judge_lease_files(const HealthFacts *facts, Findings *findings) {
        const Lease *l;

        LEDGER_FOREACH_LEASE (facts->ledger, l) {
                const char *missing = !find_entry(facts, STATE_LEASES, l->id, "")      ? "leases"
                                      : !find_entry(facts, STATE_LIFELINES, l->id, "") ? "lifelines"
                                                                                       : NULL;
                Finding *f;

                if (!missing)
                        continue;
                f = findings_add(findings, FINDING_STATE_MISSING, SEVERITY_WARN, l->id,
                                 "its file in /run/iommud/%s is gone: a restart of iommud would lose the lease",
                                 missing);
                finding_set_remedy(f, "do not restart iommud before the lease has ended");
        }
}

void health_judge_state(const HealthFacts *facts, Findings *findings) {
        judge_devices(facts->ledger, findings);
        judge_lease_files(facts, findings);
        for (size_t i = 0; i < facts->n_entries; i++)
                judge_entry(facts, &facts->entries[i], findings);
}
