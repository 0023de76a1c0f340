/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <syslog.h>

#include "broker/acquire.h"
#include "broker/look.h"
#include "broker/release.h"
#include "bus/acquire-bus.h"
#include "bus/grant.h"
#include "bus/options.h"
#include "core/errors.h"
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
 *   6. acquire_start() or acquire_join()                              -> on_acquired() or on_joined() answers
 *
 * AddDevices goes the same way; its lifeline is proven anew each time.
 */

typedef struct Judgement {
        Request request;
        Options options;
        Client *client; /* who is to be charged; who asks, if devices are to join a lease */
        Lease *lease;   /* that they are to join */
        Plan plan;
        Findings findings;
} Judgement;

static void judgement_clear(Judgement *j) {
        client_free(j->client);
        plan_clear(&j->plan);
        findings_clear(&j->findings);
}

static void judgement_freep(Judgement **j) {
        if (*j)
                judgement_clear(*j);
        free(*j);
}

static void wake(int result, void *userdata) {
        Call *c = userdata;

        c->looking = false;
        c->looked = true;
        c->look_result = result;
        call_again(c);
}

/* Step 1, up to the request. Returns the call, new or known. */
static int begin(Bus *bus, sd_bus_message *m, OptionSet set, Judgement *j, Call **ret, sd_bus_error *error) {
        Call *c = call_find(&bus->calls, m);
        uint32_t limit = bus->broker->config.limits.requests_per_user;
        int r;

        r = bus_client(bus, m, &j->client, error);
        if (r <= 0)
                return r;
        if (!c) {
                r = call_begin(&bus->calls, m, j->client->caller.uid, limit, &c);
                if (r == -EDQUOT)
                        return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                                 "uid %u has %u calls under way already; wait for their answers",
                                                 j->client->caller.uid, limit);
                if (r < 0)
                        return r;
        }
        *ret = c;
        j->request.restore = true;
        if (set == OPTIONS_ADD) {
                r = bus_proven_lease(bus, m, &j->lease, error);
                if (r < 0)
                        return r;
                j->request.joins = j->lease;
                j->request.hand_over = j->lease->hand_over;
                j->request.restore = j->lease->restore;
                j->request.reset_set = j->lease->reset_set;
        }
        r = options_read_devices(m, false, &j->request.devices, error);
        if (r < 0)
                return r;
        return options_read(m, set, &j->request, &j->options, error);
}

static int examine_now(Bus *bus, Judgement *j) {
        World world = broker_world(bus->broker);
        uid_t charged = j->lease ? j->lease->uid : j->client->caller.uid;
        Usage usage = ledger_usage(&bus->broker->ledger, charged);

        return examine(&world, &j->client->caller, &usage, &j->request, &j->plan, &j->findings);
}

/* Findings about the request itself: nobody has to be asked, and nothing looked at, to refuse for them. */
static bool is_about_request(FindingCode code) {
        switch (code) {
        case FINDING_INVALID:
        case FINDING_NO_SUCH_DEVICE:
        case FINDING_NOT_AN_ENDPOINT:
        case FINDING_NOT_A_MEMBER:
        case FINDING_NOT_AUTHORIZED:
        case FINDING_NO_GROUP:
        case FINDING_LIMIT:
        case FINDING_QUOTA:
        case FINDING_UNSUPPORTED:
                return true;
        default:
                return false;
        }
}

static bool will_pass(FindingCode code) {
        return code == FINDING_LEASED || code == FINDING_RELEASING || code == FINDING_BUSY;
}

static const Finding *first_block(const Findings *findings, bool about_request) {
        for (size_t i = 0; i < findings->n; i++)
                if (findings->items[i].severity == SEVERITY_BLOCK &&
                    (!about_request || is_about_request(findings->items[i].code)))
                        return &findings->items[i];
        return NULL;
}

static int refuse_finding(Bus *bus, sd_bus_message *m, const Judgement *j, const Finding *f) {
        return bus_refuse(bus, m, j->client, finding_error_name(f->code), "%s%s%s", f->text,
                          isempty(f->remedy) ? "" : "; ", f->remedy);
}

/* A call that goes wrong before anything is begun. */
static int give_up(Bus *bus, sd_bus_message *m, const Client *client, int r, sd_bus_error *error) {
        if (sd_bus_error_is_set(error))
                return bus_refuse(bus, m, client, error->name, "%s", error->message);
        if (r == -ENOMEM)
                return bus_refuse(bus, m, client, SD_BUS_ERROR_NO_MEMORY, "out of memory");
        return bus_refuse(bus, m, client, ERROR_FAILED, "%s", strerror(-r));
}

