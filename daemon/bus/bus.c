/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <syslog.h>

#include "bus/bus.h"
#include "core/errors.h"
#include "system/journal.h"
#include "util/text.h"

/* --- object paths --- */

const char *bus_device_path(Address a, char buf[static BUS_PATH_MAX]) {
        (void) snprintf(buf, BUS_PATH_MAX, BUS_DEVICES_PATH "/%04x_%02x_%02x_%u", a.domain, a.bus, a.devfn >> 3,
                        a.devfn & 7u);
        return buf;
}

const char *bus_group_path(int group, char buf[static BUS_PATH_MAX]) {
        if (group < 0)
                return "/";
        (void) snprintf(buf, BUS_PATH_MAX, BUS_GROUPS_PATH "/%d", group);
        return buf;
}

const char *bus_lease_path(const Lease *l, char buf[static BUS_PATH_MAX]) {
        if (!l)
                return "/";
        (void) snprintf(buf, BUS_PATH_MAX, BUS_LEASES_PATH "/%s", l->id);
        return buf;
}

static const char *after(const char *path, const char *prefix) {
        size_t n = strlen(prefix);

        return strncmp(path, prefix, n) == 0 && path[n] == '/' ? path + n + 1 : NULL;
}

int bus_path_to_address(const char *path, Address *ret) {
        const char *s = after(path, BUS_DEVICES_PATH);
        char address[ADDRESS_TEXT_MAX], again[BUS_PATH_MAX];
        Address a;
        char *p;

        if (!s || !text_copy(address, sizeof(address), s))
                return -ENOENT;
        for (p = address; (p = strchr(p, '_'));)
                *p = ':';
        p = strrchr(address, ':');
        if (p)
                *p = '.';
        if (address_parse(address, &a) < 0 || !streq(bus_device_path(a, again), path))
                return -ENOENT;
        *ret = a;
        return 0;
}

int bus_path_to_group(const char *path, int *ret) {
        const char *s = after(path, BUS_GROUPS_PATH);
        char again[BUS_PATH_MAX];
        uint64_t id;

        if (!s || text_to_u64(s, INT32_MAX, &id) < 0 || !streq(bus_group_path((int) id, again), path))
                return -ENOENT;
        *ret = (int) id;
        return 0;
}

const char *bus_path_to_lease_id(const char *path) {
        return after(path, BUS_LEASES_PATH);
}

int bus_path_to_cgroup(const char *path, char **ret) {
        _cleanup_free_ char *cgroup = NULL, *again = NULL;
        int r = sd_bus_path_decode(path, BUS_QUOTAS_PATH, &cgroup);

        if (r > 0)
                r = sd_bus_path_encode(BUS_QUOTAS_PATH, cgroup, &again);
        if (r < 0)
                return r;
        if (!again || !streq(again, path))
                return -ENOENT;
        *ret = TAKE_PTR(cgroup);
        return 0;
}

/* --- finding and listing objects --- */

static int find_device(_unused_ sd_bus *connection, const char *path, _unused_ const char *interface, void *userdata,
                       void **ret, _unused_ sd_bus_error *error) {
        Bus *bus = userdata;
        Address a;

        if (bus_path_to_address(path, &a) < 0 || !inventory_device(&bus->broker->ledger.inventory, a))
                return 0;
        *ret = bus;
        return 1;
}

static int find_group(_unused_ sd_bus *connection, const char *path, _unused_ const char *interface, void *userdata,
                      void **ret, _unused_ sd_bus_error *error) {
        Bus *bus = userdata;
        int id;

        if (bus_path_to_group(path, &id) < 0 || !inventory_group(&bus->broker->ledger.inventory, id))
                return 0;
        *ret = bus;
        return 1;
}

static int find_lease(_unused_ sd_bus *connection, const char *path, _unused_ const char *interface, void *userdata,
                      void **ret, _unused_ sd_bus_error *error) {
        const char *id = bus_path_to_lease_id(path);
        Bus *bus = userdata;

        if (!id || !ledger_lease(&bus->broker->ledger, id))
                return 0;
        *ret = bus;
        return 1;
}

