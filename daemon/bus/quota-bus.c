/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <syslog.h>

#include "broker/quota.h"
#include "broker/setting.h"
#include "bus/options.h"
#include "bus/property.h"
#include "bus/quota-bus.h"
#include "bus/verdict.h"
#include "core/errors.h"
#include "system/journal.h"

/* org.iommud1.Quota, and Manager.SetPasidLimit. The userdata of a getter is the Bus; the level is found anew by its path each time. */

/* --- SetPasidLimit --- */

typedef struct Order {
        const char *cgroup;
        uint64_t limit;
        Options options;
} Order;

static int read_order(sd_bus_message *m, Order *ret, sd_bus_error *error) {
        Request request = {};
        int r;

        r = sd_bus_message_read(m, "st", &ret->cgroup, &ret->limit);
        if (r >= 0)
                r = options_read(m, OPTIONS_LIMIT, &request, &ret->options, error);
        if (r < 0)
                return r;
        if (!quota_path_is_valid(ret->cgroup))
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "that is no path of a cgroup; write it as in /proc/PID/cgroup, like "
                                         "/machine.slice");
        if (ret->limit > QUOTA_LIMIT_MAX && ret->limit != QUOTA_UNLIMITED)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "a limit is at most %" PRIu64 "; %" PRIu64 " takes it back",
                                         (uint64_t) QUOTA_LIMIT_MAX, QUOTA_UNLIMITED);
        return 0;
}

/* 1: the caller may. 0: polkit is being asked. */
static int authorize(Bus *bus, sd_bus_message *m, const Client *client, const Order *o, sd_bus_error *error) {
        PolkitQuestion q = { .action = ACTION_MANAGE_QUOTAS, .device = o->cgroup, .unit = client->unit };

        return client->caller.uid == 0 ? 1 : polkit_check(bus->calls.polkit, m, &q, error);
}

static void log_order(const Caller *caller, const Order *o) {
        if (o->limit == QUOTA_UNLIMITED)
                journal_log(LOG_NOTICE, "uid %u, pid %i, wants the limit of PASIDs set for %s taken back", caller->uid,
                            (int) caller->pid, o->cgroup);
        else
                journal_log(LOG_NOTICE, "uid %u, pid %i, wants a limit of PASIDs for %s: %" PRIu64 "%s", caller->uid,
                            (int) caller->pid, o->cgroup, o->limit, o->options.runtime ? " until reboot" : "");
}

static void on_set(int result, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;

        if (result < 0)
                (void) bus_refuse(bus, c->message, c->client, ERROR_FAILED, "the limit cannot be written down: %s",
                                  strerror(-result));
        else
                call_answer(c);
}

static int set_limit(Bus *bus, Call *c, const Order *o, sd_bus_error *error) {
        char boundary[QUOTA_PATH_MAX];
        int r = setting_start(bus->broker, o->cgroup, o->limit, o->options.runtime, boundary, on_set, c);

        switch (r) {
        case -ENOENT:
                return sd_bus_error_setf(error, ERROR_NO_SUCH_CGROUP,
                                         "there is no cgroup %s; for one that is still to come a file in "
                                         "/etc/iommud/quota.d can have the limit",
                                         o->cgroup);
        case -EPERM:
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "%s is below %s, which is delegated: whoever has that could go around the "
                                         "limit; set it for %s or above",
                                         o->cgroup, boundary, boundary);
        case -E2BIG:
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "%s is deeper than %d levels; set the limit further up", o->cgroup,
                                         PASID_LEVELS_MAX);
        case -EOPNOTSUPP:
                return sd_bus_error_setf(error, ERROR_NOT_SUPPORTED, "cgroup v2 is not mounted on /sys/fs/cgroup");
        default:
                return r;
        }
}

int quota_bus_method_set_pasid_limit(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        Bus *bus = userdata;
        Order order;
        Call *c;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = read_order(m, &order, error);
        if (r >= 0)
                r = authorize(bus, m, client, &order, error);
        if (r == 0)
                return 1;
        if (r < 0)
                return verdict_give_up(bus, m, client, r, error);
        log_order(&client->caller, &order);
        client_free(c->client);
        c->client = TAKE_PTR(client);
        r = set_limit(bus, c, &order, error);
        return r < 0 ? verdict_give_up(bus, m, c->client, r, error) : 1;
}

/* --- properties --- */

static const QuotaLevel *level_at(const Bus *bus, const char *path) {
        _cleanup_free_ char *cgroup = NULL;

        return bus_path_to_cgroup(path, &cgroup) < 0 ? NULL : quota_level(&bus->broker->ledger.quota, cgroup);
}

static QuotaLimit limit_of(const Bus *bus, const QuotaLevel *level) {
        return quota_limit(&bus->broker->ledger.quota, &bus->broker->config.quotas, level->path);
}

static PasidCounts counts_of(const Bus *bus, const QuotaLevel *level) {
        PasidCounts counts;

        quota_read_counts(bus->broker, level, &counts);
        return counts;
}

#define LEVEL_GETTER(name, type, value)                                                                                \
        GETTER(name) {                                                                                                 \
                const QuotaLevel *level = level_at(userdata, path);                                                    \
                                                                                                                       \
                return level ? sd_bus_message_append(reply, type, value) : -ENOENT;                                    \
        }

LEVEL_GETTER(get_cgroup, "s", level->path)
LEVEL_GETTER(get_limit, "t", limit_of(userdata, level).limit)
LEVEL_GETTER(get_source, "s", limit_of(userdata, level).source)
LEVEL_GETTER(get_booked, "t", level->booked)
LEVEL_GETTER(get_in_use, "t", counts_of(userdata, level).in_use)
LEVEL_GETTER(get_peak, "t", counts_of(userdata, level).peak)
LEVEL_GETTER(get_shared, "t", counts_of(userdata, level).shared)
LEVEL_GETTER(get_refused, "t", counts_of(userdata, level).refused)
LEVEL_GETTER(get_killed, "t", counts_of(userdata, level).killed)

char *bus_quota_changing[] = { (char *) "Limit", (char *) "Source", (char *) "Booked", NULL };

#define TOLD SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

const sd_bus_vtable bus_quota_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("CGroup", "s", get_cgroup, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Limit", "t", get_limit, 0, TOLD),
        SD_BUS_PROPERTY("Source", "s", get_source, 0, TOLD),
        SD_BUS_PROPERTY("Booked", "t", get_booked, 0, TOLD),
        SD_BUS_PROPERTY("InUse", "t", get_in_use, 0, 0),
        SD_BUS_PROPERTY("Peak", "t", get_peak, 0, 0),
        SD_BUS_PROPERTY("Shared", "t", get_shared, 0, 0),
        SD_BUS_PROPERTY("Refused", "t", get_refused, 0, 0),
        SD_BUS_PROPERTY("Killed", "t", get_killed, 0, 0),
        SD_BUS_VTABLE_END,
};
