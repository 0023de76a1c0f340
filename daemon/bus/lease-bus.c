/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <syslog.h>

#include "broker/release.h"
#include "broker/reset.h"
#include "broker/revoke.h"
#include "bus/acquire-bus.h"
#include "bus/grant.h"
#include "bus/options.h"
#include "bus/pasid-bus.h"
#include "bus/property.h"
#include "bus/verdict.h"
#include "core/errors.h"
#include "core/resetset.h"
#include "system/journal.h"
#include "util/fd.h"
#include "util/text.h"

/* org.iommud1.Lease. The userdata is the Bus; the lease is found anew by its path each time. */

static Lease *lease_at(const Bus *bus, const char *path) {
        const char *id = bus_path_to_lease_id(path);

        return id ? ledger_lease(&bus->broker->ledger, id) : NULL;
}

int bus_proven_lease(Bus *bus, sd_bus_message *m, Call *c, Lease **ret, sd_bus_error *error) {
        Lease *l = lease_at(bus, sd_bus_message_get_path(m));
        int fd, r;

        if (!l)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_LEASE, "the lease has ended");
        r = options_read_fd(m, &fd, error);
        if (r < 0)
                return r;
        if (!(c && c->proven) && !run_is_lifeline(bus->broker, l, fd))
                return sd_bus_error_setf(
                        error, ERROR_WRONG_LIFELINE,
                        "the descriptor is not the lifeline of this lease; only who holds that may use it");
        if (c && !c->proven) {
                r = fd_blank(fd);
                if (r < 0)
                        return r;
                c->proven = true;
        }
        *ret = l;
        return 1;
}

static int check_active(const Lease *l, sd_bus_error *error) {
        if (l->state == LEASE_ACTIVE)
                return 0;
        return sd_bus_error_setf(error, ERROR_DEVICE_BUSY, "the lease is %s", lease_state_to_string(l->state));
}

int bus_leased_device(const Lease *l, const char *device, const LeaseDevice **ret, sd_bus_error *error) {
        Address a;
        int r = check_active(l, error);

        if (r < 0)
                return r;
        *ret = address_parse(device, &a) >= 0 ? lease_device(l, a) : NULL;
        if (!*ret || (*ret)->role != ROLE_LEASED || (*ret)->joining || (*ret)->leaving)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE,
                                         "it is no device of this lease; its property Devices lists them");
        return 0;
}

/* What TakeDevices and RemoveDevices begin with: an active lease, and some of its devices. */
static int read_devices_of(Bus *bus, sd_bus_message *m, Call *c, bool may_be_empty, AddressList *ret_devices,
                           Lease **ret, sd_bus_error *error) {
        int r = bus_proven_lease(bus, m, c, ret, error);

        if (r >= 0)
                r = options_read_devices(m, may_be_empty, ret_devices, error);
        if (r >= 0)
                r = options_read_none(m, error);
        return r < 0 ? r : check_active(*ret, error);
}

static int read_taking(Bus *bus, sd_bus_message *m, Call *c, LeaseRun **ret, Handout *ret_handout,
                       sd_bus_error *error) {
        _cleanup_free_ AddressList *wanted = malloc(sizeof(*wanted));
        Address culprit;
        Lease *l;
        int r;

        if (!wanted)
                return -ENOMEM;
        r = read_devices_of(bus, m, c, true, wanted, &l, error);
        if (r < 0)
                return r;
        *ret = run_find(bus->broker, l);
        r = handout_devices(*ret, wanted, ret_handout, &culprit);
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE,
                                         "%s is no device of this lease that is still to be handed out",
                                         ADDRESS(culprit));
        if (r == -E2BIG)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "at most %d devices fit into one message",
                                         HANDOUT_FDS_MAX);
        return r;
}

static int method_take_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        Bus *bus = userdata;
        Handout handout;
        LeaseRun *run;
        Call *c;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = read_taking(bus, m, c, &run, &handout, error);
        if (r >= 0)
                r = grant_send(bus, c, run, &handout, error);
        return r < 0 ? verdict_give_up(bus, m, client, r, error) : 1;
}

