/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "worker/revoke.h"
#include "util/text.h"

int revoke_request(Kernel *k, Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];
                int r;

                d->step = STEP_FIND_HOLDERS;
                r = k->ops->find_holders(k, d->lease.address, &d->holders);
                if (r < 0 && r != -ENODEV)
                        return r;
                d->step = STEP_REQUEST;
                /* The daemon is one of them where it has kept a descriptor. */
                for (size_t j = 0; j < d->holders.n && !d->requested; j++)
                        d->requested = k->ops->request_device(k, d->lease.address, d->holders.holders[j].pid) >= 0;
        }
        return 0;
}

/* Whoever makes processes faster than they are killed has his cgroup for it, or is named. */
#define LOOKS_MAX 64

/* Processes that may be killed, each held by a pidfd so that its number cannot become another's. */
typedef struct Targets {
        ProcessFacts facts[HOLDERS_MAX + 1];
        int pidfds[HOLDERS_MAX + 1];
        size_t n;
} Targets;

static void clear(Kernel *k, Targets *t) {
        for (size_t i = 0; i < t->n; i++)
                k->ops->close_fd(k, t->pidfds[i]);
        t->n = 0;
}

static int add(Kernel *k, int pid, Targets *t) {
        int fd;

        for (size_t i = 0; i < t->n; i++)
                if (t->facts[i].pid == pid)
                        return 0;
        fd = k->ops->open_process(k, pid, &t->facts[t->n]);
        if (fd < 0)
                return fd == -ESRCH ? 0 : fd;
        t->pidfds[t->n++] = fd;
        return 0;
}

static int add_holders(Kernel *k, const Holders *holders, Targets *t) {
        int r = 0;

        for (size_t i = 0; i < holders->n && r >= 0; i++)
                r = add(k, holders->holders[i].pid, t);
        return r;
}

static bool has(const Holders *holders, int pid) {
        for (size_t i = 0; i < holders->n; i++)
                if (holders->holders[i].pid == pid)
                        return true;
        return false;
}

static int kill_target(Kernel *k, Job *job, const Targets *t, size_t i) {
        int r = k->ops->kill_process(k, t->pidfds[i]);

        if (r < 0)
                return r == -ESRCH ? 0 : r;
        text_append(job->killed, sizeof(job->killed), " %d", t->facts[i].pid);
        return 0;
}

/* Whom it was lent to, whether he is seen with it or not: a mapping of it holds it, too, and a descriptor can be on its way. */
static int kill_client(Kernel *k, Job *job, Targets *t) {
        int r = add(k, job->rule.pid, t);

        if (r >= 0 && t->n > 0 && job->rule.process != 0 && t->facts[0].id == job->rule.process &&
            revoke_may_kill(&job->rule, &t->facts[0]))
                r = kill_target(k, job, t, 0);
        clear(k, t);
        return r;
}

/* before: those of an earlier look. Returns 1 if somebody was killed who is none of them. */
static int kill_holders(Kernel *k, Job *job, JobDevice *d, const Holders *before, Targets *t) {
        bool progress = false;
        int r;

        d->step = STEP_FIND_HOLDERS;
        r = k->ops->find_holders(k, d->lease.address, &d->holders);
        d->step = STEP_KILL;
        if (r >= 0)
                r = add_holders(k, &d->holders, t);
        /* Those that are held fast now, and that are still there: a number that was found may have been given out anew before. */
        if (r >= 0 && t->n > 0)
                r = k->ops->find_holders(k, d->lease.address, &d->holders);
        for (size_t i = 0; i < t->n && r >= 0; i++)
                if (has(&d->holders, t->facts[i].pid) && revoke_may_kill(&job->rule, &t->facts[i])) {
                        r = kill_target(k, job, t, i);
                        progress = progress || !has(before, t->facts[i].pid);
                }
        clear(k, t);
        return r < 0 ? r : progress;
}

/* One look finds so many of them and no more: then it looks again, as long as there are fewer of them each time. */
static int kill_all_holders(Kernel *k, Job *job, JobDevice *d, Targets *t) {
        Holders before = {};
        int r = 1;

        for (size_t look = 0; look < LOOKS_MAX && r > 0; look++) {
                r = kill_holders(k, job, d, &before, t);
                if (!d->holders.more)
                        break;
                before = d->holders;
        }
        return r;
}

static int kill_cgroup(Kernel *k, Job *job, Targets *t) {
        /* Of devices that are gone no holders are seen: what the cgroup is counts all the same. */
        RevokeCgroup may = revoke_may_kill_cgroup(&job->rule, NULL, 0);
        int r = 0;

        for (size_t i = 0; i < job->n_devices && may == REVOKE_CGROUP_MAY && r >= 0; i++) {
                JobDevice *d = &job->devices[i];

                d->step = STEP_FIND_HOLDERS;
                r = k->ops->find_holders(k, d->lease.address, &d->holders);
                if (r == -ENODEV) {
                        r = 0;
                        continue;
                }
                if (r >= 0)
                        r = add_holders(k, &d->holders, t);
                if (r >= 0)
                        may = revoke_may_kill_cgroup(&job->rule, t->facts, t->n);
                /* Somebody who was not looked at may be one who is to be spared. */
                if (d->holders.more)
                        may = REVOKE_CGROUP_OTHERS;
                clear(k, t);
        }
        if (r < 0)
                return r;
        job->cgroup_spared = may;
        if (may != REVOKE_CGROUP_MAY)
                return 0;
        r = k->ops->kill_cgroup(k, job->rule.cgroup, job->rule.cgroup_id);
        if (r >= 0)
                text_append(job->killed, sizeof(job->killed), " all of %s", job->rule.cgroup);
        return r == -ESTALE ? 0 : r;
}

int revoke_kill(Kernel *k, Job *job) {
        Targets t = {};
        int r, error = 0;

        if (job->whole_cgroup)
                return kill_cgroup(k, job, &t);
        error = kill_client(k, job, &t);
        for (size_t i = 0; i < job->n_devices; i++) {
                r = kill_all_holders(k, job, &job->devices[i], &t);
                if (r < 0 && r != -ENODEV && error >= 0) {
                        job->failed = i;
                        error = r;
                }
        }
        return error;
}
