/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "core/choose.h"
#include "util/text.h"

static bool wants_pasids(const Request *request) {
        return request->pasids > 0 || (request->joins && request->joins->pasids > 0);
}

static void mismatch(const VariantTable *variants, const Device *d, const char *wanted, Findings *findings) {
        AddressText at = address_text(d->facts.address);
        char candidates[160];
        Finding *f = findings_add(findings, FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, at.text,
                                  "no VFIO driver%s%s fits %s", isempty(wanted) ? "" : " called ", wanted, at.text);

        variant_list(variants, d->facts.modalias, candidates, sizeof(candidates));
        if (isempty(candidates))
                finding_set_remedy(f, "is the module vfio_pci installed for this kernel?");
        else
                finding_set_remedy(f, "ask for one that fits (%s), or for none: ChooseDriver tells the best",
                                   candidates);
}

/* Only plain vfio-pci has the hook that attaches PASIDs (Linux 7.2, vfio_pci.c). Returns false if another driver is asked for. */
static bool judge_pasids(const VariantTable *variants, const Device *d, const char *wanted, const char *by,
                         Findings *findings) {
        const VariantAlias *best = variant_choose(variants, d->facts.modalias);
        AddressText at = address_text(d->facts.address);
        Finding *f;

        if (!isempty(wanted) && !streq(wanted, VARIANT_PLAIN_DRIVER)) {
                f = findings_add(findings, FINDING_DRIVER_MISMATCH, SEVERITY_BLOCK, at.text,
                                 "%s asks for the driver %s, but only vfio-pci can attach PASIDs", by, wanted);
                finding_set_remedy(f, "ask for either the driver or PASIDs");
                return false;
        }
        if (isempty(wanted) && best && !streq(best->driver, VARIANT_PLAIN_DRIVER)) {
                f = findings_add(findings, FINDING_PLAIN_DRIVER, SEVERITY_INFO, at.text,
                                 "%s gets vfio-pci although %s fits it best: only vfio-pci can attach PASIDs", at.text,
                                 best->driver);
                finding_set_remedy(f, "ask without PASIDs if %s is what counts", best->driver);
        }
        return true;
}

void choose_driver(const VariantTable *variants, const Request *request, const Device *d, const Reservation *res,
                   LeaseDevice *ld, Findings *findings) {
        const char *wanted = request->driver, *by = "the request";
        const VariantAlias *a;

        if (ld->role == ROLE_PARKED && hand_over_is_legacy(request->hand_over)) {
                /* Whoever has the group could open it on a VFIO driver. */
                (void) text_copy(ld->driver, sizeof(ld->driver), STUB_DRIVER);
                (void) text_copy(ld->module, sizeof(ld->module), STUB_MODULE);
                return;
        }
        if (isempty(wanted) && res && !isempty(res->driver)) {
                wanted = res->driver;
                by = "the reservation";
        }
        if (ld->role == ROLE_PARKED)
                wanted = VARIANT_PLAIN_DRIVER; /* a parked device needs no more */
        else if (wants_pasids(request)) {
                if (!judge_pasids(variants, d, wanted, by, findings))
                        return;
                wanted = VARIANT_PLAIN_DRIVER;
        }
        a = isempty(wanted) ? variant_choose(variants, d->facts.modalias)
                            : variant_candidate(variants, d->facts.modalias, wanted);
        if (!a) {
                mismatch(variants, d, wanted, findings);
                return;
        }
        (void) text_copy(ld->driver, sizeof(ld->driver), a->driver);
        (void) text_copy(ld->module, sizeof(ld->module), a->module);
}

void choose_original(const Device *d, LeaseDevice *ld, Findings *findings) {
        AddressText at = address_text(d->facts.address);
        Finding *f;

        (void) text_copy(ld->original_driver, sizeof(ld->original_driver), d->facts.driver);
        (void) text_copy(ld->original_override, sizeof(ld->original_override), d->facts.driver_override);
        if (!d->facts.odd_override)
                return;
        f = findings_add(findings, FINDING_ODD_OVERRIDE, SEVERITY_BLOCK, at.text,
                         "the driver_override of %s is no name of a driver, and would be lost at the end of the lease",
                         at.text);
        finding_set_remedy(f, "clear it: echo > /sys/bus/pci/devices/%s/driver_override", at.text);
}
