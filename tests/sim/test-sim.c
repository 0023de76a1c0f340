/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "sim/simdaemon.h"
#include "util/text.h"

/* Random sequences of everything that can happen to a machine with leases, each judged by the oracle after every step.
 * The same seed gives the same sequence. */

#define HISTORY      20
#define EPISODE      4000 /* steps until a new machine is built */
#define SCAN_DEVICES 200  /* larger machines are not looked at as a whole after every step */

typedef enum Event {
        EVENT_ACQUIRE,
        EVENT_HAND_OVER,
        EVENT_CLIENT,
        EVENT_RELEASE,
        EVENT_GO_ON,
        EVENT_HOST,
        EVENT_RESTART,
        EVENT_END,
        _EVENT_MAX,
} Event;

static const char *const event_names[_EVENT_MAX] = {
        [EVENT_ACQUIRE] = "acquire",         [EVENT_HAND_OVER] = "hand over",        [EVENT_CLIENT] = "client acts",
        [EVENT_RELEASE] = "lifeline closed", [EVENT_GO_ON] = "go on with a release", [EVENT_HOST] = "host acts",
        [EVENT_RESTART] = "daemon restarts", [EVENT_END] = "all is calmed down",
};

typedef struct Run {
        uint64_t seed;
        unsigned long ops, done;
        unsigned devices;
        bool strict;
        Event history[HISTORY];
        unsigned long kernel_ops, jobs, leases, refused, failed, hung, died, restarts, broken, busy;
        unsigned long faults[_SIM_FAULT_MAX];
        unsigned known[_FLAW_MAX];
} Run;

static Event choose(SimDaemon *d) {
        unsigned n = daemon_below(d, 1000);

        if (n < 150)
                return EVENT_ACQUIRE;
        if (n < 300)
                return EVENT_HAND_OVER;
        if (n < 600)
                return EVENT_CLIENT;
        if (n < 700)
                return EVENT_RELEASE;
        if (n < 920)
                return EVENT_GO_ON;
        return n < 998 ? EVENT_HOST : EVENT_RESTART;
}

static void act(SimDaemon *d, Event event) {
        Tenant *t = d->n_tenants ? d->tenants[daemon_below(d, (unsigned) d->n_tenants)] : NULL;

        switch (event) {
        case EVENT_ACQUIRE:
                (void) daemon_acquire(d);
                break;
        case EVENT_HAND_OVER:
                if (t && t->lease->state == LEASE_ACTIVE && !t->handed)
                        world_hand_over(d, t);
                break;
        case EVENT_CLIENT:
                world_client(d);
                break;
        case EVENT_RELEASE:
                if (t && t->lease->state == LEASE_ACTIVE)
                        release_begin(d, t, "the lifeline was closed");
                break;
        case EVENT_GO_ON:
                if (t && t->lease->state == LEASE_RELEASING)
                        (void) release_go_on(d, t);
                break;
        case EVENT_HOST:
                world_host(d);
                break;
        case EVENT_RESTART:
                daemon_restart(d);
                break;
        default:
                world_calm_down(d);
        }
        daemon_sync_hotplug(d);
}

static void report(const Run *run, SimDaemon *d, unsigned long step) {
        const Sim *s = d->sim;

        printf("FAILED at step %lu of seed %llu: %s\n", step, (unsigned long long) run->seed, d->model.text);
        printf("again: test-sim --seed %llu --ops %lu --devices %u%s\n", (unsigned long long) run->seed, step + 1,
               run->devices, run->strict ? " --strict" : "");
        for (unsigned long i = step < HISTORY ? 0 : step - HISTORY + 1; i <= step; i++)
                printf("  step %lu: %s\n", i, event_names[run->history[i % HISTORY]]);
        printf("the last operations on the kernel:\n");
        for (unsigned long i = s->n_trace < HISTORY ? 0 : s->n_trace - HISTORY; i < s->n_trace; i++) {
                const SimTrace *t = &s->trace[i % SIM_TRACE];

                printf("  job %lu: %s %s -> %d\n", t->job, t->op, ADDRESS(t->address), t->result);
        }
}

/* True if something was found that ends the run. */
static bool is_wrong(Run *run, SimDaemon *d) {
        bool wrong = d->model.flaw != FLAW_NONE && (run->strict || d->model.known[d->model.flaw] == 0);

        if (!wrong)
                d->model.flaw = FLAW_NONE;
        return wrong;
}

static void add_up(Run *run, const SimDaemon *d) {
        run->kernel_ops += d->sim->n_ops;
        run->jobs += d->sim->n_jobs;
        run->leases += d->n_leases;
        run->refused += d->n_refused;
        run->failed += d->n_failed;
        run->hung += d->n_hung;
        run->died += d->n_died;
        run->restarts += d->n_restarts;
        run->broken += d->n_broken;
        run->busy += d->n_busy;
        for (unsigned i = 0; i < _SIM_FAULT_MAX; i++)
                run->faults[i] += d->sim->n_faults[i];
        for (unsigned i = 0; i < _FLAW_MAX; i++)
                run->known[i] += d->model.known[i];
}

