/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/keep.h"
#include "core/fdname.h"
#include "system/journal.h"
#include "util/fd.h"

#define WATCH_NAME "watch"

static FdName name_of(const LeaseRun *run, const LeaseDevice *d) {
        bool group = run->lease->hand_over == HAND_OVER_GROUP;
        FdName n = {};

        memcpy(n.lease, run->lease->id, sizeof(n.lease));
        if (d) {
                n.kind = group ? FD_GROUP : FD_DEVICE;
                n.address = d->address;
        } else {
                n.kind = group ? FD_CONTAINER : FD_IOMMUFD;
                n.ioas = group ? 0 : run->ioas;
        }
        return n;
}

/* Returns true if systemd was told to close it. d: NULL for the iommufd or container. */
static bool update(LeaseRun *run, const LeaseDevice *d, int fd, bool *stored) {
        FdName n = name_of(run, d);
        char name[FDNAME_MAX];
        int r;

        if ((fd >= 0) == *stored)
                return false;
        fdname_encode(&n, name);
        if (*stored) {
                fdstore_remove(run->broker->fdstore, name);
                *stored = false;
                return true;
        }
        r = fdstore_put(run->broker->fdstore, name, fd);
        *stored = r >= 0;
        if (r < 0 && r != -EOPNOTSUPP && r != -ENOSPC)
                journal_log(LOG_WARNING, "Lease %s: systemd does not keep %s over a restart: %s", run->lease->id, name,
                            strerror(-r));
        return false;
}

bool keep_update(LeaseRun *run) {
        bool removed;

        /* Most of what is being prepared leaves the daemon with the answer. */
        if (run->lease->state == LEASE_PREPARING)
                return false;
        removed = update(run, NULL, run->iommufd, &run->iommufd_stored);
        for (size_t i = 0; i < run->lease->n_devices; i++)
                removed = update(run, &run->lease->devices[i], run->devices[i].fd, &run->devices[i].stored) || removed;
        return removed;
}

int keep_close(LeasePart *part, run_wanted_t wanted, task_done_t done) {
        _cleanup_free_ Job *job = malloc(sizeof(*job));
        LeaseRun *run = part->run;

        if (!job)
                return -ENOMEM;
        run_make_job(run, JOB_CLOSE, wanted, part, job);
        job->iommufd = -EBADF;
        if (job->n_devices == 0)
                return 0;
        for (size_t i = 0; i < job->n_devices; i++) {
                const LeaseDevice *d = lease_device(run->lease, job->devices[i].lease.address);

                job->devices[i].fd = TAKE_FD(run->devices[run_index(run, d)].fd);
        }
        job->barrier = keep_update(run) ? fdstore_barrier() : -EBADF;
        return task_start(run->broker->tasks, job, done, part, &part->task) < 0 ? 0 : 1;
}

/* Does the lease still need it? d: NULL for the iommufd or container. */
static bool is_needed(const LeaseRun *run, const LeaseDevice *d) {
        const Lease *l = run->lease;
        bool copies = l->hand_over == HAND_OVER_ATTACHED || l->hand_over == HAND_OVER_GROUP;

        if (d && d->released)
                return false;
        /* What goes is closed by the release. */
        if (l->state != LEASE_ACTIVE || (d && d->leaving))
                return l->state != LEASE_BROKEN;
        if (!d)
                return copies || l->reset_set;
        return d->role == ROLE_LEASED ? copies || !d->taken : d->role == ROLE_PARKED && l->reset_set;
}

/* Where the descriptor of this name belongs in the run. False: nowhere. */
static bool find_place(LeaseRun *run, const FdName *n, const LeaseDevice **ret_device, int **ret_fd,
                       bool **ret_stored) {
        const LeaseDevice *d = NULL;
        size_t i;

        if (n->kind == FD_DEVICE || n->kind == FD_GROUP) {
                d = lease_device(run->lease, n->address);
                if (!d)
                        return false;
        }
        if (name_of(run, d).kind != n->kind)
                return false;
        i = d ? run_index(run, d) : 0;
        *ret_device = d;
        *ret_fd = d ? &run->devices[i].fd : &run->iommufd;
        *ret_stored = d ? &run->devices[i].stored : &run->iommufd_stored;
        return true;
}

static void take_back(LeaseRun *run, const FdName *n, StoredFd *from) {
        Kernel *k = run->broker->kernel;
        const LeaseDevice *d;
        bool *stored;
        int *fd, r;

        if (!find_place(run, n, &d, &fd, &stored) || *fd >= 0 || !is_needed(run, d))
                return;
        r = k->ops->check_fd(k, from->fd, n->kind, n->address, d ? d->group : -1);
        if (r < 0) {
                journal_log(LOG_WARNING, "Lease %s: what systemd has kept as %s is something else: %s", run->lease->id,
                            from->name, strerror(-r));
                return;
        }
        if (n->kind == FD_IOMMUFD)
                run->ioas = n->ioas;
        *fd = TAKE_FD(from->fd);
        *stored = true;
}

void keep_take_back(LeaseRun *run) {
        FdStore *s = run->broker->fdstore;
        FdName n;

        for (size_t i = 0; i < s->n_back; i++)
                if (s->back[i].fd >= 0 && fdname_decode(s->back[i].name, &n) >= 0 && streq(n.lease, run->lease->id))
                        take_back(run, &n, &s->back[i]);
}

/* systemd goes by the name: with a wrong descriptor the right one went, too. */
static void put_again(LeaseRun *run, const char *name) {
        for (size_t i = 0; i <= run->lease->n_devices; i++) {
                const LeaseDevice *d = i == 0 ? NULL : &run->lease->devices[i - 1];
                bool *stored = d ? &run->devices[i - 1].stored : &run->iommufd_stored;
                FdName n = name_of(run, d);
                char own[FDNAME_MAX];

                fdname_encode(&n, own);
                *stored = *stored && !streq(own, name);
        }
        (void) keep_update(run);
}

void keep_close_rest(Broker *b) {
        FdStore *s = b->fdstore;

        for (size_t i = 0; i < s->n_back; i++) {
                if (s->back[i].fd < 0)
                        continue;
                journal_log(LOG_WARNING, "Closing the descriptor %s of systemd's store: no lease needs it",
                            s->back[i].name);
                task_close(b->tasks, TAKE_FD(s->back[i].fd));
                fdstore_remove(s, s->back[i].name);
                if (streq(s->back[i].name, WATCH_NAME))
                        keep_watch(s, b->watch);
                for (LeaseRun *run = b->runs; run; run = run->next)
                        put_again(run, s->back[i].name);
        }
}

int keep_take_back_watch(FdStore *s) {
        for (size_t i = 0; i < s->n_back; i++)
                if (streq(s->back[i].name, WATCH_NAME) && watch_is(s->back[i].fd))
                        return TAKE_FD(s->back[i].fd);
        return -EBADF;
}

void keep_watch(FdStore *s, const Watch *w) {
        int r = fdstore_put(s, WATCH_NAME, watch_fd(w));

        if (r < 0 && r != -EOPNOTSUPP)
                journal_log(LOG_WARNING, "systemd does not keep the watch over a restart: %s", strerror(-r));
}
