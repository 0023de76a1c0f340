/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/run.h"
#include "core/partition.h"
#include "system/journal.h"
#include "util/fd.h"

static void close_fds(LeaseRun *run) {
        for (size_t i = 0; run->devices && i < run->lease->n_devices; i++)
                run->devices[i].fd = fd_close(run->devices[i].fd);
        run->iommufd = fd_close(run->iommufd);
}

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
        close_fds(run);
        while (run->parts) {
                LeasePart *part = run->parts;

                run->parts = part->next;
                free(part);
        }
        while (run->preparations) {
                Preparation *p = run->preparations;

                run->preparations = p->next;
                free(p);
        }
        free(run->devices);
        free(run);
        return NULL;
}

static LeasePart *add_part(LeaseRun *run) {
        LeasePart *part = calloc(1, sizeof(*part));

        if (!part)
                return NULL;
        part->run = run;
        part->next = run->parts;
        run->parts = part;
        return part;
}

/* An old device whose part the new one has to share, since they have a group or a reset set in common. */
static LeasePart *part_of_relative(const LeaseRun *run, size_t first, const LeaseDevice *d) {
        for (size_t i = 0; i < first; i++) {
                LeaseDevice two[2] = { run->lease->devices[i], *d };
                size_t part[2];

                if (partition_devices(two, 2, part) == 1)
                        return run->devices[i].part;
        }
        return NULL;
}

/* Joins two parts into one; -EBUSY if a worker is at one of them. */
static int merge_parts(LeaseRun *run, LeasePart *into, LeasePart *from) {
        LeasePart **link = &run->parts;

        if (into == from)
                return 0;
        if (into->task || from->task)
                return -EBUSY;
        for (size_t i = 0; i < run->lease->n_devices; i++)
                if (run->devices[i].part == from)
                        run->devices[i].part = into;
        while (*link != from)
                link = &(*link)->next;
        *link = from->next;
        free(from);
        return 0;
}

/* Parts whose devices have all left. */
static void drop_empty_parts(LeaseRun *run, size_t n) {
        LeasePart **link = &run->parts;

        while (*link) {
                LeasePart *part = *link;
                bool empty = !part->task && !part->preparation;

                for (size_t i = 0; i < n && empty; i++)
                        empty = run->devices[i].part != part;
                if (!empty) {
                        link = &part->next;
                        continue;
                }
                *link = part->next;
                free(part);
        }
}

int run_extend(LeaseRun *run, size_t first) {
        size_t n = run->lease->n_devices;
        _cleanup_free_ size_t *part = calloc(n + 1, sizeof(size_t));
        RunDevice *grown = reallocarray(run->devices, n + 1, sizeof(*grown));
        int r;

        if (grown)
                run->devices = grown;
        if (!grown || !part)
                return -ENOMEM;
        drop_empty_parts(run, first);
        for (size_t i = first; i < n; i++)
                run->devices[i] = (RunDevice) { .fd = -EBADF };
        (void) partition_devices(run->lease->devices + first, n - first, part);
        for (size_t i = first; i < n; i++) {
                LeasePart *old = part_of_relative(run, first, &run->lease->devices[i]);

                /* The first of its part makes it; an old relative is joined by all of it. */
                for (size_t j = first; j < i && !run->devices[i].part; j++)
                        if (part[j - first] == part[i - first])
                                run->devices[i].part = run->devices[j].part;
                if (old && (old->task || old->preparation))
                        return -EBUSY;
                if (!run->devices[i].part)
                        run->devices[i].part = old ?: add_part(run);
                if (!run->devices[i].part)
                        return -ENOMEM;
                r = old ? merge_parts(run, old, run->devices[i].part) : 0;
                if (r < 0)
                        return r;
        }
        return 0;
}

