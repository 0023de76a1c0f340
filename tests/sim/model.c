/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "sim/model.h"
#include "util/text.h"

const char *model_flaw_to_string(Flaw f) {
        static const char *const names[_FLAW_MAX] = {
                [FLAW_LEDGER] = "the ledger contradicts itself",
                [FLAW_NOT_AS_BEFORE] = "a device is not as it was before, and not called broken",
                [FLAW_NO_REASON] = "a device is broken without a reason",
                [FLAW_EXPOSED] = "a host driver beside descriptors that were handed out",
                [FLAW_STILL_OPEN] = "a lease ended with an open descriptor",
                [FLAW_OLD_DESCRIPTOR] = "a descriptor outlived its lease",
                [FLAW_UNDO] = "a failed preparation was not undone",
                [FLAW_CALLED_OPEN] = "a failed preparation calls a device open whose descriptor it has closed",
                [FLAW_PREPARED] = "a preparation did not do what it says",
                [FLAW_LEAK] = "something is left over",
                [FLAW_QUOTA] = "PASIDs are not as booked",
                [FLAW_REFUSED] = "the ledger refuses what it should take",
                [FLAW_RESET_SET] = "a reset set was lent, and that is not true",
                [FLAW_FUNCTIONS] = "virtual functions are not as they should be",
                [FLAW_KILLED] = "the wrong ones were killed",
                [FLAW_UNSEEN] = "a worker overlooks something",
                [FLAW_RESET_ON_HOST] = "a device was reset under its host driver",
                [FLAW_BREACH] = "the machine was mistreated",
        };

        return f < _FLAW_MAX && names[f] ? names[f] : "no flaw";
}

void model_init(Model *m, Sim *s, const Ledger *ledger) {
        *m = (Model) {
                .sim = s,
                .ledger = ledger,
                .homes = calloc(s->n_devices, sizeof(Home)),
                .disturbed = calloc(s->n_groups, sizeof(bool)),
        };
        if (!m->homes || !m->disturbed)
                abort();
        for (size_t i = 0; i < s->n_devices; i++)
                model_settle(m, &s->devices[i]);
}

void model_clear(Model *m) {
        free(m->homes);
        free(m->disturbed);
        m->homes = NULL;
        m->disturbed = NULL;
}

Home *model_home(Model *m, const SimDevice *d) {
        return &m->homes[d - m->sim->devices];
}

void model_settle(Model *m, const SimDevice *d) {
        Home *h = model_home(m, d);

        (void) text_copy(h->driver, sizeof(h->driver), sim_driver_name(m->sim, d));
        (void) text_copy(h->override, sizeof(h->override), d->override);
}

void model_found(Model *m, Flaw flaw, const SimDevice *d, const char *text) {
        if (m->flaw != FLAW_NONE)
                return;
        m->flaw = flaw;
        (void) snprintf(m->text, sizeof(m->text), "%s%s%s", d ? ADDRESS(d->facts.address) : "", d ? ": " : "", text);
}

static void check_breaches(Model *m) {
        for (unsigned i = 0; i < _SIM_BREACH_MAX; i++) {
                if (m->n_breaches[i] == m->sim->n_breaches[i])
                        continue;
                m->n_breaches[i] = m->sim->n_breaches[i];
                model_found(m, i == SIM_BREACH_RESET_ON_HOST ? FLAW_RESET_ON_HOST : FLAW_BREACH,
                            sim_device(m->sim, m->sim->breached), sim_breach_to_string(i));
        }
}

static bool as_before(Model *m, const SimDevice *d) {
        const Home *h = model_home(m, d);

        return streq(sim_driver_name(m->sim, d), h->driver) && streq(d->override, h->override);
}

static void check_unleased(Model *m, const SimDevice *d, const Device *x) {
        const Home *h = model_home(m, d);
        char text[256] = "";

        if (x->state == DEVICE_BROKEN) {
                if (isempty(x->reason))
                        model_found(m, FLAW_NO_REASON, d, "broken without a reason");
                return;
        }
        if (as_before(m, d))
                return;
        text_append(text, sizeof(text), "free on \"%s\" with override \"%s\", and it was on \"%s\" with \"%s\"",
                    sim_driver_name(m->sim, d), d->override, h->driver, h->override);
        model_found(m, FLAW_NOT_AS_BEFORE, d, text);
        model_settle(m, d); /* once is enough */
}

