/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/release.h"
#include "bus/acquire-bus.h"
#include "bus/grant.h"
#include "bus/options.h"
#include "bus/property.h"
#include "core/errors.h"
#include "core/resetset.h"
#include "util/text.h"

/* org.iommud1.Lease. The userdata is the Bus; the lease is found anew by its path each time. */

static Lease *lease_at(const Bus *bus, const char *path) {
        const char *id = bus_path_to_lease_id(path);

        return id ? ledger_lease(&bus->broker->ledger, id) : NULL;
}

int bus_proven_lease(Bus *bus, sd_bus_message *m, Lease **ret, sd_bus_error *error) {
        Lease *l = lease_at(bus, sd_bus_message_get_path(m));
        int fd, r;

        if (!l)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_LEASE, "the lease has ended");
        r = sd_bus_message_read(m, "h", &fd);
        if (r < 0)
                return r;
        if (!broker_is_lifeline(bus->broker, l, fd))
                return sd_bus_error_setf(
                        error, ERROR_WRONG_LIFELINE,
                        "the descriptor is not the lifeline of this lease; only who holds that may use it");
        *ret = l;
        return 1;
}

static int method_take_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_free_ AddressList *wanted = malloc(sizeof(*wanted));
        Request request = {};
        Bus *bus = userdata;
        Handout handout;
        Options options;
        Address culprit;
        LeaseRun *run;
        Lease *l;
        int r;

        if (!wanted)
                return -ENOMEM;
        r = bus_proven_lease(bus, m, &l, error);
        if (r >= 0)
                r = options_read_devices(m, true, wanted, error);
        if (r >= 0)
                r = options_read(m, OPTIONS_NONE, &request, &options, error);
        if (r < 0)
                return r;
        if (l->state != LEASE_ACTIVE)
                return sd_bus_error_setf(error, ERROR_DEVICE_BUSY, "the lease is %s", lease_state_to_string(l->state));
        run = run_find(bus->broker, l);
        r = handout_devices(run, wanted, &handout, &culprit);
        if (r == -ENOENT)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE,
                                         "%s is no device of this lease that is still to be handed out",
                                         ADDRESS(culprit));
        if (r == -E2BIG)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT, "at most %d devices fit into one message",
                                         HANDOUT_FDS_MAX);
        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = grant_append(reply, bus, l, &handout);
        return r < 0 ? r : grant_send(bus, reply, run, &handout);
}

static int method_remove_devices(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_free_ AddressList *devices = malloc(sizeof(*devices));
        Request request = {};
        Bus *bus = userdata;
        Options options;
        Lease *l;
        int r;

        if (!devices)
                return -ENOMEM;
        r = bus_proven_lease(bus, m, &l, error);
        if (r >= 0)
                r = options_read_devices(m, false, devices, error);
        if (r >= 0)
                r = options_read(m, OPTIONS_NONE, &request, &options, error);
        if (r < 0)
                return r;
        if (l->state != LEASE_ACTIVE)
                return sd_bus_error_setf(error, ERROR_DEVICE_BUSY, "the lease is %s", lease_state_to_string(l->state));
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
        Request request = {};
        Bus *bus = userdata;
        Options options;
        Lease *l;
        int r;

        r = bus_proven_lease(bus, m, &l, error);
        if (r >= 0)
                r = options_read(m, OPTIONS_NONE, &request, &options, error);
        if (r < 0)
                return r;
        release_begin(bus->broker, l, "released by its holder");
        return sd_bus_reply_method_return(m, "");
}

static int read_revocation(sd_bus_message *m, const char **ret_reason, uint64_t *ret_deadline, sd_bus_error *error) {
        Request request = {};
        Options options;
        int r;

        r = sd_bus_message_read(m, "st", ret_reason, ret_deadline);
        if (r < 0)
                return r;
        if (!text_is_printable(*ret_reason) || strlen(*ret_reason) > 120)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "the reason is to be at most 120 printable characters");
        return options_read(m, OPTIONS_NONE, &request, &options, error);
}

/* 1: the caller may. 0: polkit is being asked. */
static int authorize_revocation(Bus *bus, sd_bus_message *m, const Client *client, const Lease *l,
                                sd_bus_error *error) {
        uint32_t limit = bus->broker->config.limits.requests_per_user;
        PolkitQuestion q = {
                .action = client->caller.uid == l->uid ? ACTION_REVOKE_OWN : ACTION_REVOKE,
                .device = l->id,
                .unit = client->unit,
        };
        Call *c;

        if (client->caller.uid == 0)
                return 1;
        if (!call_find(&bus->calls, m) && call_begin(&bus->calls, m, client->caller.uid, limit, &c) < 0)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED, "uid %u has %u calls under way already",
                                         client->caller.uid, limit);
        return polkit_check(bus->polkit, m, &q, error);
}

static int method_revoke(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        const char *reason = NULL;
        uint64_t deadline = 0;
        Bus *bus = userdata;
        Lease *l;
        int r;

        r = bus_client(bus, m, &client, error);
        if (r >= 0)
                r = read_revocation(m, &reason, &deadline, error);
        if (r >= 0) {
                l = lease_at(bus, sd_bus_message_get_path(m));
                r = l ? authorize_revocation(bus, m, client, l, error)
                      : sd_bus_error_setf(error, ERROR_NO_SUCH_LEASE, "the lease has ended");
        }
        if (r == 0)
                return 1;
        if (r < 0)
                return bus_refuse(bus, m, client, sd_bus_error_is_set(error) ? error->name : ERROR_FAILED, "%s",
                                  sd_bus_error_is_set(error) ? error->message : strerror(-r));
        polkit_forget(bus->polkit, m);
        (void) call_end(call_find(&bus->calls, m));
        r = sd_bus_emit_signal(bus->bus, sd_bus_message_get_path(m), BUS_LEASE, "RevokeRequested", "st", reason,
                               deadline);
        if (r < 0)
                return r;
        /* The answer first: what follows may end the lease, and its object with it. */
        r = sd_bus_reply_method_return(m, "");
        release_revoke(bus->broker, l, reason, deadline);
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
SIMPLE_GETTER(get_enforcement, "s", property_enforcement())
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
                const Holders *h = broker_holders(bus->broker, l, i);

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
