/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "viability.h"

static const char *group_subject(const Group *g, char buf[static 32]) {
        (void) snprintf(buf, 32, "group %d", g->facts.id);
        return buf;
}

static bool same_group(const Device *d, const Group *g) {
        return d->facts.group >= 0 && d->facts.group == g->facts.id;
}

static void member_on_host_driver(const Device *m, const char *subject, Findings *findings) {
        Finding *f = findings_add(findings, FINDING_MEMBER_ON_HOST_DRIVER, SEVERITY_BLOCK, ADDRESS(m->facts.address),
                                  "%s of %s is on the host driver %s, so the group cannot be owned by a client",
                                  ADDRESS(m->facts.address), subject, m->facts.driver);

        finding_set_remedy(f,
                           "name it in \"members\" to have it parked for the life of the lease, or unbind it from %s",
                           m->facts.driver);
}

void viability_judge(const Inventory *inv, const Group *g, const AddressList *spared, Findings *findings) {
        char subject[32];
        const Device *m;
        Finding *f;

        group_subject(g, subject);
        INVENTORY_FOREACH_DEVICE (inv, m)
                if (same_group(m, g) && m->facts.driver_kind == DRIVER_HOST &&
                    !(spared && address_list_has(spared, m->facts.address)))
                        member_on_host_driver(m, subject, findings);
        for (size_t i = 0; i < g->facts.n_regions; i++) {
                const ReservedRegion *region = &g->facts.regions[i];

                if (!streq(region->type, "direct"))
                        continue;
                f = findings_add(
                        findings, FINDING_DIRECT_REGION, SEVERITY_BLOCK, subject,
                        "the firmware reserves 0x%llx-0x%llx for direct DMA by %s, which the kernel never blocks",
                        (unsigned long long) region->start, (unsigned long long) region->end, subject);
                finding_set_remedy(f,
                                   "the device cannot be lent; some firmware has a switch for it (RMRR, legacy USB)");
                break;
        }
        if (g->facts.noiommu) {
                f = findings_add(findings, FINDING_NOIOMMU, SEVERITY_BLOCK, subject,
                                 "%s is a no-IOMMU group: nothing keeps its DMA from the host's memory", subject);
                finding_set_remedy(f, "enable the IOMMU in the firmware and on the kernel command line");
        }
        if (g->no_isolation) {
                f = findings_add(
                        findings, FINDING_NO_ISOLATION, SEVERITY_BLOCK, subject,
                        "the interrupts of %s are not isolated: this IOMMU does no interrupt remapping, so the "
                        "kernel refuses to give the group to user space",
                        subject);
                finding_set_remedy(
                        f, "enable interrupt remapping; allow_unsafe_interrupts=1 of iommufd, or of vfio_iommu_type1 "
                           "without it, overrides the kernel's check on machines that trust their guests (then "
                           "reload iommud)");
        }
}