static void check_device(Model *m, const SimDevice *d, const Device *x) {
        const SimGroup *g = &m->sim->groups[d->group];

        if (d->n_open == 0)
                model_home(m, d)->foreign = false;
        else if (d->present && x->lease && g->n_host > 0 && !m->disturbed[d->group] && !model_home(m, d)->foreign) {
                model_found(m, FLAW_EXPOSED, d, "handed out, and another member of its group is on a host driver");
                m->disturbed[d->group] = true;
        }
        if (d->present && !x->lease)
                check_unleased(m, d, x);
}

void model_check(Model *m) {
        const char *why = ledger_check(m->ledger);
        size_t next = 0;

        if (why)
                model_found(m, FLAW_LEDGER, NULL, why);
        /* Both lists are in the order of the addresses. */
        for (size_t i = 0; i < m->ledger->inventory.n_devices; i++) {
                const Device *x = m->ledger->inventory.devices[i];

                while (next < m->sim->n_devices &&
                       address_compare(m->sim->devices[next].facts.address, x->facts.address) < 0)
                        next++;
                if (next < m->sim->n_devices)
                        check_device(m, &m->sim->devices[next], x);
        }
        check_breaches(m);
}

static DriverKind wanted_kind(Role role, HandOver hand_over) {
        if (role == ROLE_HELD)
                return DRIVER_NONE;
        return role == ROLE_PARKED && hand_over_is_legacy(hand_over) ? DRIVER_NEIGHBOUR : DRIVER_VFIO;
}

static void check_success(Model *m, const JobDevice *j, const SimDevice *d, const Job *job) {
        HandOver hand_over = job->hand_over;
        const SimGroup *g = &m->sim->groups[d->group];
        DriverKind kind = sim_driver_kind(m->sim, d);
        bool opens = j->lease.role == ROLE_LEASED && hand_over != HAND_OVER_NONE;
        bool anchor = j->lease.role == ROLE_PARKED && job->anchor;
        bool has_cdev = anchor || (opens && hand_over_has_iommufd(hand_over));

        if (kind != wanted_kind(j->lease.role, hand_over))
                model_found(m, FLAW_PREPARED, d, "prepared, and on a wrong driver");
        else if (g->n_host > 0 && !m->disturbed[d->group])
                model_found(m, FLAW_PREPARED, d, "prepared, and its group is not all ours");
        else if (opens != j->lease.opened || (hand_over != HAND_OVER_GROUP && has_cdev != (j->fd >= 0)))
                model_found(m, FLAW_PREPARED, d, "prepared, and not opened as it should be");
        else if (has_cdev && (d->n_open != 1 || (d->bound_file >= 0) != (anchor || hand_over == HAND_OVER_ATTACHED)))
                model_found(m, FLAW_PREPARED, d, "prepared, and not bound as it should be");
        else if ((g->open_file >= 0) != (hand_over == HAND_OVER_GROUP) ||
                 (g->open_file >= 0 && (m->sim->files[g->open_file].bound == 0 || d->n_open > 0)))
                model_found(m, FLAW_PREPARED, d, "prepared, and its group is not claimed as it should be");
}

void model_check_prepared(Model *m, const Job *job) {
        for (size_t i = 0; i < job->n_devices; i++) {
                const JobDevice *j = &job->devices[i];
                const SimDevice *d = sim_device(m->sim, j->lease.address);

                if (job->result < 0 && j->lease.opened)
                        /* Nobody will see another close of it, so its release would wait for ever. */
                        model_found(m, FLAW_CALLED_OPEN, d, "closed after a failed preparation, and still called open");
                if (!d->present)
                        continue;
                if (job->result >= 0)
                        check_success(m, j, d, job);
                else if ((j->fd >= 0 && !(j->stays && job->anchor)) || m->sim->groups[d->group].open_file >= 0 ||
                         (d->n_open > (j->fd >= 0) && !model_home(m, d)->foreign))
                        model_found(m, FLAW_UNDO, d, "the preparation failed and left a descriptor");
                else if (!j->touched && !j->stays && !as_before(m, d))
                        /* As with a restore: the same ENODEV. */
                        model_found(m, FLAW_NOT_AS_BEFORE, d, "the preparation failed and left it changed, untold");
                else if (j->touched == j->lease.released)
                        model_found(m, FLAW_UNDO, d, "the undo is not sure whether it succeeded");
        }
}

void model_check_close(Model *m, const Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                const SimDevice *d = sim_device(m->sim, l->devices[i].address);

                if (d->present && d->n_open > 0 && !model_home(m, d)->foreign)
                        model_found(m, FLAW_STILL_OPEN, d, "its lease has ended and it is still open");
                if (m->sim->groups[d->group].open_file >= 0 && !m->disturbed[d->group])
                        model_found(m, FLAW_STILL_OPEN, d, "its lease has ended and its group is still open");
                m->disturbed[d->group] = false;
        }
}
