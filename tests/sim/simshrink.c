/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simrun.h"

#define TRIES_MAX 800

typedef struct Shrinking {
        const Episode *episode;
        Flaw flaw;
        StepList *steps;
        unsigned tries;
} Shrinking;

static void remove_steps(StepList *l, size_t at, size_t n) {
        memmove(l->items + at, l->items + at + n, (l->n - at - n) * sizeof(*l->items));
        l->n -= n;
}

/* What comes after the failure has nothing to do with it. */
static void cut_after(StepList *l, unsigned step) {
        while (l->n > 0 && l->items[l->n - 1] > step)
                l->n--;
}

/* Does the same go wrong without these? Then they stay out. */
static bool leave_out(Shrinking *s, size_t at, size_t n) {
        _cleanup_free_ StepList *fewer = malloc(sizeof(*fewer));
        Failure failure;
        Tally tally = {};

        if (!fewer)
                abort();
        *fewer = *s->steps;
        remove_steps(fewer, at, n);
        s->tries++;
        if (episode_run(s->episode, fewer, false, &tally, &failure) || failure.flaw != s->flaw)
                return false;
        cut_after(fewer, failure.step);
        *s->steps = *fewer;
        return true;
}

/* One pass over the list, in pieces of this size. Returns whether any could be left out. */
static bool pass(Shrinking *s, size_t size) {
        bool any = false;

        for (size_t at = 0; at < s->steps->n && s->tries < TRIES_MAX;) {
                if (leave_out(s, at, MIN(size, s->steps->n - at)))
                        any = true;
                else
                        at += size;
        }
        return any;
}

unsigned simshrink_steps(const Episode *e, const Failure *failure, StepList *steps) {
        Shrinking s = { .episode = e, .flaw = failure->flaw, .steps = steps };

        cut_after(steps, failure->step);
        for (size_t size = steps->n / 2; size > 1; size /= 2)
                (void) pass(&s, size);
        while (pass(&s, 1))
                ;
        return s.tries;
}
