/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/acquire.h"
#include "broker/limit.h"
#include "broker/look.h"
#include "broker/release.h"
#include "bus/acquire-bus.h"
#include "bus/grant.h"
#include "bus/options.h"
#include "bus/verdict.h"
#include "core/errors.h"
#include "core/examine.h"
#include "core/handover.h"
#include "system/journal.h"
#include "util/text.h"

/* One Acquire or AddDevices. The handler is entered from the top each time something that it waited for has come, and trusts nothing that it
 * looked up the time before:
 *
 *   1. Who asks? Too many calls under way? What is asked?             -> refusals that need no look at the machine
 *   2. examine(): first what is wrong with the request itself         -> refusal
 *   3. each authorization that it needs and has no verdict yet        -> polkit is asked, back to 1 when it has answered
 *   4. the devices are looked at anew (in a worker)                   -> back to 1; what is seen may need another right
 *   5. what blocks now blocks; with "wait" until a device comes free  -> back to 1, or refusal
 *   6. acquire_start() or acquire_join()                              -> on_acquired() or on_joined() answers, grant_deliver()
 *
 * AddDevices goes the same way; its lifeline is proven anew each time.
 */

typedef struct Judgement {
        Request request;
        Options options;
        Client *client;  /* who asks */
        Client *charged; /* in whose name, NULL: its own */
        Lease *lease;    /* that the devices are to join */
        Plan plan;
        Findings findings;
} Judgement;

static void judgement_clear(Judgement *j) {
        client_free(j->client);
        client_free(j->charged);
        plan_clear(&j->plan);
        findings_clear(&j->findings);
}

static void judgement_freep(Judgement **j) {
        if (*j)
                judgement_clear(*j);
        free(*j);
}

/* Step 1, up to the request. Returns 0 while the bus is asked who it is. */
static int begin(Bus *bus, sd_bus_message *m, OptionSet set, Judgement *j, Call **ret, sd_bus_error *error) {
        int r = bus_enter(bus, m, ret, &j->client, error);

        if (r <= 0)
                return r;
        j->request.restore = true;
        if (set == OPTIONS_ADD) {
                r = bus_proven_lease(bus, m, *ret, &j->lease, error);
                if (r < 0)
                        return r;
                j->request.joins = j->lease;
                j->request.hand_over = j->lease->hand_over;
                j->request.hand_over_named = true;
                j->request.restore = j->lease->restore;
                j->request.reset_set = j->lease->reset_set;
        }
        r = options_read_devices(m, false, &j->request.devices, error);
        if (r >= 0)
                r = options_read(m, set, &j->request, &j->options, error);
        return r < 0 ? r : 1;
}

static int examine_now(Bus *bus, Judgement *j) {
        World world = broker_world(bus->broker);
        Caller caller = j->charged ? j->charged->caller : j->client->caller;
        Usage usage = ledger_usage(&bus->broker->ledger, j->lease ? j->lease->uid : caller.uid);

        limit_read_shared(bus->broker, j->charged ? &j->charged->chain : &j->client->chain, caller.shared);
        caller.asker = j->charged ? &j->client->caller : NULL;
        handover_choose(&world, &caller, &j->request);
        return examine(&world, &caller, &usage, &j->request, &j->plan, &j->findings);
}

static bool will_pass(FindingCode code) {
        return code == FINDING_LEASED || code == FINDING_RELEASING || code == FINDING_BUSY ||
               code == FINDING_QUOTA_BOOKED;
}

/* The process to charge: the caller, or another one that a policy client names. Returns 0 while polkit is being asked. */
static int resolve_for(Bus *bus, sd_bus_message *m, Judgement *j, sd_bus_error *error) {
        int r;

        if (j->options.for_fd < 0)
                return 1;
        r = client_from_pidfd(j->options.for_fd, &j->charged);
        if (r == -ESRCH)
                return sd_bus_error_setf(error, ERROR_CLIENT_GONE, "the process to be charged has ended");
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "\"for\" is no pidfd: %s", strerror(-r));
        PolkitQuestion q = {
                .action = ACTION_ACQUIRE_FOR_OTHERS,
                .device = "",
                .unit = j->client->unit,
                .charged = &j->charged->caller,
        };
        return j->client->caller.uid == 0 ? 1 : polkit_check(bus->calls.polkit, m, &q, error);
}

