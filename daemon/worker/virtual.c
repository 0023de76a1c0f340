/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/virtual.h"
#include "worker/physical.h"
#include "worker/restore.h"

static int see_holders(Kernel *k, Job *job) {
        for (job->failed = 1; job->failed < job->n_devices; job->failed++) {
                JobDevice *d = &job->devices[job->failed];
                int r;

                d->step = STEP_FIND_HOLDERS;
                r = k->ops->find_holders(k, d->lease.address, &d->holders);
                if (r < 0)
                        return r;
                if (d->holders.n > 0)
                        return -EBUSY;
        }
        return 0;
}

/* One by one, for each unbind waits only for its own device; the removal would wait with more than that locked. */
static int take_off(Kernel *k, Job *job) {
        for (job->failed = 1; job->failed < job->n_devices; job->failed++) {
                JobDevice *d = &job->devices[job->failed];
                DeviceFacts now;
                int r;

                d->step = STEP_UNBIND;
                r = k->ops->read_device(k, d->lease.address, &now);
                if (r < 0)
                        return r;
                if (now.driver_kind != DRIVER_VFIO)
                        continue;
                d->touched = true;
                r = physical_unbind_idle(k, d->lease.address, &d->holders);
                if (d->holders.n > 0)
                        d->step = STEP_FIND_HOLDERS;
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Somebody may have made others or bound them anew, whom nobody has asked for holders. */
static int check_none_on_vfio(Kernel *k, Address pf) {
        DeviceFacts now;
        Address vf;
        int r = 0;

        for (unsigned i = 0; r >= 0 && (r = k->ops->virtual_function(k, pf, i, &vf)) >= 0; i++) {
                r = k->ops->read_device(k, vf, &now);
                if (r >= 0 && now.driver_kind == DRIVER_VFIO)
                        return -ESTALE;
        }
        return r == -ENOENT ? 0 : r;
}

static int remove_all(Kernel *k, Job *job) {
        Address pf = job->devices[0].lease.address;
        int r;

        r = see_holders(k, job);
        if (r >= 0)
                r = take_off(k, job);
        if (r < 0)
                return r;
        job->failed = 0;
        job->devices[0].step = STEP_SET_VIRTUAL_FUNCTIONS;
        r = check_none_on_vfio(k, pf);
        return r < 0 ? r : k->ops->set_virtual_functions(k, pf, 0);
}

static int make(Kernel *k, Job *job) {
        JobDevice *d = &job->devices[0];
        int was, r;

        /* It stays off: the kernel asks for it whenever a driver comes, and a module that is loaded later would take the new functions
         * (pci_device_can_probe in Linux 7.2). An override binds them all the same. */
        d->step = STEP_SET_AUTOPROBE;
        was = k->ops->set_autoprobe(k, d->lease.address, false);
        if (was < 0)
                return was;
        d->step = STEP_SET_VIRTUAL_FUNCTIONS;
        r = k->ops->set_virtual_functions(k, d->lease.address, job->virtual_functions);
        if (r < 0 && was > 0)
                (void) k->ops->set_autoprobe(k, d->lease.address, true);
        return r;
}

/* No unbind, whatever has come in between: what is on a VFIO driver again is as it was, and perhaps in use. */
static void put_back(Kernel *k, Job *job) {
        for (size_t i = 1; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                Step step = d->step;
                int r = d->touched ? restore_give_back(k, job, d) : 0;

                if (i == job->failed)
                        d->step = step;
                else if (r < 0)
                        d->error = r;
        }
}

int virtual_run(Kernel *k, Job *job) {
        int r = job->virtual_functions == 0 ? remove_all(k, job) : make(k, job);

        if (r >= 0)
                return 0;
        job->devices[job->failed].error = r;
        put_back(k, job);
        return r;
}
