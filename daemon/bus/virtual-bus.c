/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus/virtual-bus.h"
#include "broker/look.h"
#include "broker/virtual.h"
#include "bus/options.h"
#include "bus/verdict.h"
#include "core/errors.h"
#include "core/virtual.h"
#include "system/journal.h"

/* One SetVirtualFunctions. Like Acquire (acquire-bus.c) it is entered from the top each time something that it waited for has come:
 *
 *   1. Who asks, for how many? Too many calls under way?              -> refusal
 *   2. virtual_judge_change(): first what makes no sense at all       -> refusal
 *   3. each authorization that it needs and has no verdict yet        -> polkit is asked, back to 1 when it has answered
 *   4. what does the host use the virtual functions for? (a worker)   -> back to 1
 *   5. what blocks now blocks                                         -> refusal
 *   6. virtual_start()                                                -> on_changed() answers
 */

typedef struct Judgement {
        Request request; /* the virtual functions, to be looked at */
        Options options;
        Client *client;
        uint32_t n;
        Device *pf;
        Findings findings;
} Judgement;

static void judgement_freep(Judgement **j) {
        if (!*j)
                return;
        client_free((*j)->client);
        findings_clear(&(*j)->findings);
        free(*j);
}

/* Step 1. Returns 0 while the bus is asked who it is. */
static int begin(Bus *bus, sd_bus_message *m, Judgement *j, Call **ret, sd_bus_error *error) {
        Address a;
        int r;

        r = bus_enter(bus, m, ret, &j->client, error);
        if (r <= 0)
                return r;
        r = sd_bus_message_read(m, "u", &j->n);
        if (r >= 0)
                r = options_read(m, OPTIONS_VIRTUAL, &j->request, &j->options, error);
        if (r >= 0)
                r = bus_path_to_address(sd_bus_message_get_path(m), &a);
        if (r < 0)
                return r;
        virtual_refresh(bus->broker, a);
        j->pf = inventory_device(&bus->broker->ledger.inventory, a);
        return j->pf ? 1 : sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE, "there is no device %s any more", ADDRESS(a));
}

static void on_changed(const char *error_name, const char *text, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;

        if (error_name)
                (void) bus_refuse(bus, c->message, c->client, error_name, "%s", text);
        else
                call_answer(c);
}

/* Step 4. Only what goes can be missed. */
static int look(Bus *bus, Call *c, Judgement *j) {
        const Device *vf;
        int r = 1;

        if (j->n == 0)
                VIRTUAL_FOREACH (&bus->broker->ledger.inventory, j->pf, vf)
                        (void) address_list_add(&j->request.devices, vf->facts.address);
        if (j->request.devices.n > 0)
                r = look_start(bus->broker, &j->request, call_on_looked, c);
        if (r == 0)
                c->looking = true;
        else if (r > 0)
                call_on_looked(0, c);
        return r;
}

/* Steps 5 and 6. */
static int start(Bus *bus, sd_bus_message *m, Call *c, Judgement *j) {
        const Finding *f = verdict_first_block(&j->findings, false);
        bool is_there = j->pf->facts.virtual_functions == j->n;
        Address a = j->pf->facts.address;
        int r;

        if (f)
                return verdict_refuse(bus, m, j->client, f);
        client_free(c->client);
        c->client = TAKE_PTR(j->client);
        r = is_there ? virtual_check(bus->broker, a, j->n) : virtual_start(bus->broker, a, j->n, on_changed, c);
        if (r == -EWOULDBLOCK)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY,
                                  "a worker is still at work on %s or one of its virtual functions; try again later",
                                  ADDRESS(a));
        if (r < 0)
                return verdict_give_up(bus, m, c->client, r, NULL);
        if (is_there)
                call_answer(c);
        else
                journal_virtual_functions(&c->client->caller, a, j->n);
        return 1;
}

int virtual_bus_method_set(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(judgement_freep) Judgement *j = calloc(1, sizeof(*j));
        Bus *bus = userdata;
        const Finding *f;
        Call *c = NULL;
        bool fresh;
        int r;

        if (!j)
                return -ENOMEM;
        r = begin(bus, m, j, &c, error);
        if (r == 0)
                return 1;
        fresh = c && TAKE(c->looked, false);
        if (r >= 0 && fresh)
                r = c->look_result;
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        virtual_judge_change(&bus->broker->ledger.inventory, j->pf, j->n, j->request.force_in_use, &j->client->caller,
                             &j->findings);
        if (j->findings.out_of_memory)
                return verdict_give_up(bus, m, j->client, -ENOMEM, error);
        f = verdict_first_block(&j->findings, true);
        if (f)
                return verdict_refuse(bus, m, j->client, f);
        r = verdict_authorize(bus, m, j->client, NULL, &j->findings, error);
        if (r > 0 && fresh)
                return start(bus, m, c, j);
        if (r > 0)
                r = look(bus, c, j);
        return r < 0 ? verdict_give_up(bus, m, j->client, r, error) : 1;
}
