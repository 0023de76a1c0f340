/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/reset.h"
#include "broker/release.h"

/* Which descriptor can reset the device, and what is the least that it can reset? -EBADF: none. */
static int find_descriptor(const LeaseRun *run, const LeaseDevice *d, ResetMethod *ret) {
        const Lease *l = run->lease;

        *ret = RESET_FUNCTION;
        if (l->hand_over == HAND_OVER_ATTACHED && run->devices[run_index(run, d)].fd >= 0)
                return run->devices[run_index(run, d)].fd;
        *ret = RESET_HOT;
        for (size_t i = 0; i < l->n_devices; i++)
                if (l->devices[i].role == ROLE_PARKED && address_equal(l->devices[i].set, d->set) &&
                    run->devices[i].fd >= 0)
                        return run->devices[i].fd;
        return -EBADF;
}

static void on_reset(Job *job, void *userdata) {
        LeasePart *part = userdata;
        reset_done_t done = TAKE(part->reset_done, NULL);

        part->task = NULL;
        done(job->result, job->reset_method, part->reset_userdata);
        /* Something may have waited for the worker. */
        part->run->broker->hooks->worker_done(part->run->broker, part->run->lease);
        release_continue(part->run);
}

static bool is_it(const LeaseRun *run, size_t i, const void *userdata) {
        return &run->lease->devices[i] == userdata;
}

int reset_start(LeaseRun *run, const LeaseDevice *d, reset_done_t done, void *userdata) {
        LeasePart *part = run->devices[run_index(run, d)].part;
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        ResetMethod method;
        int fd, r;

        if (!job)
                return -ENOMEM;
        if (part->task || part->preparation)
                return -EBUSY;
        fd = find_descriptor(run, d, &method);
        if (fd < 0)
                return -EOPNOTSUPP;
        run_make_job(run, JOB_RESET, is_it, d, job);
        job->device_fd = fd;
        job->reset_method = method;
        r = task_start(run->broker->tasks, job, on_reset, part, &part->task);
        if (r < 0)
                return r == -EWOULDBLOCK ? -EBUSY : r;
        part->reset_done = done;
        part->reset_userdata = userdata;
        return 0;
}