/* The process to charge: the caller, or another one that a policy client names. Returns 0 while polkit is being asked. */
static int resolve_for(Bus *bus, sd_bus_message *m, Judgement *j, sd_bus_error *error) {
        Client *other = NULL;
        int r;

        if (j->options.for_fd < 0)
                return 1;
        r = client_from_pidfd(j->options.for_fd, &other);
        if (r == -ESRCH)
                return sd_bus_error_setf(error, ERROR_CLIENT_GONE, "the process to be charged has ended");
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "\"for\" is no pidfd: %s", strerror(-r));
        if (j->client->caller.uid != 0) {
                PolkitQuestion q = { .action = ACTION_ACQUIRE_FOR_OTHERS, .device = "", .unit = j->client->unit };

                r = polkit_check(bus->polkit, m, &q, error);
                if (r <= 0) {
                        client_free(other);
                        return r;
                }
        }
        client_free(j->client);
        j->client = other;
        return 1;
}

/* Step 3. 1: all are granted. 0: polkit is being asked. */
static int authorize(Bus *bus, sd_bus_message *m, const Judgement *j, sd_bus_error *error) {
        for (size_t i = 0; i < j->findings.n; i++) {
                const Finding *f = &j->findings.items[i];
                char ids[10] = "", group[16] = "";
                const Device *d = NULL;
                Address a;
                int r;

                if (f->severity != SEVERITY_ASK)
                        continue;
                if (address_parse(f->subject, &a) >= 0)
                        d = inventory_device(&bus->broker->ledger.inventory, a);
                if (d) {
                        (void) snprintf(ids, sizeof(ids), "%04x:%04x", d->facts.vendor, d->facts.device);
                        (void) snprintf(group, sizeof(group), "%d", d->facts.group);
                }
                PolkitQuestion q = {
                        .action = f->action,
                        .device = f->subject,
                        .ids = ids,
                        .group = group,
                        .driver = d ? d->facts.driver : "",
                        .unit = j->client->unit,
                        .yes_if_absent = streq(f->action, ACTION_ACQUIRE_RESERVED),
                };
                r = polkit_check(bus->polkit, m, &q, error);
                if (r <= 0)
                        return r;
        }
        return 1;
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

static int send_lease(Bus *bus, Call *c, Lease *l) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        LeaseRun *run = run_find(bus->broker, l);
        char path[BUS_PATH_MAX];
        Handout handout;
        int r;

        handout_first(run, &handout);
        r = sd_bus_message_new_method_return(c->message, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "o", bus_lease_path(l, path));
        if (r >= 0)
                r = grant_append(reply, bus, l, &handout);
        return r < 0 ? r : grant_send(bus, reply, run, &handout);
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
        r = send_lease(bus, c, l);
        if (r < 0) {
                release_begin(bus->broker, l, "it could not be handed out");
                (void) bus_refuse(bus, c->message, c->client, ERROR_FAILED, "cannot hand the lease out: %s",
                                  strerror(-r));
                return;
        }
        polkit_forget(bus->polkit, c->message);
        call_end(c);
}

static int send_added(Bus *bus, Call *c, Lease *l, const AddressList *added) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ AddressList *wanted = calloc(1, sizeof(*wanted));
        LeaseRun *run = run_find(bus->broker, l);
        Handout handout = {};
        Address culprit;
        int r = 0;

        if (!wanted)
                return -ENOMEM;
        for (size_t i = 0; i < added->n && wanted->n < HANDOUT_FDS_MAX; i++)
                if (lease_device(l, added->items[i])->role == ROLE_LEASED)
                        (void) address_list_add(wanted, added->items[i]);
        if (l->hand_over != HAND_OVER_NONE)
                r = handout_devices(run, wanted, &handout, &culprit);
        if (r >= 0)
                r = sd_bus_message_new_method_return(c->message, &reply);
        if (r >= 0)
                r = grant_append(reply, bus, l, &handout);
        return r < 0 ? r : grant_send(bus, reply, run, &handout);
}

