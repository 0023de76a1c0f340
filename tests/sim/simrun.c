/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "sim/simrun.h"

#define SCAN_DEVICES 200 /* larger machines are not looked at as a whole after every step */
#define SCAN_STRIDE  64

typedef enum Event {
        EVENT_ACQUIRE,
        EVENT_HAND_OVER,
        EVENT_CLIENT,
        EVENT_JOIN,
        EVENT_LEAVE,
        EVENT_WISH,
        EVENT_RELEASE,
        EVENT_GO_ON,
        EVENT_HOST,
        EVENT_LOOK,
        EVENT_REVOKE,
        EVENT_TIME,
        EVENT_FUNCTIONS,
        /* These not while an operation takes long. */
        EVENT_LIMIT,
        EVENT_RESTART,
        EVENT_END,
        _EVENT_MAX,
} Event;

static const struct {
        const char *name;
        unsigned weight;
} events[_EVENT_MAX] = {
        [EVENT_ACQUIRE] = { "acquire", 150 },
        [EVENT_HAND_OVER] = { "hand over", 150 },
        [EVENT_CLIENT] = { "client acts", 300 },
        [EVENT_RELEASE] = { "lifeline closed", 100 },
        [EVENT_GO_ON] = { "go on with a release", 220 },
        [EVENT_JOIN] = { "devices are added", 40 },
        [EVENT_LEAVE] = { "a device is removed", 20 },
        [EVENT_WISH] = { "a reset or a PASID is asked for", 20 },
        [EVENT_HOST] = { "host acts", 70 },
        [EVENT_LOOK] = { "the daemon looks", 20 },
        [EVENT_FUNCTIONS] = { "virtual functions are made or removed", 20 },
        [EVENT_REVOKE] = { "a lease is revoked", 20 },
        [EVENT_TIME] = { "time passes", 60 },
        [EVENT_LIMIT] = { "a limit is set", 8 },
        [EVENT_RESTART] = { "daemon restarts", 2 },
        [EVENT_END] = { "all is calmed down", 0 },
};

/* --- what is to be --- */

/* The state of a generator that has nothing to do with those of other numbers. */
static uint64_t derive(uint64_t seed, uint64_t n) {
        uint64_t state = seed ^ (n + 1) * UINT64_C(0xd1342543de82ef95);

        return sim_random(&state);
}

void episode_make(Episode *e, uint64_t seed, unsigned long n, unsigned devices) {
        uint64_t random = derive(seed, n);
        unsigned kind = sim_below(&random, 3);

        *e = (Episode) {
                .seed = sim_random(&random),
                .n_steps = EPISODE_STEPS,
                /* A third of the machines is without faults: there, more leases get in each other's way. */
                .rate = kind == 0   ? 0
                        : kind == 1 ? 30
                                    : 300,
        };
        e->topology = (SimTopology) {
                .seed = sim_random(&random),
                .no_iommufd = sim_below(&random, 10) == 0,
                .vfio_makes_functions = sim_below(&random, 3) == 0,
                .n_devices = sim_below(&random, 30) == 0 ? 1000 + sim_below(&random, 5000) : 8 + sim_below(&random, 50),
        };
        if (devices > 0)
                e->topology.n_devices = devices;
}

void episode_all_steps(const Episode *e, StepList *ret) {
        for (ret->n = 0; ret->n < e->n_steps; ret->n++)
                ret->items[ret->n] = (unsigned) ret->n;
}

static Event choose(SimDaemon *d, Event end) {
        unsigned sum = 0, n;

        for (Event e = 0; e < end; e++)
                sum += events[e].weight;
        n = daemon_below(d, sum);
        for (Event e = 0; e < end; e++) {
                if (n < events[e].weight)
                        return e;
                n -= events[e].weight;
        }
        return EVENT_CLIENT;
}

/* --- what happens --- */

/* Some lease, unless a worker is at it. */
static Tenant *some_tenant(SimDaemon *d, Event event) {
        Tenant *t = d->n_tenants ? d->tenants[daemon_below(d, (unsigned) d->n_tenants)] : NULL;

        if (!t || t->busy || t->lease->state == LEASE_PREPARING)
                return NULL;
        return event == EVENT_GO_ON || event == EVENT_REVOKE || t->lease->state == LEASE_ACTIVE ? t : NULL;
}

static void act_on(SimDaemon *d, Tenant *t, Event event) {
        switch (event) {
        case EVENT_HAND_OVER:
                if (!t->handed && simrevoke_lives(d, t->client))
                        world_hand_over(d, t);
                break;
        case EVENT_JOIN:
                join_some(d, t);
                break;
        case EVENT_LEAVE:
                join_leave_some(d, t);
                break;
        case EVENT_WISH:
                world_wish(d, t);
                break;
        case EVENT_RELEASE:
                release_begin(d, t, "the lifeline was closed");
                break;
        case EVENT_REVOKE:
                simrevoke_start(d, t);
                break;
        default:
                (void) release_go_on(d, t);
        }
}

