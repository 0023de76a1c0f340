/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "broker/blame.h"
#include "core/errors.h"
#include "core/variant.h"
#include "core/viability.h"
#include "util/text.h"

void blame_text(JobFailure *ret, const char *error_name, const char *format, ...) {
        va_list ap;

        *ret = (JobFailure) { .set = true, .error_name = error_name };
        va_start(ap, format);
        (void) vsnprintf(ret->text, sizeof(ret->text), format, ap);
        va_end(ap);
}

static void blame_holders(const JobDevice *d, const char *what, JobFailure *ret) {
        blame_text(ret, ERROR_DEVICE_BUSY, "%s%s by", ADDRESS(d->lease.address), what);
        holders_describe(&d->holders, ret->text, sizeof(ret->text));
        text_append(ret->text, sizeof(ret->text), "; end that first");
}

/* The members of a group as they are now, since the claim was judged by what they were. */
static void look_at_group(Broker *b, const Group *g) {
        Device *d, *renewed;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d) {
                DeviceFacts now;

                if (d->facts.group == g->facts.id &&
                    b->kernel->ops->read_device(b->kernel, d->facts.address, &now) >= 0)
                        (void) inventory_put_device(&b->ledger.inventory, &now, &renewed);
        }
}

/* A member on a VFIO driver that is not the lease's: somebody else may own the group through it, even if no process is to be seen. */
static const Device *find_stranger(const Broker *b, const Group *g, const AddressList *own) {
        const Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d)
                if (d->facts.group == g->facts.id && d->facts.driver_kind == DRIVER_VFIO &&
                    !address_list_has(own, d->facts.address))
                        return d;
        return NULL;
}

/* The kernel refuses a claim with EPERM if a member is on a host driver, if somebody else owns the group, or if interrupts are not
 * isolated (iommufd/device.c). The first shows in sysfs and the second in /proc; what is left is the third. */
static void blame_claim(Broker *b, const Lease *l, const Job *job, JobFailure *ret) {
        const JobDevice *d = &job->devices[job->failed];
        Group *g = inventory_group(&b->ledger.inventory, d->lease.group);
        AddressList own = {};
        Findings findings = {};
        const Device *stranger;
        const Finding *f;

        if (!g) {
                blame_text(ret, ERROR_FAILED, "%s is in no IOMMU group any more", ADDRESS(d->lease.address));
                return;
        }
        /* The lease's own devices are back on their host drivers by now: they were not in the way. */
        for (size_t i = 0; i < l->n_devices; i++)
                (void) address_list_add(&own, l->devices[i].address);
        look_at_group(b, g);
        viability_judge(&b->ledger.inventory, g, &own, &findings);
        f = findings_first_block(&findings);
        if (!f && d->holders.n > 0) {
                blame_holders(d, " is in a group that is owned through another member", ret);
                findings_clear(&findings);
                return;
        }
        stranger = find_stranger(b, g, &own);
        if (!f && d->error == -EPERM && !stranger) {
                g->no_isolation = true;
                viability_judge(&b->ledger.inventory, g, &own, &findings);
                f = findings_first_block(&findings);
        }
        if (f)
                blame_text(ret, finding_error_name(f->code), "%s; %s", f->text, f->remedy);
        else if (stranger && d->error == -EPERM)
                blame_text(ret, ERROR_DEVICE_BUSY,
                           "group %d is owned through its member %s, which is on %s and seems to be open; end that",
                           g->facts.id, ADDRESS(stranger->facts.address), stranger->facts.driver);
        else
                blame_text(ret, ERROR_KERNEL_REFUSED, "the kernel does not let lease %.8s own group %d of %s: %s",
                           l->id, g->facts.id, ADDRESS(d->lease.address), strerror(-d->error));
        findings_clear(&findings);
}

void blame_job(Broker *b, const Lease *l, const Job *job, JobFailure *ret) {
        const JobDevice *d = &job->devices[job->failed < job->n_devices ? job->failed : 0];

        if (job->result == -ECHILD)
                blame_text(ret, ERROR_FAILED, "the worker for %s died while it was to %s", ADDRESS(d->lease.address),
                           step_to_string(d->step));
        else if (d->step == STEP_LOOK_AT_USES && d->error == -EBUSY)
                blame_text(ret, ERROR_DEVICE_IN_USE, "the host has begun to use %s; Explain tells for what",
                           ADDRESS(d->lease.address));
        else if ((d->step == STEP_FIND_HOLDERS || d->step == STEP_UNBIND) && d->error == -EBUSY && d->holders.n > 0)
                blame_holders(d, ", or a virtual function of it, is held open through VFIO", ret);
        else if (d->step == STEP_CLAIM && (d->error == -EPERM || d->error == -EINVAL || d->error == -EBUSY))
                blame_claim(b, l, job, ret);
        else if ((d->step == STEP_CLAIM || d->step == STEP_OPEN) && d->error == -ENOENT)
                blame_text(ret, ERROR_NOT_SUPPORTED, "%s has no VFIO %s: this kernel lacks %s",
                           ADDRESS(d->lease.address),
                           hand_over_is_legacy(job->hand_over) ? "group" : "character device",
                           hand_over_is_legacy(job->hand_over) ? "CONFIG_VFIO_GROUP"
                                                               : "iommufd or CONFIG_VFIO_DEVICE_CDEV");
        else if (d->step == STEP_SET_VIRTUAL_FUNCTIONS && d->error == -ENOENT)
                blame_text(ret, ERROR_DRIVER_MISMATCH,
                           "the driver %s of %s makes no virtual functions; bind another one%s", d->lease.driver,
                           ADDRESS(d->lease.address),
                           streq(d->lease.driver, VARIANT_PLAIN_DRIVER)
                                   ? ", or let this one: \"options vfio_pci enable_sriov=1\" in modprobe.d"
                                   : "");
        else if (d->error == -EACCES && (d->step == STEP_CLAIM || d->step == STEP_BIND_IOMMUFD))
                blame_text(ret, ERROR_KERNEL_REFUSED,
                           "%s shares a token with a function on a VFIO driver that no lease of iommud's has, or whose "
                           "client has set another; lease the physical function from iommud",
                           ADDRESS(d->lease.address));
        else if (d->error == -ESTALE)
                blame_text(ret, ERROR_DEVICE_BUSY, "%s changed its driver while the request was judged; ask again",
                           ADDRESS(d->lease.address));
        else if (d->error == -ENODEV && d->step != STEP_BIND)
                blame_text(ret, ERROR_NO_SUCH_DEVICE, "%s went away", ADDRESS(d->lease.address));
        else
                blame_text(ret, ERROR_KERNEL_REFUSED, "%s: the kernel refuses to %s (%s): %s",
                           ADDRESS(d->lease.address), step_to_string(d->step),
                           isempty(d->lease.driver) ? "no driver" : d->lease.driver,
                           strerror(-(d->error < 0 ? d->error : job->result)));
}