static int on_wait_over(_unused_ sd_event_source *s, _unused_ uint64_t usec, void *userdata) {
        Call *c = userdata;

        c->timer = sd_event_source_disable_unref(c->timer);
        if (c->waiting)
                call_again(c);
        return 0;
}

/* Step 5 with "wait". Returns 1 if the call waits, 0 if its time is over. */
static int wait_for_device(Bus *bus, Call *c, uint64_t wait) {
        uint64_t now;
        int r;

        r = sd_event_now(bus->broker->event, CLOCK_MONOTONIC, &now);
        if (r < 0)
                return r;
        if (c->deadline == 0) {
                c->deadline = now + wait;
                r = sd_event_add_time(bus->broker->event, &c->timer, CLOCK_MONOTONIC, c->deadline, 0, on_wait_over, c);
                if (r < 0)
                        return r;
        }
        if (now >= c->deadline)
                return 0;
        r = call_wait(c);
        return r < 0 ? r : 1;
}

static void on_acquired(Lease *l, _unused_ const AddressList *added, const char *error_name, const char *text,
                        void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;
        int r;

        if (!l) {
                (void) bus_refuse(bus, c->message, c->client, error_name, "%s", text);
                return;
        }
        r = l->memlock > 0 ? client_raise_memlock(c->client, l->memlock) : 0;
        if (r == -ESRCH) {
                release_begin(bus->broker, l, "its client ended before it was ready");
                (void) bus_refuse(bus, c->message, c->client, ERROR_CLIENT_GONE, "the process to be charged has ended");
                return;
        }
        if (r < 0)
                journal_log(LOG_WARNING, "Lease %s: cannot raise RLIMIT_MEMLOCK of pid %d: %s", l->id, (int) l->pid,
                            strerror(-r));
        c->ready = true;
        (void) text_copy(c->lease, sizeof(c->lease), l->id);
        (void) grant_deliver(bus, c);
}

static void on_joined(Lease *l, const AddressList *added, const char *error_name, const char *text, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;

        if (!l) {
                (void) bus_refuse(bus, c->message, c->client, error_name, "%s", text);
                return;
        }
        c->added = malloc(sizeof(*added));
        if (!c->added) {
                release_devices(bus->broker, l, added);
                (void) bus_refuse(bus, c->message, c->client, SD_BUS_ERROR_NO_MEMORY, "out of memory");
                return;
        }
        *c->added = *added;
        c->ready = true;
        (void) text_copy(c->lease, sizeof(c->lease), l->id);
        (void) grant_deliver(bus, c);
}

static int start(Bus *bus, Call *c, Judgement *j) {
        if (j->lease)
                return acquire_join(bus->broker, j->lease, &j->plan, on_joined, c);
        return acquire_start(bus->broker, &j->plan, &j->request, c->client, on_acquired, c);
}

