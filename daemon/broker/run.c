/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/run.h"
#include "core/partition.h"
#include "system/journal.h"
#include "util/fd.h"

LeaseRun *run_free(LeaseRun *run) {
        LeaseRun **link;

        if (!run)
                return NULL;
        for (link = &run->broker->runs; *link; link = &(*link)->next) {
                if (*link != run)
                        continue;
                *link = run->next;
                break;
        }
        sd_event_source_disable_unref(run->timer);
        sd_event_source_disable_unref(run->revoke_timer);
        lifeline_free(run->lifeline);
        fd_close(run->lifeline_write);
        run_close_fds(run);
        free(run->fds);
        free(run->part_of);
        free(run->parts);
        free(run->holders);
        free(run);
        return NULL;
}

int run_new(Broker *b, Lease *l, LeaseRun **ret) {
        _cleanup_(run_freep) LeaseRun *run = calloc(1, sizeof(*run));
        size_t n = l->n_devices;

        if (!run)
                return -ENOMEM;
        run->broker = b;
        run->lease = l;
        run->lifeline_write = run->iommufd = -EBADF;
        run->fds = calloc(n, sizeof(int));
        run->part_of = calloc(n, sizeof(size_t));
        run->holders = calloc(n, sizeof(Holders));
        if (!run->fds || !run->part_of || !run->holders)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                run->fds[i] = -EBADF;
        run->n_parts = partition_devices(l->devices, n, run->part_of);
        run->parts = calloc(run->n_parts, sizeof(LeasePart));
        if (!run->parts)
                return -ENOMEM;
        for (size_t i = 0; i < run->n_parts; i++)
                run->parts[i].run = run;
        run->next = b->runs;
        b->runs = run;
        *ret = TAKE_PTR(run);
        return 0;
}

LeaseRun *run_find(const Broker *b, const Lease *l) {
        LeaseRun *run = b->runs;

        while (run && run->lease != l)
                run = run->next;
        return run;
}

void run_make_job(const LeaseRun *run, JobKind kind, size_t part, Job *ret) {
        const Lease *l = run->lease;

        memset(ret, 0, offsetof(Job, devices));
        ret->kind = kind;
        ret->hand_over = l->hand_over;
        ret->restore = l->restore;
        ret->per_process = l->per_process;
        ret->iommufd = run->iommufd;
        ret->ioas = run->ioas;
        ret->inotify_fd = watch_fd(run->broker->watch);
        for (size_t i = 0; i < l->n_devices && ret->n_devices < JOB_DEVICES_MAX; i++)
                if (part == SIZE_MAX || run->part_of[i] == part)
                        ret->devices[ret->n_devices++] = (JobDevice){ .lease = l->devices[i], .fd = -EBADF };
}

void run_take_results(LeaseRun *run, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *from = &job->devices[i];
                LeaseDevice *to = lease_device(run->lease, from->lease.address);
                size_t at = (size_t) (to - run->lease->devices);

                run->holders[at] = from->holders;
                if (job->kind == JOB_HOLDERS)
                        continue;
                /* What happened in the daemon meanwhile (the client closed it) is not undone by an older copy. */
                bool closed = to->closed, taken = to->taken;

                *to = from->lease;
                to->closed = closed;
                to->taken = taken;
                if (from->fd >= 0) {
                        fd_close(run->fds[at]);
                        run->fds[at] = TAKE_FD(from->fd);
                }
        }
}

bool run_is_busy(const LeaseRun *run) {
        for (size_t i = 0; i < run->n_parts; i++)
                if (run->parts[i].task)
                        return true;
        return run->open_task || run->holders_task;
}

void run_close_fds(LeaseRun *run) {
        for (size_t i = 0; run->fds && i < run->lease->n_devices; i++)
                run->fds[i] = fd_close(run->fds[i]);
        run->iommufd = fd_close(run->iommufd);
}

void run_save(const LeaseRun *run) {
        int r = store_save_lease(&run->broker->store, run->lease);

        if (r < 0)
                journal_log(LOG_ERR, "Cannot write the file of lease %s, a restart would not know it as it is: %s",
                            run->lease->id, strerror(-r));
}
