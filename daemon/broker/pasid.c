/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/pasid.h"
#include "broker/release.h"

static void on_changed(Job *job, void *userdata) {
        LeasePart *part = userdata;
        pasid_done_t done = TAKE(part->pasid_done, NULL);

        part->task = NULL;
        done(job->result, part->pasid_userdata);
        /* Something may have waited for the worker. */
        part->run->broker->hooks->worker_done(part->run->broker, part->run->lease);
        release_continue(part->run);
}

static bool is_it(const LeaseRun *run, size_t i, const void *userdata) {
        return &run->lease->devices[i] == userdata;
}

int pasid_start(LeaseRun *run, const LeaseDevice *d, const PasidOrder *order, pasid_done_t done, void *userdata) {
        RunDevice *rd = &run->devices[run_index(run, d)];
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        LeasePart *part = rd->part;
        int r;

        if (!job)
                return -ENOMEM;
        if (run->lease->hand_over != HAND_OVER_ATTACHED || rd->fd < 0)
                return -EOPNOTSUPP;
        if (part->task || part->preparation)
                return -EBUSY;
        run_make_job(run, JOB_PASID, is_it, d, job);
        job->device_fd = rd->fd;
        job->pasid = *order;
        r = task_start(run->broker->tasks, job, on_changed, part, &part->task);
        if (r < 0)
                return r == -EWOULDBLOCK ? -EBUSY : r;
        part->pasid_done = done;
        part->pasid_userdata = userdata;
        return 0;
}