static int find_quota(_unused_ sd_bus *connection, const char *path, _unused_ const char *interface, void *userdata,
                      void **ret, _unused_ sd_bus_error *error) {
        _cleanup_free_ char *cgroup = NULL;
        Bus *bus = userdata;

        if (bus_path_to_cgroup(path, &cgroup) < 0 || !quota_level(&bus->broker->ledger.quota, cgroup))
                return 0;
        *ret = bus;
        return 1;
}

static char **strings_free(char **list) {
        for (size_t i = 0; list && list[i]; i++)
                free(list[i]);
        free(list);
        return NULL;
}

/* A list of n paths, ended by NULL; sd-bus frees it. */
static int list_new(size_t n, char ***ret) {
        *ret = calloc(n + 1, sizeof(char *));
        return *ret ? 0 : -ENOMEM;
}

static int list_finish(char **list, size_t n, char ***ret) {
        for (size_t i = 0; i < n; i++) {
                if (list[i])
                        continue;
                strings_free(list);
                return -ENOMEM;
        }
        *ret = list;
        return 1;
}

/* Enumerators. The prefix that sd-bus gives is that of the question, not that of the node they were added to. */

static int enumerate_devices(_unused_ sd_bus *connection, _unused_ const char *prefix, void *userdata, char ***ret,
                             _unused_ sd_bus_error *error) {
        const Inventory *inv = &((Bus *) userdata)->broker->ledger.inventory;
        char path[BUS_PATH_MAX], **list;

        if (list_new(inv->n_devices, &list) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < inv->n_devices; i++)
                list[i] = strdup(bus_device_path(inv->devices[i]->facts.address, path));
        return list_finish(list, inv->n_devices, ret);
}

static int enumerate_groups(_unused_ sd_bus *connection, _unused_ const char *prefix, void *userdata, char ***ret,
                            _unused_ sd_bus_error *error) {
        const Inventory *inv = &((Bus *) userdata)->broker->ledger.inventory;
        char path[BUS_PATH_MAX], **list;

        if (list_new(inv->n_groups, &list) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < inv->n_groups; i++)
                list[i] = strdup(bus_group_path(inv->groups[i]->facts.id, path));
        return list_finish(list, inv->n_groups, ret);
}

static int enumerate_leases(_unused_ sd_bus *connection, _unused_ const char *prefix, void *userdata, char ***ret,
                            _unused_ sd_bus_error *error) {
        const Ledger *ledger = &((Bus *) userdata)->broker->ledger;
        char path[BUS_PATH_MAX], **list;

        if (list_new(ledger->n_leases, &list) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < ledger->n_leases; i++)
                list[i] = strdup(bus_lease_path(ledger->leases[i], path));
        return list_finish(list, ledger->n_leases, ret);
}

static int enumerate_quotas(_unused_ sd_bus *connection, _unused_ const char *prefix, void *userdata, char ***ret,
                            _unused_ sd_bus_error *error) {
        const Quota *q = &((Bus *) userdata)->broker->ledger.quota;
        char **list;

        if (list_new(q->n_levels, &list) < 0)
                return -ENOMEM;
        for (size_t i = 0; i < q->n_levels; i++)
                if (sd_bus_path_encode(BUS_QUOTAS_PATH, q->levels[i]->path, &list[i]) < 0)
                        list[i] = NULL;
        return list_finish(list, q->n_levels, ret);
}

/* --- telling of changes --- */

static void check_emit(int r, const char *path) {
        if (r < 0 && r != -ENOTCONN)
                journal_log(LOG_WARNING, "Cannot tell of a change of %s: %s", path, strerror(-r));
}

static void tell_added(Bus *bus, const char *path, const char *interface) {
        check_emit(sd_bus_emit_interfaces_added(bus->bus, path, interface, NULL), path);
}

static void tell_removed(Bus *bus, const char *path, const char *interface) {
        check_emit(sd_bus_emit_interfaces_removed(bus->bus, path, interface, NULL), path);
}

static void on_device_added(Device *d, void *userdata) {
        char path[BUS_PATH_MAX];

        tell_added(userdata, bus_device_path(d->facts.address, path), BUS_DEVICE);
}

static void on_device_removed(Address a, int group, void *userdata) {
        char path[BUS_PATH_MAX];
        Bus *bus = userdata;

        (void) group;
        tell_removed(bus, bus_device_path(a, path), BUS_DEVICE);
}

