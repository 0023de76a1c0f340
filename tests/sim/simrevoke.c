/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simdaemon.h"
#include "util/text.h"

/* Leases are taken back, and the ladder is climbed as broker/revoke.c does it; time passes by steps. Who may be killed is judged here by
 * other means than the worker's: by what is true of the process at the moment of its end. */

#define GRACE_SEC   10
#define RELEASE_SEC 60
#define BUS_PID     99
#define OWN_CGROUP  "/iommud.service"

/* They match nothing: their names are in leases. */
static Reservation reservations[] = {
        { .name = "kill", .match_unit = "none", .at_deadline = AT_DEADLINE_KILL },
        { .name = "kill-cgroup", .match_unit = "none", .at_deadline = AT_DEADLINE_KILL_CGROUP },
};

const char *simrevoke_reservation(SimDaemon *d) {
        unsigned i = daemon_below(d, ARRAY_SIZE(reservations) + 1);

        return i < ARRAY_SIZE(reservations) ? reservations[i].name : "";
}

static bool has_pid(const Sim *s, int pid) {
        return sim_next_fd(s, pid, -1) >= 0;
}

/* A number is given out again when its process has ended. */
static int some_pid(SimDaemon *d) {
        SimProcess *p = &d->sim->processes[daemon_below(d, SIM_PROCESSES_MAX)];
        int pid = p->facts.pid;

        if (!p->killed || pid < SIM_PID_CLIENT || has_pid(d->sim, pid))
                return d->next_pid++;
        p->facts.pid = -1;
        return pid;
}

int simrevoke_process(SimDaemon *d, uid_t uid, const char *cgroup) {
        int pid = some_pid(d);
        SimProcess *p = sim_add_process(d->sim, pid, uid, ++d->next_process, cgroup);

        p->immortal = daemon_below(d, 10) == 0;
        return pid;
}

int simrevoke_child(SimDaemon *d, int parent) {
        const SimProcess *p = sim_process(d->sim, parent);
        bool moves = !p || daemon_below(d, 4) == 0;

        return simrevoke_process(d, p ? p->facts.uid : 1000, moves ? simquota_cgroup(d) : p->facts.cgroup);
}

bool simrevoke_lives(SimDaemon *d, int pid) {
        const SimProcess *p = sim_process(d->sim, pid);

        return !p || !p->killed;
}

void simrevoke_end_process(SimDaemon *d, int pid) {
        SimProcess *p = sim_process(d->sim, pid);

        if (p)
                p->killed = true;
        sim_client_die(d->sim, pid);
}

/* --- who is killed --- */

static bool has_open(Sim *s, int pid, const SimDevice *sd) {
        for (int fd = -1; (fd = sim_next_fd(s, pid, fd)) >= 0;)
                if (sim_is_of(s, &s->fds[fd], sd))
                        return true;
        return false;
}

static bool has_any(SimDaemon *d, int pid, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++)
                if (!l->devices[i].released && has_open(d->sim, pid, sim_device(d->sim, l->devices[i].address)))
                        return true;
        return false;
}

static bool is_inside(const ProcessFacts *p, const Lease *l) {
        return !streq(l->cgroup, "/") && simquota_is_within(p->cgroup, l->cgroup);
}

static const char *why_not(SimDaemon *d, const ProcessFacts *p, bool whole) {
        const Lease *l = d->killing ? d->killing->lease : NULL;
        bool client = l && p->pid == l->pid && p->id == l->process;

        if (!l || !lease_is_ending(l) || d->now < l->revoke_deadline)
                return "it was killed, and no lease of it is over";
        if (isempty(l->reservation) || (whole && !streq(l->reservation, "kill-cgroup")))
                return "it was killed, and nobody has allowed that";
        if (p->pid < SIM_PID_CLIENT)
                return "it was killed, and is none of the clients";
        if (!client && !is_inside(p, l))
                return "it was killed, and has nothing to do with the lease";
        if (p->uid != l->uid && (!whole || (daemon_is_undisturbed(d) && has_any(d, p->pid, l))))
                return "it was killed, and is another user's";
        if (!whole && !client && daemon_is_undisturbed(d) && !has_any(d, p->pid, l))
                return "it was killed, and has nothing of the lease";
        if (whole && (streq(l->cgroup, "/vm.slice") || streq(l->cgroup, "/user.slice")))
                return "a slice was killed";
        return NULL;
}