static int method_remove_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_free_ AddressList *devices = malloc(sizeof(*devices));
        Bus *bus = userdata;
        Lease *l;
        int r;

        if (!devices)
                return -ENOMEM;
        r = read_devices_of(bus, m, NULL, false, devices, &l, error);
        if (r < 0)
                return r;
        if (hand_over_is_legacy(l->hand_over))
                return sd_bus_error_setf(error, ERROR_NOT_SUPPORTED,
                                         "nothing can leave a lease whose hand-over is %s: its groups were handed over "
                                         "whole; end the lease",
                                         hand_over_to_string(l->hand_over));
        for (size_t i = 0; i < devices->n; i++) {
                const LeaseDevice *d = lease_device(l, devices->items[i]);

                if (!d || d->role != ROLE_LEASED || d->joining)
                        return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE,
                                                 "%s is no device of this lease; its property Devices lists them",
                                                 ADDRESS(devices->items[i]));
        }
        release_devices(bus->broker, l, devices);
        return sd_bus_reply_method_return(m, "");
}

static int method_release(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Bus *bus = userdata;
        Lease *l;
        int r;

        r = bus_proven_lease(bus, m, NULL, &l, error);
        if (r >= 0)
                r = options_read_none(m, error);
        if (r < 0)
                return r;
        release_begin(bus->broker, l, "released by its holder");
        return sd_bus_reply_method_return(m, "");
}

/* --- Reset --- */

static void on_reset(int result, ResetMethod method, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;
        int r;

        if (result == -ENODEV)
                (void) bus_refuse(bus, c->message, c->client, ERROR_NOT_SUPPORTED,
                                  "the device has no reset of its own, and the kernel can reset neither its slot nor "
                                  "its bus (or it is gone)");
        else if (result < 0)
                (void) bus_refuse(bus, c->message, c->client, ERROR_KERNEL_REFUSED, "%s reset: %s%s",
                                  reset_method_to_string(method), strerror(-result),
                                  method == RESET_HOT && result == -EINVAL
                                          ? "; a device of its reset set is not this lease's: ask with \"reset-set\""
                                          : "");
        else {
                r = sd_bus_reply_method_return(c->message, "s", reset_method_to_string(method));
                if (r < 0)
                        journal_log(LOG_WARNING, "Cannot answer Reset: %s", strerror(-r));
                call_end(c);
        }
}

static int read_reset(Bus *bus, sd_bus_message *m, Call *c, LeaseRun **ret, const LeaseDevice **ret_device,
                      sd_bus_error *error) {
        const char *device;
        Lease *l;
        int r;

        r = bus_proven_lease(bus, m, c, &l, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &device);
        if (r >= 0)
                r = options_read_none(m, error);
        if (r < 0)
                return r;
        *ret = run_find(bus->broker, l);
        return bus_leased_device(l, device, ret_device, error);
}

static int method_reset(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        const LeaseDevice *d = NULL;
        LeaseRun *run = NULL;
        Bus *bus = userdata;
        Call *c;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = read_reset(bus, m, c, &run, &d, error);
        if (r < 0)
                return verdict_give_up(bus, m, client, r, error);
        c->client = TAKE_PTR(client);
        r = reset_start(run, d, on_reset, c);
        if (r == -EOPNOTSUPP)
                return bus_refuse(bus, m, c->client, ERROR_NOT_SUPPORTED,
                                  "only the holder of its descriptor can reset %s (VFIO_DEVICE_RESET); the daemon can "
                                  "with the hand-over \"attached\", or all of its reset set with \"reset-set\"",
                                  ADDRESS(d->address));
        if (r == -EBUSY)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY, "a worker is at work on %s; try again",
                                  ADDRESS(d->address));
        return r < 0 ? verdict_give_up(bus, m, c->client, r, error) : 1;
}

/* --- Revoke --- */

#define DEADLINE_MAX_USEC (UINT64_C(30) * 24 * 3600 * 1000000)

static int read_revocation(sd_bus_message *m, const char **ret_reason, uint64_t *ret_deadline, sd_bus_error *error) {
        int r;

        r = sd_bus_message_read(m, "st", ret_reason, ret_deadline);
        if (r < 0)
                return r;
        if (!text_is_printable(*ret_reason) || strlen(*ret_reason) > 120)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "the reason is to be at most 120 printable characters");
        if (*ret_deadline > DEADLINE_MAX_USEC)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "a lease is revoked within 30 days; the deadline is at most %" PRIu64,
                                         DEADLINE_MAX_USEC);
        return options_read_none(m, error);
}