static void on_device_changed(Device *d, void *userdata) {
        char path[BUS_PATH_MAX];
        Bus *bus = userdata;

        check_emit(sd_bus_emit_properties_changed_strv(bus->bus, bus_device_path(d->facts.address, path), BUS_DEVICE,
                                                       bus_device_changing),
                   path);
        if (d->state == DEVICE_FREE)
                call_list_retry(&bus->calls);
}

static void on_group_added(Group *g, void *userdata) {
        char path[BUS_PATH_MAX];

        tell_added(userdata, bus_group_path(g->facts.id, path), BUS_GROUP);
}

static void on_group_removed(int group, void *userdata) {
        char path[BUS_PATH_MAX];

        tell_removed(userdata, bus_group_path(group, path), BUS_GROUP);
}

static void on_group_changed(Group *g, void *userdata) {
        char path[BUS_PATH_MAX];
        Bus *bus = userdata;

        check_emit(sd_bus_emit_properties_changed_strv(bus->bus, bus_group_path(g->facts.id, path), BUS_GROUP,
                                                       bus_group_changing),
                   path);
}

static void on_group_disturbed(Group *g, Address a, const char *what, void *userdata) {
        char path[BUS_PATH_MAX], group[BUS_PATH_MAX];
        Bus *bus = userdata;

        check_emit(sd_bus_emit_signal(bus->bus, bus_lease_path(g->lease, path), BUS_LEASE, "GroupDisturbed", "oss",
                                      bus_group_path(g->facts.id, group), ADDRESS(a), what),
                   path);
}

static void on_lease_added(Lease *l, void *userdata) {
        char path[BUS_PATH_MAX];

        tell_added(userdata, bus_lease_path(l, path), BUS_LEASE);
}

static void on_lease_changed(Lease *l, void *userdata) {
        char path[BUS_PATH_MAX];
        Bus *bus = userdata;

        check_emit(sd_bus_emit_properties_changed_strv(bus->bus, bus_lease_path(l, path), BUS_LEASE,
                                                       bus_lease_changing),
                   path);
}

static void on_lease_ended(Lease *l, const char *reason, void *userdata) {
        char path[BUS_PATH_MAX];
        Bus *bus = userdata;

        check_emit(sd_bus_emit_signal(bus->bus, bus_lease_path(l, path), BUS_LEASE, "Ended", "s", reason), path);
        tell_removed(bus, path, BUS_LEASE);
}

static void on_quota_added(const QuotaLevel *level, void *userdata) {
        _cleanup_free_ char *path = NULL;

        if (sd_bus_path_encode(BUS_QUOTAS_PATH, level->path, &path) >= 0)
                tell_added(userdata, path, BUS_QUOTA);
}

static void on_quota_removed(const QuotaLevel *level, void *userdata) {
        _cleanup_free_ char *path = NULL;

        if (sd_bus_path_encode(BUS_QUOTAS_PATH, level->path, &path) >= 0)
                tell_removed(userdata, path, BUS_QUOTA);
}

static void on_quota_changed(const QuotaLevel *level, void *userdata) {
        _cleanup_free_ char *path = NULL;
        Bus *bus = userdata;

        if (sd_bus_path_encode(BUS_QUOTAS_PATH, level->path, &path) >= 0)
                check_emit(sd_bus_emit_properties_changed_strv(bus->bus, path, BUS_QUOTA, bus_quota_changing), path);
        /* Its limit may be higher, or less be booked. */
        call_list_retry(&bus->calls);
}

static const BrokerListener listener = {
        .device_added = on_device_added,
        .device_removed = on_device_removed,
        .device_changed = on_device_changed,
        .group_added = on_group_added,
        .group_removed = on_group_removed,
        .group_changed = on_group_changed,
        .group_disturbed = on_group_disturbed,
        .lease_added = on_lease_added,
        .lease_changed = on_lease_changed,
        .lease_ended = on_lease_ended,
        .quota_added = on_quota_added,
        .quota_removed = on_quota_removed,
        .quota_changed = on_quota_changed,
};

/* --- answers and callers --- */

int bus_refuse(Bus *bus, sd_bus_message *m, const Client *client, const char *error_name, const char *format, ...) {
        /* The call may have the last reference. */
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *ref = sd_bus_message_ref(m);
        char text[1024];
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        if (client)
                journal_refused(client->caller.uid, client->caller.pid, error_name, text);
        (void) call_end(call_find(&bus->calls, m));
        return sd_bus_reply_method_errorf(ref, error_name, "%s", text);
}

