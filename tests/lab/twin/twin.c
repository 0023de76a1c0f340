/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>
#include <stdio.h>

#include "twin/act.h"
#include "util/text.h"

/* twin [--wrong] SEED SEQUENCES STEPS ADDRESS...: does the same random operations of kernel.h to the machine that it runs on and to a
 * simulated one that is described after it, and compares what they say. The devices named are its to use: nobody else may have them.
 * --wrong: the simulated machine has no VFIO drivers, so the two have to differ. */

#define COMPARE_STRIDE 4 /* to look at everything takes longer than to do something */

unsigned twin_below(Twin *t, unsigned n) {
        return sim_below(&t->random, n);
}

void twin_note(Twin *t, const char *format, ...) {
        size_t n = strlen(t->history);
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(t->history + n, sizeof(t->history) - n, format, ap);
        va_end(ap);
        text_append(t->history, sizeof(t->history), "\n");
}

static void differ(Twin *t) {
        if (!t->differs)
                printf("DIFFERS after\n%s", t->history);
        t->differs = true;
}

void twin_same(Twin *t, const char *what, long real, long sim) {
        t->n_compared++;
        if (real == sim)
                return;
        differ(t);
        printf("  %s: the kernel %ld, the simulator %ld\n", what, real, sim);
}

void twin_result(Twin *t, const char *what, long real, long sim) {
        size_t i;

        for (i = 0; i < t->n_outcomes && !(streq(t->outcomes[i].what, what) && t->outcomes[i].result == real); i++)
                ;
        if (i < OUTCOMES_MAX) {
                t->outcomes[i].what = what;
                t->outcomes[i].result = real;
                t->outcomes[i].n++;
                t->n_outcomes = i == t->n_outcomes ? i + 1 : t->n_outcomes;
        }
        twin_same(t, what, real, sim);
}

/* Which results there were of each. */
static void summarize(const Twin *t) {
        for (size_t i = 0; i < t->n_outcomes; i++) {
                const char *what = t->outcomes[i].what;
                bool told = false;

                for (size_t j = 0; j < i; j++)
                        told = told || streq(t->outcomes[j].what, what);
                if (told)
                        continue;
                printf("%s:", what);
                for (size_t j = i; j < t->n_outcomes; j++)
                        if (streq(t->outcomes[j].what, what))
                                printf(" %ld x %lu", t->outcomes[j].result, t->outcomes[j].n);
                printf("\n");
        }
}

void twin_same_text(Twin *t, const char *what, const char *real, const char *sim) {
        t->n_compared++;
        if (streq(real, sim))
                return;
        differ(t);
        printf("  %s: the kernel \"%s\", the simulator \"%s\"\n", what, real, sim);
}

/* Returns false if the two differ. */
static bool run_sequence(Twin *t, uint64_t seed, unsigned long steps, bool wrong) {
        t->random = seed;
        t->differs = false;
        t->history[0] = '\0';
        t->favourite = seed * TWIN_NEIGHBOURS % t->n_devices;
        t->sim = describe_machine(t, wrong);
        for (unsigned long i = 0; i < steps && !t->differs; i++) {
                act_randomly(t);
                t->n_operations++;
                if (!t->differs && i % COMPARE_STRIDE == 0)
                        compare_all(t);
        }
        act_clean_up(t);
        if (!t->differs)
                compare_all(t);
        t->sim = sim_free(t->sim);
        return !t->differs;
}

static bool parse(Twin *t, int argc, char **argv, uint64_t numbers[static 3]) {
        DeviceFacts f;

        if (argc < 5 || (size_t) argc - 4 > TWIN_DEVICES_MAX)
                return false;
        for (int i = 0; i < 3; i++)
                if (text_to_u64(argv[i + 1], UINT32_MAX, &numbers[i]) < 0)
                        return false;
        for (int i = 4; i < argc; i++, t->n_devices++) {
                Address *a = &t->devices[t->n_devices];

                if (address_parse(argv[i], a) < 0 || t->real->ops->read_device(t->real, *a, &f) < 0)
                        return false;
                (void) text_copy(t->hosts[t->n_devices], NAME_MAX_LEN, f.driver);
        }
        return true;
}

int main(int argc, char **argv) {
        static const char *const modules[] = { "vfio_pci", "pci_stub", "vfio_iommu_type1", "iommufd", "igbvf" };
        static Twin t;
        char driver[NAME_MAX_LEN];
        unsigned long bad = 0;
        uint64_t numbers[3];
        bool wrong = argc > 1 && streq(argv[1], "--wrong");

        setvbuf(stdout, NULL, _IOLBF, 0);
        if (kernel_linux_new("", &t.real) < 0 || !parse(&t, argc - wrong, argv + wrong, numbers)) {
                fprintf(stderr, "usage: twin [--wrong] SEED SEQUENCES STEPS ADDRESS...\n");
                return 2;
        }
        for (size_t i = 0; i < ARRAY_SIZE(modules); i++)
                (void) t.real->ops->load_module(t.real, modules[i], driver);
        virtual_learn(&t);
        for (uint64_t i = 0; i < numbers[1]; i++)
                if (!run_sequence(&t, numbers[0] + i, numbers[2], wrong)) {
                        printf("again: twin %llu 1 %llu with the same devices\n", (unsigned long long) (numbers[0] + i),
                               (unsigned long long) numbers[2]);
                        bad++;
                }
        summarize(&t);
        printf("%lu operations and %lu comparisons in %llu sequences, of which %lu differ\n", t.n_operations,
               t.n_compared, (unsigned long long) numbers[1], bad);
        kernel_linux_free(t.real);
        return bad > 0;
}