static void on_kill(void *userdata, const SimProcess *p, bool whole) {
        SimDaemon *d = userdata;
        const char *why = why_not(d, &p->facts, whole);

        d->n_killed++;
        if (why)
                model_found(&d->model, FLAW_KILLED, NULL, why);
}

/* Nobody is left who could be killed for it and was to be seen; with what is pulled nobody is. */
static void check_killed(SimDaemon *d, const Lease *l, const Job *job) {
        Sim *s = d->sim;

        for (size_t i = 0; i < s->n_fds; i++) {
                const SimProcess *p = s->fds[i].file >= 0 ? sim_process(s, s->fds[i].pid) : NULL;

                if (!p || p->immortal || p->facts.uid != l->uid || !is_inside(&p->facts, l))
                        continue;
                for (size_t j = 0; j < job->n_devices; j++) {
                        const SimDevice *sd = sim_device(s, job->devices[j].lease.address);

                        if (sd->present && sim_is_of(s, &s->fds[i], sd))
                                model_found(&d->model, FLAW_KILLED, sd, "somebody has it open who was to be killed");
                }
        }
}

void simrevoke_init(SimDaemon *d) {
        d->now = 1;
        d->config.reservations = reservations;
        d->config.n_reservations = ARRAY_SIZE(reservations);
        d->sim->on_kill = on_kill;
        sim_add_process(d->sim, SIM_PID_DAEMON, 0, ++d->next_process, OWN_CGROUP);
        sim_add_process(d->sim, SIM_PID_FOREIGN, 0, ++d->next_process, "/system.slice/other.service");
}

/* --- climbing --- */

static bool is_stuck(const Lease *l) {
        return lease_is_ending(l) && !lease_all_released(l);
}

static void make_rule(const Lease *l, RevokeRule *ret) {
        *ret = (RevokeRule) {
                .uid = l->uid,
                .pid = l->pid,
                .process = l->process,
                .cgroup_id = sim_cgroup_id(l->cgroup),
                .spared = { SIM_PID_DAEMON, BUS_PID },
        };
        (void) text_copy(ret->cgroup, sizeof(ret->cgroup), l->cgroup);
        (void) text_copy(ret->own_cgroup, sizeof(ret->own_cgroup), OWN_CGROUP);
}

static void arm_for_end(SimDaemon *d, Tenant *t) {
        bool kills = revoke_next(REVOKE_RUNG_ASK, revoke_policy(&d->config, t->lease)) != REVOKE_RUNG_GIVE_UP;
        uint64_t deadline = t->lease->revoke_deadline;

        t->rung = REVOKE_RUNG_ASK;
        t->timer = (deadline > d->now ? deadline : d->now) + (kills ? 0 : GRACE_SEC);
}

static void run(SimDaemon *d, Tenant *t, Job *job) {
        const Tenant *killing = d->killing;
        uint64_t processes = d->next_process;

        d->killing = t;
        t->busy = true;
        (void) (daemon_below(d, 2) ? daemon_run(d, job) : daemon_run_alone(d, job));
        t->busy = false;
        d->killing = killing;
        if (job->kind == JOB_KILL && !d->faulted && job->result >= 0 && !job->whole_cgroup &&
            processes == d->next_process)
                check_killed(d, t->lease, job);
}

static void climb(SimDaemon *d, Tenant *t) {
        RevokeRung next = revoke_next(t->rung, revoke_policy(&d->config, t->lease));
        Lease *l = t->lease;
        Job *job = daemon_job(d, next == REVOKE_RUNG_GIVE_UP ? JOB_HOLDERS : JOB_KILL, l->hand_over);

        t->timer = d->now + GRACE_SEC;
        t->rung = next;
        make_rule(l, &job->rule);
        job->whole_cgroup = next == REVOKE_RUNG_KILL_CGROUP;
        for (size_t i = 0; i < l->n_devices; i++)
                if (!l->devices[i].released)
                        job->devices[job->n_devices++] = (JobDevice) { .lease = l->devices[i], .fd = -EBADF };
        run(d, t, job);
        if (next != REVOKE_RUNG_GIVE_UP || !is_stuck(l))
                return;
        ledger_lease_broken(&d->ledger, l, "it is not let go of");
        daemon_save(t);
        t->timer = 0;
        d->n_given_up++;
}