int bus_enter(Bus *bus, sd_bus_message *m, Call **ret, Client **ret_client, sd_bus_error *error) {
        uint32_t limit = bus->broker->config.limits.requests_per_user;
        Call *c = call_find(&bus->calls, m);
        int r;

        if (!c) {
                r = call_begin(&bus->calls, m, limit);
                return r != -EDQUOT
                               ? r
                               : sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                                   "this connection has %u calls under way already; wait for their "
                                                   "answers",
                                                   limit);
        }
        r = client_from_credentials(c->credentials, ret_client);
        if (r == -ESRCH)
                return sd_bus_error_setf(error, ERROR_CLIENT_GONE, "the calling process has ended");
        if (r == -EOPNOTSUPP)
                return sd_bus_error_setf(error, ERROR_NOT_SUPPORTED,
                                         "this bus does not vouch for processes (no ProcessFD); dbus 1.16 or a current "
                                         "dbus-broker is needed");
        if (r < 0)
                return sd_bus_error_setf(error, ERROR_FAILED, "cannot find out who calls: %s", strerror(-r));
        if (call_count(c, (*ret_client)->caller.uid, limit) < 0)
                return sd_bus_error_setf(error, ERROR_LIMIT_EXCEEDED,
                                         "uid %u has %u calls under way already; wait for their answers",
                                         (*ret_client)->caller.uid, limit);
        *ret = c;
        return 1;
}

/* --- export --- */

static int export_fallback(Bus *bus, const char *prefix, const char *interface, const sd_bus_vtable *vtable,
                           sd_bus_object_find_t find, sd_bus_node_enumerator_t enumerate) {
        int r = sd_bus_add_fallback_vtable(bus->bus, NULL, prefix, interface, vtable, find, bus);

        return r < 0 ? r : sd_bus_add_node_enumerator(bus->bus, NULL, prefix, enumerate, bus);
}

int bus_export(Bus *bus, sd_bus *connection, Broker *broker) {
        int r;

        bus->bus = sd_bus_ref(connection);
        bus->broker = broker;
        bus->calls.userdata = bus;
        bus->unread.calls = &bus->calls;
        bus->calls.polkit = polkit_new();
        if (!bus->calls.polkit)
                return -ENOMEM;
        r = sd_hwdb_new(&bus->hwdb);
        if (r < 0)
                journal_log(LOG_NOTICE, "No hardware database, devices will have no names: %s", strerror(-r));
        r = backlog_begin(&bus->backlog, connection, &bus->calls, &broker->ledger);
        if (r >= 0)
                r = sd_bus_add_object_manager(connection, NULL, BUS_ROOT);
        if (r >= 0)
                r = sd_bus_add_object_vtable(connection, NULL, BUS_ROOT, BUS_MANAGER, bus_manager_vtable, bus);
        if (r >= 0)
                r = export_fallback(bus, BUS_DEVICES_PATH, BUS_DEVICE, bus_device_vtable, find_device,
                                    enumerate_devices);
        if (r >= 0)
                r = export_fallback(bus, BUS_GROUPS_PATH, BUS_GROUP, bus_group_vtable, find_group, enumerate_groups);
        if (r >= 0)
                r = export_fallback(bus, BUS_LEASES_PATH, BUS_LEASE, bus_lease_vtable, find_lease, enumerate_leases);
        if (r >= 0)
                r = export_fallback(bus, BUS_QUOTAS_PATH, BUS_QUOTA, bus_quota_vtable, find_quota, enumerate_quotas);
        return r < 0 ? r : 0;
}

void bus_listen(Bus *bus) {
        bus->broker->listener = &listener;
        bus->broker->listener_userdata = bus;
}

void bus_clear(Bus *bus) {
        if (bus->broker)
                bus->broker->listener = NULL;
        call_list_clear(&bus->calls);
        unread_list_clear(&bus->unread);
        backlog_clear(&bus->backlog);
        bus->calls.polkit = polkit_free(bus->calls.polkit);
        bus->hwdb = sd_hwdb_unref(bus->hwdb);
        bus->bus = sd_bus_flush_close_unref(bus->bus);
}