/* 1: the caller may. 0: polkit is being asked. */
static int authorize_revocation(Bus *bus, sd_bus_message *m, const Client *client, const Lease *l,
                                sd_bus_error *error) {
        PolkitQuestion q = {
                .action = client->caller.uid == l->uid ? ACTION_REVOKE_OWN : ACTION_REVOKE,
                .device = l->id,
                .unit = client->unit,
        };

        return client->caller.uid == 0 ? 1 : polkit_check(bus->calls.polkit, m, &q, error);
}

static int method_revoke(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        const char *reason = NULL;
        uint64_t deadline = 0;
        Bus *bus = userdata;
        Call *c;
        Lease *l;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r > 0) {
                l = lease_at(bus, sd_bus_message_get_path(m));
                r = l ? authorize_revocation(bus, m, client, l, error)
                      : sd_bus_error_setf(error, ERROR_NO_SUCH_LEASE, "the lease has ended");
        }
        if (r == 0)
                return 1;
        if (r > 0)
                r = read_revocation(m, &reason, &deadline, error);
        if (r < 0)
                return verdict_give_up(bus, m, client, r, error);
        call_end(c);
        r = sd_bus_emit_signal(bus->bus, sd_bus_message_get_path(m), BUS_LEASE, "RevokeRequested", "st", reason,
                               deadline);
        if (r < 0)
                return r;
        /* The answer first: what follows may end the lease, and its object with it. */
        r = sd_bus_reply_method_return(m, "");
        revoke_start(bus->broker, l, reason, deadline);
        return r;
}

/* --- properties --- */

#define SIMPLE_GETTER(name, type, value)                                                                               \
        GETTER(name) {                                                                                                 \
                const Lease *l = lease_at(userdata, path);                                                             \
                                                                                                                       \
                return l ? sd_bus_message_append(reply, type, value) : -ENOENT;                                        \
        }

SIMPLE_GETTER(get_id, "s", l->id)
SIMPLE_GETTER(get_uid, "u", l->uid)
SIMPLE_GETTER(get_pid, "u", (uint32_t) l->pid)
SIMPLE_GETTER(get_unit, "s", l->unit)
SIMPLE_GETTER(get_cgroup, "s", l->cgroup)
SIMPLE_GETTER(get_hand_over, "s", hand_over_to_string(l->hand_over))
SIMPLE_GETTER(get_state, "s", lease_state_to_string(l->state))
SIMPLE_GETTER(get_state_reason, "s", l->reason)
SIMPLE_GETTER(get_pasids, "u", l->pasids)
SIMPLE_GETTER(get_enforcement, "s", property_enforcement(((Bus *) userdata)->broker, l))
SIMPLE_GETTER(get_created, "t", l->created)
SIMPLE_GETTER(get_revoke_deadline, "t", l->revoke_deadline)

static int append_role(sd_bus_message *reply, const Lease *l, Role role) {
        int r = sd_bus_message_open_container(reply, 'a', "s");

        for (size_t i = 0; r >= 0 && i < l->n_devices; i++)
                if (l->devices[i].role == role)
                        r = sd_bus_message_append(reply, "s", ADDRESS(l->devices[i].address));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_reset_exclusive) {
        const Bus *bus = userdata;
        const Lease *l = lease_at(bus, path);

        return l ? sd_bus_message_append(reply, "b", resetset_is_exclusive(&bus->broker->ledger.inventory, l))
                 : -ENOENT;
}

GETTER(get_devices) {
        const Lease *l = lease_at(userdata, path);

        return l ? append_role(reply, l, ROLE_LEASED) : -ENOENT;
}

GETTER(get_parked) {
        const Lease *l = lease_at(userdata, path);

        return l ? append_role(reply, l, ROLE_PARKED) : -ENOENT;
}

GETTER(get_groups) {
        const Bus *bus = userdata;
        const Lease *l = lease_at(bus, path);
        char group[BUS_PATH_MAX];
        const Group *g;
        int r;

        if (!l)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "o");
        INVENTORY_FOREACH_GROUP (&bus->broker->ledger.inventory, g)
                if (r >= 0 && g->lease == l)
                        r = sd_bus_message_append(reply, "o", bus_group_path(g->facts.id, group));
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