static void on_timer(SimDaemon *d, Tenant *t) {
        t->timer = 0;
        if (t->lease->state == LEASE_ACTIVE)
                release_begin(d, t, "revoked");
        else if (is_stuck(t->lease))
                climb(d, t);
}

void simrevoke_pass_time(SimDaemon *d) {
        d->now += 1 + daemon_below(d, 30);
        for (size_t i = 0; i < d->n_tenants; i++) {
                Tenant *t = d->tenants[i];

                if (t->timer == 0 || t->timer > d->now || t->busy || t->lease->state == LEASE_PREPARING)
                        continue;
                on_timer(d, t);
                return; /* the list may have changed */
        }
}

/* --- asking --- */

static bool is_bound_and_seen(Sim *s, const SimDevice *sd) {
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i].file >= 0 && s->fds[i].file == sd->bound_file && s->fds[i].pid != SIM_PID_FLIGHT)
                        return true;
        return false;
}

/* Whoever is asked closes what he has, or not. */
static void react(SimDaemon *d, const SimDevice *sd) {
        Sim *s = d->sim;

        for (size_t i = 0; i < s->n_fds && daemon_below(d, 2); i++)
                if (s->fds[i].file >= 0 && s->fds[i].pid >= SIM_PID_CLIENT && s->fds[i].pid < SIM_PID_HUNG &&
                    s->files[s->fds[i].file].device == (int) (sd - s->devices))
                        (void) sim_close(s, (int) i);
}

static void ask(SimDaemon *d, Tenant *t) {
        Job *job = daemon_job(d, JOB_REQUEST, t->lease->hand_over);
        bool busy = t->busy;

        for (size_t i = 0; i < t->lease->n_devices; i++) {
                const LeaseDevice *ld = &t->lease->devices[i];

                if (ld->role == ROLE_LEASED && !ld->joining && !ld->released)
                        job->devices[job->n_devices++] = (JobDevice) { .lease = *ld, .fd = -EBADF };
        }
        t->busy = true;
        (void) daemon_run_alone(d, job);
        t->busy = busy;
        for (size_t i = 0; i < job->n_devices && !d->faulted; i++) {
                SimDevice *sd = sim_device(d->sim, job->devices[i].lease.address);

                if (job->devices[i].requested != (sd->present && sd->listened && is_bound_and_seen(d->sim, sd)))
                        model_found(&d->model, FLAW_UNSEEN, sd, "who listens was not asked to let go of it");
                if (job->devices[i].requested)
                        react(d, sd);
        }
}

void simrevoke_expect(SimDaemon *d, Tenant *t) {
        Lease *l = t->lease;

        if (l->revoke_deadline == 0 || l->revoke_deadline > d->now + RELEASE_SEC)
                l->revoke_deadline = d->now + RELEASE_SEC;
        arm_for_end(d, t);
}

void simrevoke_start(SimDaemon *d, Tenant *t) {
        uint64_t in = daemon_below(d, 3) == 0 ? 0 : 1 + daemon_below(d, 60), deadline = d->now + in;
        Lease *l = t->lease;

        if (l->state != LEASE_BROKEN && in > 0 && l->revoke_deadline > 0 && l->revoke_deadline <= deadline)
                return;
        l->revoke_deadline = deadline;
        t->timer = deadline;
        ask(d, t);
        if (lease_is_ending(l)) {
                ledger_begin_again(&d->ledger, l, "revoked");
                arm_for_end(d, t);
        }
        daemon_save(t);
        if (in == 0 && !lease_is_ending(l))
                release_begin(d, t, "revoked");
}

void simrevoke_resume(SimDaemon *d, Tenant *t) {
        const Lease *l = t->lease;

        t->timer = 0;
        t->rung = REVOKE_RUNG_GIVE_UP;
        if (l->state == LEASE_RELEASING)
                simrevoke_expect(d, t);
        else if (l->state == LEASE_ACTIVE)
                t->timer = l->revoke_deadline;
}