static void on_joined(Lease *l, const AddressList *added, const char *error_name, const char *text, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;
        int r;

        if (!l) {
                (void) bus_refuse(bus, c->message, c->client, error_name, "%s", text);
                return;
        }
        r = send_added(bus, c, l, added);
        if (r < 0) {
                release_devices(bus->broker, l, added);
                (void) bus_refuse(bus, c->message, c->client, ERROR_FAILED, "cannot hand the devices out: %s",
                                  strerror(-r));
                return;
        }
        polkit_forget(bus->polkit, c->message);
        call_end(c);
}

static int start(Bus *bus, Call *c, Judgement *j) {
        if (j->lease)
                return acquire_join(bus->broker, j->lease, &j->plan, on_joined, c);
        return acquire_start(bus->broker, &j->plan, &j->request, c->client, on_acquired, c);
}

/* Steps 4 to 6. */
static int proceed(Bus *bus, sd_bus_message *m, Call *c, Judgement *j, bool fresh, sd_bus_error *error) {
        const Finding *f = first_block(&j->findings, false);
        int r;

        /* Nothing is refused for what was seen some time ago: a disk may have been unmounted since. */
        if (!fresh) {
                r = look_start(bus->broker, &j->request, wake, c);
                if (r < 0)
                        return give_up(bus, m, j->client, r, error);
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
                        return r < 0 ? give_up(bus, m, j->client, r, error) : 1;
        }
        if (f)
                return refuse_finding(bus, m, j, f);
        client_free(c->client);
        c->client = TAKE_PTR(j->client);
        r = start(bus, c, j);
        if (r == -EBUSY)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY,
                                  "a worker is at work on the devices; try again");
        if (r == -ESHUTDOWN)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY, "the lease is ending");
        return r < 0 ? give_up(bus, m, c->client, r, error) : 1;
}

static int handle(Bus *bus, sd_bus_message *m, OptionSet set, sd_bus_error *error) {
        _cleanup_(judgement_freep) Judgement *j = calloc(1, sizeof(*j));
        const Finding *f;
        Call *c = NULL;
        bool fresh;
        int r;

        if (!j)
                return -ENOMEM;
        r = begin(bus, m, set, j, &c, error);
        if (r < 0)
                return give_up(bus, m, j->client, r, error);
        fresh = TAKE(c->looked, false);
        if (fresh && c->look_result < 0)
                return give_up(bus, m, j->client, c->look_result, error);
        r = resolve_for(bus, m, j, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = examine_now(bus, j);
        if (r < 0)
                return give_up(bus, m, j->client, r, error);
        f = first_block(&j->findings, true);
        if (f)
                return refuse_finding(bus, m, j, f);
        r = authorize(bus, m, j, error);
        if (r == 0)
                return 1;
        if (r < 0)
                return give_up(bus, m, j->client, r, error);
        return proceed(bus, m, c, j, fresh, error);
}

int acquire_bus_method_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return handle(userdata, m, OPTIONS_ACQUIRE, error);
}

int acquire_bus_method_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return handle(userdata, m, OPTIONS_ADD, error);
}

/* --- Explain --- */

static int append_findings(sd_bus_message *reply, const Findings *findings) {
        int r = sd_bus_message_open_container(reply, 'a', "(ssssa{sv})");

        for (size_t i = 0; r >= 0 && i < findings->n; i++) {
                const Finding *f = &findings->items[i];

                r = sd_bus_message_open_container(reply, 'r', "ssssa{sv}");
                if (r >= 0)
                        r = sd_bus_message_append(reply, "ssss", finding_code_to_string(f->code),
                                                  severity_to_string(f->severity), f->subject, f->text);
                if (r >= 0)
                        r = sd_bus_message_open_container(reply, 'a', "{sv}");
                if (r >= 0 && !isempty(f->remedy))
                        r = sd_bus_message_append(reply, "{sv}", "remedy", "s", f->remedy);
                if (r >= 0 && f->action)
                        r = sd_bus_message_append(reply, "{sv}", "action", "s", f->action);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
                if (r >= 0)
                        r = sd_bus_message_close_container(reply);
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

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
                r = append_findings(reply, &j->findings);
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
        if (r >= 0)
                r = resolve_as(j, error);
        if (r < 0)
                return give_up(bus, m, j->client, r, error);
        if (!c->looked) {
                r = look_start(bus->broker, &j->request, wake, c);
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
                return give_up(bus, m, j->client, r, error);
        call_end(c);
        return 1;
}