static void act(SimDaemon *d, Event event) {
        Tenant *t;

        switch (event) {
        case EVENT_ACQUIRE:
                (void) daemon_acquire(d);
                break;
        case EVENT_CLIENT:
                world_client(d);
                break;
        case EVENT_HOST:
                world_host(d);
                break;
        case EVENT_LOOK:
                simlook(d);
                break;
        case EVENT_FUNCTIONS:
                simvirtual_change(d);
                break;
        case EVENT_TIME:
                simrevoke_pass_time(d);
                break;
        case EVENT_LIMIT:
                simquota_change(d);
                break;
        case EVENT_RESTART:
                daemon_restart(d);
                break;
        case EVENT_END:
                world_calm_down(d);
                break;
        default:
                t = some_tenant(d, event);
                if (t)
                        act_on(d, t, event);
        }
        daemon_sync_hotplug(d);
}

/* While an operation takes long the world goes on, and other workers are at work. */
static void go_on_meanwhile(void *userdata) {
        SimDaemon *d = userdata;
        unsigned n = 1 + daemon_below(d, 8);

        if (d->depth + 1 == JOBS_MAX || d->starting)
                return;
        d->depth++;
        d->n_nested++;
        for (unsigned i = 0; i < n; i++)
                act(d, choose(d, EVENT_LIMIT));
        d->depth--;
}

/* --- episodes --- */

static void tell_step(const SimDaemon *d, unsigned step, Event event, unsigned long from) {
        const Sim *s = d->sim;

        printf("  step %u: %s\n", step, events[event].name);
        if (s->n_trace - from > SIM_TRACE)
                from = s->n_trace - SIM_TRACE;
        for (unsigned long i = from; i < s->n_trace; i++) {
                const SimTrace *t = &s->trace[i % SIM_TRACE];

                printf("    job %lu: %s %s -> %d\n", t->job, t->op, ADDRESS(t->address), t->result);
        }
}

/* Returns false if something is wrong. */
static bool run_step(const Episode *e, SimDaemon *d, unsigned step, bool tell) {
        unsigned long trace = d->sim->n_trace;
        bool end = step == EPISODE_STEPS;
        Event event;

        d->random = derive(e->seed, 2 * (uint64_t) step);
        d->sim->random = derive(e->seed, 2 * (uint64_t) step + 1);
        event = end ? EVENT_END : choose(d, EVENT_END);
        act(d, event);
        if (end || d->sim->n_devices <= SCAN_DEVICES || step % SCAN_STRIDE == 0) {
                model_check(&d->model);
                simquota_check(d);
                simpasid_check(d);
        }
        if (tell)
                tell_step(d, step, event, trace);
        return d->model.flaw == FLAW_NONE;
}

static void add_up(Tally *t, const SimDaemon *d) {
        t->episodes++;
        if (t->devices_max < d->sim->n_devices)
                t->devices_max = d->sim->n_devices;
        t->kernel_ops += d->sim->n_ops;
        t->jobs += d->sim->n_jobs;
        t->leases += d->n_leases;
        t->refused += d->n_refused;
        t->failed += d->n_failed;
        t->hung += d->n_hung;
        t->died += d->n_died;
        t->restarts += d->n_restarts;
        t->broken += d->n_broken;
        t->busy += d->n_busy;
        t->nested += d->n_nested;
        t->joined += d->n_joined;
        t->left += d->n_left;
        t->resets += d->n_resets;
        t->hot_resets += d->n_hot_resets;
        t->changes += d->n_changes;
        t->killed += d->n_killed;
        t->given_up += d->n_given_up;
        t->pasids_refused += d->n_pasids_refused;
        t->over_quota += d->n_over_quota;
        for (unsigned i = 0; i < _SIM_FAULT_MAX; i++)
                t->faults[i] += d->sim->n_faults[i];
}

bool episode_run(const Episode *e, const StepList *steps, bool tell, Tally *tally, Failure *ret) {
        _cleanup_(sim_freep) Sim *s = sim_new(&e->topology);
        SimDaemon *d = calloc(1, sizeof(*d));
        bool good = true;

        if (!d)
                abort();
        daemon_init(d, s);
        s->delayed = go_on_meanwhile;
        s->rate = e->rate;
        s->meanwhile_rate = 50;
        for (size_t i = 0; i <= steps->n && good; i++) {
                ret->step = i < steps->n ? steps->items[i] : EPISODE_STEPS;
                good = run_step(e, d, ret->step, tell);
                tally->steps++;
        }
        ret->flaw = d->model.flaw;
        memcpy(ret->text, d->model.text, sizeof(ret->text));
        add_up(tally, d);
        daemon_clear(d);
        free(d);
        return good;
}