/* One machine from its beginning to its end. Returns false if something is wrong. */
static bool run_episode(Run *run, SimDaemon *d, unsigned long steps) {
        unsigned long stride = d->sim->n_devices > SCAN_DEVICES ? 64 : 1;

        for (unsigned long i = 0; i <= steps; i++) {
                Event event = i == steps ? EVENT_END : choose(d);

                run->history[run->done % HISTORY] = event;
                act(d, event);
                if (run->done % stride == 0 || event == EVENT_END)
                        model_check(&d->model);
                if (is_wrong(run, d)) {
                        report(run, d, run->done);
                        return false;
                }
                run->done++;
        }
        return true;
}

static bool run_all(Run *run) {
        uint64_t random = run->seed;

        while (run->done < run->ops) {
                unsigned kind = sim_below(&random, 10);
                SimTopology topology = { .seed = sim_random(&random), .no_iommufd = kind == 9 };
                _cleanup_(sim_freep) Sim *s = NULL;
                SimDaemon *d = calloc(1, sizeof(*d));
                bool good;

                if (!d)
                        abort();
                topology.n_devices = run->devices ? run->devices : kind == 0 ? 1500 : 8 + sim_below(&random, 50);
                s = sim_new(&topology);
                daemon_init(d, s, sim_random(&random));
                /* A third of the machines is without faults: there, more leases get in each other's way. */
                s->rate = kind % 3 == 0 ? 0 : kind % 3 == 1 ? 30 : 300;
                s->meanwhile_rate = 50;
                good = run_episode(run, d, MIN((unsigned long) EPISODE, run->ops - run->done));
                add_up(run, d);
                daemon_clear(d);
                free(d);
                if (!good)
                        return false;
        }
        return true;
}

static void summarize(const Run *run, double seconds) {
        printf("seed %llu: %lu steps, %lu jobs with %lu kernel operations in %.1f s "
               "(%.0f steps/s, %.0f operations/s)\n",
               (unsigned long long) run->seed, run->done, run->jobs, run->kernel_ops, seconds,
               (double) run->done / seconds, (double) run->kernel_ops / seconds);
        printf("%lu leases, %lu requests refused, %lu preparations failed, %lu restores found holders, "
               "%lu devices broken\n",
               run->leases, run->refused, run->failed, run->busy, run->broken);
        printf("%lu workers hung, %lu killed, %lu restarts of the daemon; faults: %lu errors, %lu hangs, %lu pulled, "
               "%lu deaths\n",
               run->hung, run->died, run->restarts, run->faults[SIM_FAULT_ERRNO], run->faults[SIM_FAULT_HANG],
               run->faults[SIM_FAULT_VANISH], run->faults[SIM_FAULT_DEATH]);
        for (unsigned i = 0; i < _FLAW_MAX; i++)
                if (run->known[i] > 0)
                        printf("KNOWN, not mended yet: %s, %u times\n", model_flaw_to_string(i), run->known[i]);
}

static bool number(const char *s, uint64_t max, uint64_t *ret) {
        if (text_to_u64(s, max, ret) >= 0)
                return true;
        fprintf(stderr, "test-sim: not a number that it can use: %s\n", s);
        return false;
}

static bool parse(int argc, char **argv, Run *run) {
        static const struct option options[] = {
                { "seed", required_argument, NULL, 's' },
                { "ops", required_argument, NULL, 'o' },
                { "devices", required_argument, NULL, 'd' },
                { "strict", no_argument, NULL, 'S' },
                {},
        };
        uint64_t value;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 'S') {
                        run->strict = true;
                        continue;
                }
                if (c == '?' || !number(optarg, c == 'd' ? 100000 : UINT64_MAX, &value))
                        return false;
                if (c == 's')
                        run->seed = value;
                else if (c == 'o')
                        run->ops = value;
                else
                        run->devices = (unsigned) value;
        }
        return optind == argc;
}

/* With sanitizers each takes ten times as long, and what they look for shows early. */
#ifdef __SANITIZE_ADDRESS__
#define OPS_DEFAULT 150000
#else
#define OPS_DEFAULT 1000000
#endif

int main(int argc, char **argv) {
        Run run = { .seed = 1, .ops = OPS_DEFAULT };
        struct timespec begin, end;
        bool good;

        if (!parse(argc, argv, &run)) {
                fprintf(stderr, "usage: test-sim [--seed N] [--ops N] [--devices N] [--strict]\n");
                return 2;
        }
        (void) clock_gettime(CLOCK_MONOTONIC, &begin);
        good = run_all(&run);
        (void) clock_gettime(CLOCK_MONOTONIC, &end);
        summarize(&run, (double) (end.tv_sec - begin.tv_sec) + (double) (end.tv_nsec - begin.tv_nsec) / 1e9 + 1e-9);
        printf("%d passed, %d failed\n", good, !good);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
