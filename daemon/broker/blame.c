/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "broker/blame.h"
#include "core/errors.h"
#include "core/viability.h"
#include "util/text.h"

void blame_text(JobFailure *ret, const char *format, ...) {
        va_list ap;

        *ret = (JobFailure) { .set = true, .error_name = ERROR_FAILED };
        va_start(ap, format);
        (void) vsnprintf(ret->text, sizeof(ret->text), format, ap);
        va_end(ap);
}

void blame_busy(JobFailure *ret) {
        ret->error_name = ERROR_DEVICE_BUSY;
        text_append(ret->text, sizeof(ret->text), "; a worker is still at work on the device, try again later");
}

static void blame_holders(const Job *job, JobFailure *ret) {
        const JobDevice *d = &job->devices[job->failed];

        blame_text(ret, "%s is on a VFIO driver already and in use by", ADDRESS(d->lease.address));
        for (size_t i = 0; i < d->holders.n; i++)
                text_append(ret->text, sizeof(ret->text), "%s pid %d (%s, uid %u)", i > 0 ? "," : "",
                            d->holders.holders[i].pid, d->holders.holders[i].name, d->holders.holders[i].uid);
        text_append(ret->text, sizeof(ret->text), "; end that first");
        ret->error_name = ERROR_DEVICE_BUSY;
}

/* The members of a group as they are now, since the claim was judged by what they were. */
static void look_at_group(Broker *b, const Group *g) {
        Device *d;

        INVENTORY_FOREACH_DEVICE (&b->ledger.inventory, d) {
                DeviceFacts now;

                if (d->facts.group == g->facts.id &&
                    b->kernel->ops->read_device(b->kernel, d->facts.address, &now) >= 0)
                        d->facts = now;
        }
}

/* The kernel refuses a claim with EPERM if a member is on a host driver, if somebody else owns the group, or if interrupts are not
 * isolated (iommufd/device.c). The first shows in sysfs and the second in /proc; what is left is the third. */
static void blame_claim(Broker *b, const Lease *l, const Job *job, JobFailure *ret) {
        const JobDevice *d = &job->devices[job->failed];
        Group *g = inventory_group(&b->ledger.inventory, d->lease.group);
        AddressList own = {};
        Findings findings = {};
        const Finding *f;

        if (!g) {
                blame_text(ret, "%s is in no IOMMU group any more", ADDRESS(d->lease.address));
                return;
        }
        /* The lease's own devices are back on their host drivers by now: they were not in the way. */
        for (size_t i = 0; i < l->n_devices; i++)
                (void) address_list_add(&own, l->devices[i].address);
        look_at_group(b, g);
        viability_judge(&b->ledger.inventory, g, &own, &findings);
        f = findings_first_block(&findings);
        if (!f && d->error == -EPERM) {
                g->no_isolation = true;
                viability_judge(&b->ledger.inventory, g, &own, &findings);
                f = findings_first_block(&findings);
        }
        if (f) {
                blame_text(ret, "%s; %s", f->text, f->remedy);
                ret->error_name = finding_error_name(f->code);
        } else {
                blame_text(ret, "the kernel does not let lease %.8s own group %d of %s: %s", l->id, g->facts.id,
                           ADDRESS(d->lease.address), strerror(-d->error));
                ret->error_name = ERROR_KERNEL_REFUSED;
        }
        findings_clear(&findings);
}

void blame_job(Broker *b, const Lease *l, const Job *job, JobFailure *ret) {
        const JobDevice *d = &job->devices[job->failed < job->n_devices ? job->failed : 0];

        if (job->result == -ECHILD) {
                blame_text(ret, "the worker for %s died while it was to %s", ADDRESS(d->lease.address),
                           step_to_string(d->step));
        } else if (d->step == STEP_FIND_HOLDERS && d->error == -EBUSY) {
                blame_holders(job, ret);
        } else if (d->step == STEP_CLAIM && (d->error == -EPERM || d->error == -EINVAL || d->error == -EBUSY)) {
                blame_claim(b, l, job, ret);
        } else if ((d->step == STEP_CLAIM || d->step == STEP_OPEN) && d->error == -ENOENT) {
                blame_text(ret, "%s has no VFIO character device: this kernel lacks iommufd or CONFIG_VFIO_DEVICE_CDEV",
                           ADDRESS(d->lease.address));
                ret->error_name = ERROR_NOT_SUPPORTED;
        } else if (d->error == -ESTALE) {
                blame_text(ret, "%s changed its driver while the request was judged; ask again",
                           ADDRESS(d->lease.address));
                ret->error_name = ERROR_DEVICE_BUSY;
        } else if (d->error == -ENODEV && d->step != STEP_BIND) {
                blame_text(ret, "%s went away", ADDRESS(d->lease.address));
                ret->error_name = ERROR_NO_SUCH_DEVICE;
        } else {
                blame_text(ret, "%s: the kernel refuses to %s (%s): %s", ADDRESS(d->lease.address),
                           step_to_string(d->step), isempty(d->lease.driver) ? "no driver" : d->lease.driver,
                           strerror(-(d->error < 0 ? d->error : job->result)));
                ret->error_name = ERROR_KERNEL_REFUSED;
        }
}