GETTER(get_holders) {
        const Bus *bus = userdata;
        const Lease *l = lease_at(bus, path);
        int r;

        if (!l)
                return -ENOENT;
        r = sd_bus_message_open_container(reply, 'a', "(uuss)");
        for (size_t i = 0; r >= 0 && i < l->n_devices; i++) {
                const Holders *h = run_holders(bus->broker, l, i);

                for (size_t j = 0; r >= 0 && h && j < h->n; j++)
                        r = sd_bus_message_append(reply, "(uuss)", (uint32_t) h->holders[j].pid, h->holders[j].uid,
                                                  h->holders[j].name, ADDRESS(l->devices[i].address));
        }
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

char *bus_lease_changing[] = { (char *) "Devices",        (char *) "Groups",         (char *) "Parked",
                               (char *) "State",          (char *) "StateReason",    (char *) "Holders",
                               (char *) "ResetExclusive", (char *) "RevokeDeadline", NULL };

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define TOLD  SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable bus_lease_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("TakeDevices", SD_BUS_ARGS("h", lifeline, "as", devices, "a{sv}", options),
                                SD_BUS_RESULT("a(ssh)", fds, "a{sa{sv}}", found), method_take_devices,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AddDevices", SD_BUS_ARGS("h", lifeline, "as", devices, "a{sv}", options),
                                SD_BUS_RESULT("a(ssh)", fds, "a{sa{sv}}", found), acquire_bus_method_add_devices,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("RemoveDevices", SD_BUS_ARGS("h", lifeline, "as", devices, "a{sv}", options),
                                SD_BUS_NO_RESULT, method_remove_devices, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Reset", SD_BUS_ARGS("h", lifeline, "s", device, "a{sv}", options),
                                SD_BUS_RESULT("s", method), method_reset, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("AttachPasid",
                                SD_BUS_ARGS("h", lifeline, "s", device, "u", pt, "u", pasid, "a{sv}", options),
                                SD_BUS_NO_RESULT, pasid_bus_method_attach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("DetachPasid", SD_BUS_ARGS("h", lifeline, "s", device, "u", pasid, "a{sv}", options),
                                SD_BUS_NO_RESULT, pasid_bus_method_detach, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Release", SD_BUS_ARGS("h", lifeline, "a{sv}", options), SD_BUS_NO_RESULT,
                                method_release, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Revoke", SD_BUS_ARGS("s", reason, "t", deadline_usec, "a{sv}", options),
                                SD_BUS_NO_RESULT, method_revoke, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_SIGNAL_WITH_ARGS("RevokeRequested", SD_BUS_ARGS("s", reason, "t", deadline_usec), 0),
        SD_BUS_SIGNAL_WITH_ARGS("GroupDisturbed", SD_BUS_ARGS("o", group, "s", device, "s", what), 0),
        SD_BUS_SIGNAL_WITH_ARGS("Ended", SD_BUS_ARGS("s", reason), 0),
        SD_BUS_PROPERTY("Id", "s", get_id, 0, CONST),
        SD_BUS_PROPERTY("Uid", "u", get_uid, 0, CONST),
        SD_BUS_PROPERTY("Pid", "u", get_pid, 0, CONST),
        SD_BUS_PROPERTY("Unit", "s", get_unit, 0, CONST),
        SD_BUS_PROPERTY("CGroup", "s", get_cgroup, 0, CONST),
        SD_BUS_PROPERTY("Devices", "as", get_devices, 0, TOLD),
        SD_BUS_PROPERTY("Groups", "ao", get_groups, 0, TOLD),
        SD_BUS_PROPERTY("Parked", "as", get_parked, 0, TOLD),
        SD_BUS_PROPERTY("HandOver", "s", get_hand_over, 0, CONST),
        SD_BUS_PROPERTY("State", "s", get_state, 0, TOLD),
        SD_BUS_PROPERTY("StateReason", "s", get_state_reason, 0, TOLD),
        SD_BUS_PROPERTY("Holders", "a(uuss)", get_holders, 0, TOLD),
        SD_BUS_PROPERTY("Pasids", "u", get_pasids, 0, CONST),
        SD_BUS_PROPERTY("Enforcement", "s", get_enforcement, 0, 0),
        SD_BUS_PROPERTY("ResetExclusive", "b", get_reset_exclusive, 0, TOLD),
        SD_BUS_PROPERTY("Created", "t", get_created, 0, CONST),
        SD_BUS_PROPERTY("RevokeDeadline", "t", get_revoke_deadline, 0, TOLD),
        SD_BUS_VTABLE_END,
};