int run_new(Broker *b, Lease *l, LeaseRun **ret) {
        _cleanup_(run_freep) LeaseRun *run = calloc(1, sizeof(*run));
        int r;

        if (!run)
                return -ENOMEM;
        run->broker = b;
        run->lease = l;
        run->lifeline_write = run->iommufd = -EBADF;
        r = run_extend(run, 0);
        if (r < 0)
                return r;
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

bool run_has_to_go(const LeaseRun *run, size_t i) {
        const LeaseDevice *d = &run->lease->devices[i];

        return (lease_is_ending(run->lease) || d->leaving) && !d->released;
}

const Holders *run_holders(const Broker *b, const Lease *l, size_t i) {
        const LeaseRun *run = run_find(b, l);

        return run && run_has_to_go(run, i) ? &run->devices[i].holders : NULL;
}

bool run_is_lifeline(const Broker *b, const Lease *l, int fd) {
        const LeaseRun *run = run_find(b, l);

        return run && run->lifeline && lifeline_is(run->lifeline, fd);
}

void run_make_job(const LeaseRun *run, JobKind kind, run_wanted_t wanted, const void *userdata, Job *ret) {
        const Lease *l = run->lease;

        job_init(ret, kind);
        ret->hand_over = l->hand_over;
        /* Without the iommufd, which was lost with an earlier daemon, nothing can be bound to it. */
        ret->anchor = l->reset_set && hand_over_has_iommufd(l->hand_over) && run->iommufd >= 0;
        ret->restore = l->restore;
        ret->per_process = l->per_process;
        ret->has_pasids = l->pasids > 0;
        ret->iommufd = run->iommufd;
        ret->ioas = run->ioas;
        ret->inotify_fd = watch_fd(run->broker->watch);
        for (size_t i = 0; i < l->n_devices && ret->n_devices < JOB_DEVICES_MAX; i++)
                if (wanted(run, i, userdata))
                        ret->devices[ret->n_devices++] = (JobDevice) { .lease = l->devices[i], .fd = -EBADF };
}

/* A look that was not finished is no news. One that stood before an unbind has found somebody, or left out virtual functions. */
static bool has_looked(const Job *job, const JobDevice *d) {
        if (job->kind == JOB_PREPARE)
                return false;
        if (job->result >= 0)
                return true;
        if (job->kind == JOB_HOLDERS || job->result == -ECHILD)
                return false;
        if (job->result == -EBUSY)
                return d->holders.n > 0;
        for (size_t i = 0; i < job->n_devices; i++)
                if (job->devices[i].error < 0 && job->devices[i].step != STEP_FIND_HOLDERS)
                        return true; /* it was refused after all had been looked at */
        return false;
}

void run_take_results(LeaseRun *run, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *from = &job->devices[i];
                LeaseDevice *to = lease_device(run->lease, from->lease.address);
                RunDevice *rd;

                if (!to)
                        continue; /* it left while somebody only looked */
                rd = &run->devices[run_index(run, to)];
                if (has_looked(job, from) && run_has_to_go(run, run_index(run, to))) {
                        rd->holders = from->holders;
                        rd->looked = true;
                }
                if (job->kind == JOB_HOLDERS)
                        continue;
                /* What happened in the daemon meanwhile (the client closed it) is not undone by an older copy. */
                bool closed = to->closed, taken = to->taken, leaving = to->leaving, asked = to->asked;

                *to = from->lease;
                to->closed = closed;
                to->taken = taken;
                to->leaving = leaving;
                to->asked = asked;
                if (from->fd >= 0) {
                        fd_close(rd->fd);
                        rd->fd = TAKE_FD(from->fd);
                }
        }
}

bool run_is_busy(const LeaseRun *run) {
        for (const LeasePart *part = run->parts; part; part = part->next)
                if (part->task)
                        return true;
        return run->open_task || run->holders_task || run->revoke_task || run->ask_task;
}

void run_save(const LeaseRun *run) {
        int r = store_save_lease(&run->broker->store, run->lease);

        if (r < 0)
                journal_log(LOG_ERR, "Cannot write the file of lease %s, a restart would not know it as it is: %s",
                            run->lease->id, strerror(-r));
}
