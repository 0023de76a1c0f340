/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <time.h>

#include "sim/simrun.h"
#include "util/text.h"

/* Random runs. The same seed gives the same run; what goes wrong is shrunk to the steps that it takes, and told. */

typedef struct Options {
        uint64_t seed, steps, devices, episode;
        bool one;         /* only this episode... */
        StepList *list;   /* ... and of that only these steps, NULL for all */
        bool expect_flaw; /* the test fails if nothing is found */
} Options;

static void print_again(const Options *o, unsigned long episode, const StepList *steps) {
        printf("again: test-sim --seed %llu --episode %lu", (unsigned long long) o->seed, episode);
        if (o->devices > 0)
                printf(" --devices %llu", (unsigned long long) o->devices);
        printf(" --only ");
        for (size_t i = 0; i < steps->n; i++)
                printf("%s%u", i > 0 ? "," : "", steps->items[i]);
        printf("\n");
}

/* Returns whether the shrunk list fails as well. */
static bool report(const Options *o, unsigned long n, const Episode *e, const Failure *failure, StepList *steps) {
        size_t before = steps->n;
        Tally tally = {};
        Failure again;
        unsigned tries;

        printf("FAILED at step %u of episode %lu, with %u devices: %s: %s\n", failure->step, n, e->topology.n_devices,
               model_flaw_to_string(failure->flaw), failure->text);
        tries = simshrink_steps(e, failure, steps);
        printf("%zu of %zu steps do it (%u tries):\n", steps->n, before, tries);
        (void) episode_run(e, steps, true, &tally, &again);
        printf("%s\n", again.text);
        print_again(o, n, steps);
        return again.flaw == failure->flaw;
}

/* Returns whether all is as it should be. */
static bool run_all(const Options *o, Tally *tally) {
        _cleanup_free_ StepList *steps = malloc(sizeof(*steps));
        unsigned long n = o->episode;
        Failure failure;
        Episode e;

        if (!steps)
                abort();
        do {
                episode_make(&e, o->seed, n, (unsigned) o->devices);
                episode_all_steps(&e, steps);
                if (o->list)
                        *steps = *o->list;
                if (!episode_run(&e, steps, o->list != NULL, tally, &failure))
                        return report(o, n, &e, &failure, steps) && o->expect_flaw;
                n++;
        } while (!o->one && tally->steps < o->steps);
        return !o->expect_flaw;
}

static void summarize(const Options *o, const Tally *t, double seconds) {
        printf("seed %llu: %lu steps, %lu jobs with %lu kernel operations in %.1f s (%.0f steps/s, %.0f operations/s)\n",
               (unsigned long long) o->seed, t->steps, t->jobs, t->kernel_ops, seconds, (double) t->steps / seconds,
               (double) t->kernel_ops / seconds);
        printf("%lu machines, the largest with %lu devices; %lu leases, %lu requests refused (%lu for PASIDs), %lu preparations "
               "failed, %lu restores found holders, %lu devices broken\n",
               t->episodes, t->devices_max, t->leases, t->refused, t->over_quota, t->failed, t->busy, t->broken);
        printf("%lu devices joined a lease, %lu left one, %lu resets by wish (%lu of a whole reset set), %lu PASIDs refused by the "
               "gate, %lu changes of virtual functions, %lu processes killed, %lu leases given up\n",
               t->joined, t->left, t->resets, t->hot_resets, t->pasids_refused, t->changes, t->killed, t->given_up);
        printf("%lu workers hung, %lu killed, %lu restarts of the daemon; faults: %lu errors, %lu delays (%lu with others at work "
               "meanwhile), %lu hangs, %lu pulled, %lu deaths\n",
               t->hung, t->died, t->restarts, t->faults[SIM_FAULT_ERRNO], t->faults[SIM_FAULT_DELAY], t->nested,
               t->faults[SIM_FAULT_HANG], t->faults[SIM_FAULT_VANISH], t->faults[SIM_FAULT_DEATH]);
}

static bool number(const char *s, uint64_t max, uint64_t *ret) {
        if (text_to_u64(s, max, ret) >= 0)
                return true;
        fprintf(stderr, "test-sim: not a number that it can use: %s\n", s);
        return false;
}

/* "3,17,29", ascending; "" for the end alone. */
static bool parse_list(char *text, StepList **ret) {
        StepList *l = calloc(1, sizeof(*l));
        char *saved = NULL;
        uint64_t step;

        if (!l)
                abort();
        *ret = l;
        for (char *s = strtok_r(text, ",", &saved); s; s = strtok_r(NULL, ",", &saved)) {
                if (!number(s, EPISODE_STEPS - 1, &step))
                        return false;
                if (l->n > 0 && l->items[l->n - 1] >= step)
                        return number("steps that do not ascend", 0, &step);
                l->items[l->n++] = (unsigned) step;
        }
        return true;
}

static bool parse(int argc, char **argv, Options *o) {
        static const struct option options[] = {
                { "seed", required_argument, NULL, 's' },
                { "steps", required_argument, NULL, 'n' },
                { "devices", required_argument, NULL, 'd' },
                { "episode", required_argument, NULL, 'e' },
                { "only", required_argument, NULL, 'o' },
                { "expect-flaw", no_argument, NULL, 'x' },
                {},
        };
        bool good = true;
        int c;

        while (good && (c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                if (c == 's')
                        good = number(optarg, UINT64_MAX, &o->seed);
                else if (c == 'n')
                        good = number(optarg, UINT64_MAX, &o->steps);
                else if (c == 'd')
                        good = number(optarg, 100000, &o->devices);
                else if (c == 'e')
                        good = o->one = number(optarg, UINT64_MAX, &o->episode);
                else if (c == 'o')
                        good = !o->list && parse_list(optarg, &o->list);
                else if (c == 'x')
                        o->expect_flaw = true;
                else
                        good = false;
        }
        return good && optind == argc && (!o->list || o->one);
}

int main(int argc, char **argv) {
        Options o = { .seed = 1, .steps = 1000000 };
        struct timespec begin, end;
        Tally tally = {};
        bool good;

        if (!parse(argc, argv, &o)) {
                fprintf(stderr,
                        "usage: test-sim [--seed N] [--steps N] [--devices N] [--expect-flaw] [--episode N [--only STEP,...]]\n");
                free(o.list);
                return 2;
        }
        setvbuf(stdout, NULL, _IOLBF, 0);
        (void) clock_gettime(CLOCK_MONOTONIC, &begin);
        good = run_all(&o, &tally);
        (void) clock_gettime(CLOCK_MONOTONIC, &end);
        summarize(&o, &tally,
                  (double) (end.tv_sec - begin.tv_sec) + (double) (end.tv_nsec - begin.tv_nsec) / 1e9 + 1e-9);
        printf("%d passed, %d failed\n", good, !good);
        free(o.list);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