/* Steps 4 to 6. */
static int proceed(Bus *bus, sd_bus_message *m, Call *c, Judgement *j, bool fresh, sd_bus_error *error) {
        const Finding *f = verdict_first_block(&j->findings, false);
        int r;

        /* Nothing is refused for what was seen some time ago: a disk may have been unmounted since. */
        if (!fresh) {
                r = look_start(bus->broker, &j->request, call_on_looked, c);
                if (r < 0)
                        return verdict_give_up(bus, m, j->client, r, error);
                if (r == 0) {
                        c->looking = true;
                        return 1;
                }
                /* There was nothing to wait for, but the facts are new. */
                c->looked = true;
                c->look_result = 0;
                call_again(c);
                return 1;
        }
        if (f && will_pass(f->code) && j->request.wait > 0) {
                r = wait_for_device(bus, c, j->request.wait);
                if (r != 0)
                        return r < 0 ? verdict_give_up(bus, m, j->client, r, error) : 1;
        }
        if (f)
                return verdict_refuse(bus, m, j->client, f);
        client_free(c->client);
        c->client = j->charged ? TAKE_PTR(j->charged) : TAKE_PTR(j->client);
        r = start(bus, c, j);
        if (r == -EBUSY)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY,
                                  "a worker is at work on the devices; try again");
        if (r == -EDQUOT)
                return bus_refuse(bus, m, c->client, ERROR_QUOTA_EXCEEDED,
                                  "other programs have taken PASIDs for SVA at this very moment; try again");
        if (r == -EOPNOTSUPP)
                return bus_refuse(bus, m, c->client, ERROR_NOT_SUPPORTED,
                                  "the lease was attached by an iommud that has ended since, and its I/O address space "
                                  "is known to nobody but the client; acquire the devices in a lease of their own");
        if (r == -ESHUTDOWN)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY, "the lease is ending");
        return r < 0 ? verdict_give_up(bus, m, c->client, r, error) : 1;
}

static int handle(Bus *bus, sd_bus_message *m, OptionSet set, sd_bus_error *error) {
        _cleanup_(judgement_freep) Judgement *j = calloc(1, sizeof(*j));
        Call *c = call_find(&bus->calls, m);
        const Finding *f;
        bool fresh;
        int r;

        if (c && c->ready)
                return grant_deliver(bus, c);
        if (!j)
                return -ENOMEM;
        r = begin(bus, m, set, j, &c, error);
        if (r == 0)
                return 1;
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        fresh = TAKE(c->looked, false);
        if (fresh && c->look_result < 0)
                return verdict_give_up(bus, m, j->client, c->look_result, error);
        r = resolve_for(bus, m, j, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = examine_now(bus, j);
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        f = verdict_first_block(&j->findings, true);
        if (f)
                return verdict_refuse(bus, m, j->client, f);
        r = verdict_authorize(bus, m, j->client, j->charged, &j->findings, error);
        if (r == 0)
                return 1;
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        return proceed(bus, m, c, j, fresh, error);
}

int acquire_bus_method_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return handle(userdata, m, OPTIONS_ACQUIRE, error);
}

int acquire_bus_method_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return handle(userdata, m, OPTIONS_ADD, error);
}

/* --- Explain --- */

/* "as": whom to judge for. */
static int resolve_as(Judgement *j, sd_bus_error *error) {
        Client *other;
        int r;

        if (!j->options.has_as || j->options.as == j->client->caller.uid)
                return 0;
        if (j->client->caller.uid != 0)
                return sd_bus_error_setf(error, ERROR_NOT_AUTHORIZED, "only root may ask what another user may do");
        r = client_from_uid(j->options.as, &other);
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "there is no user with uid %u", j->options.as);
        client_free(j->client);
        j->client = other;
        return 0;
}

static int send_findings(Bus *bus, sd_bus_message *m, const Judgement *j) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0)
                r = sd_bus_message_append(reply, "b", !findings_first_block(&j->findings));
        if (r >= 0)
                r = verdict_append(reply, &j->findings);
        return r < 0 ? r : sd_bus_send(bus->bus, reply, NULL);
}

int acquire_bus_method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(judgement_freep) Judgement *j = calloc(1, sizeof(*j));
        Bus *bus = userdata;
        Call *c = NULL;
        int r;

        if (!j)
                return -ENOMEM;
        r = begin(bus, m, OPTIONS_EXPLAIN, j, &c, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = resolve_as(j, error);
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        if (!c->looked) {
                r = look_start(bus->broker, &j->request, call_on_looked, c);
                if (r == 0) {
                        c->looking = true;
                        return 1;
                }
                c->look_result = r < 0 ? r : 0;
        }
        r = c->look_result < 0 ? c->look_result : examine_now(bus, j);
        if (r >= 0)
                r = send_findings(bus, m, j);
        if (r < 0)
                return verdict_give_up(bus, m, j->client, r, error);
        call_end(c);
        return 1;
}
