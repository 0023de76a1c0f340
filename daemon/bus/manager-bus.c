/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/stat.h>

#include "broker/checkup.h"
#include "broker/run.h"
#include "bus/acquire-bus.h"
#include "bus/options.h"
#include "bus/property.h"
#include "bus/quota-bus.h"
#include "bus/verdict.h"
#include "core/errors.h"

/* org.iommud1.Manager, but for Acquire and Explain. */

static int method_choose_driver(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        Request request = {};
        const VariantAlias *a;
        const Bus *bus = userdata;
        const Device *d;
        Address address;
        Options options;
        const char *s;
        int r;

        r = sd_bus_message_read(m, "s", &s);
        if (r < 0)
                return r;
        if (address_parse(s, &address) < 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "that is no PCI address; write it as the kernel does, like 0000:01:00.0");
        r = options_read(m, OPTIONS_CHOOSE_DRIVER, &request, &options, error);
        if (r < 0)
                return r;
        d = inventory_device(&bus->broker->ledger.inventory, address);
        if (!d)
                return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE, "there is no device %s", s);
        a = facts_is_bridge(&d->facts) ? NULL
            : request.pasids > 0 ? variant_candidate(&bus->broker->variants, d->facts.modalias, VARIANT_PLAIN_DRIVER)
                                 : variant_choose(&bus->broker->variants, d->facts.modalias);
        if (!a)
                return sd_bus_error_setf(error, ERROR_DRIVER_MISMATCH, "no VFIO driver fits %s", s);
        return sd_bus_reply_method_return(m, "sss", a->driver, a->module, a->pattern);
}

static int method_identify(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        char group[BUS_PATH_MAX], lease[BUS_PATH_MAX];
        const Bus *bus = userdata;
        const Device *d;
        struct stat st;
        int fd, r;

        r = options_read_fd(m, &fd, error);
        if (r < 0)
                return r;
        r = options_read_none(m, error);
        if (r < 0)
                return r;
        if (fstat(fd, &st) < 0)
                return -errno;
        INVENTORY_FOREACH_DEVICE (&bus->broker->ledger.inventory, d) {
                if (!S_ISCHR(st.st_mode) || d->facts.cdev[0] == '\0' || d->facts.cdev_number != st.st_rdev)
                        continue;
                return sd_bus_reply_method_return(m, "soo", ADDRESS(d->facts.address),
                                                  bus_group_path(d->facts.group, group),
                                                  bus_lease_path(d->lease, lease));
        }
        return sd_bus_error_setf(error, ERROR_NO_SUCH_DEVICE, "the descriptor is no VFIO device of this machine");
}

static int method_reload(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        _cleanup_free_ char *why = NULL;
        Bus *bus = userdata;
        Call *c;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r < 0)
                return verdict_give_up(bus, m, client, r, error);
        if (client->caller.uid != 0)
                return bus_refuse(bus, m, client, ERROR_NOT_AUTHORIZED, "only root may reload the configuration");
        r = bus->reload(bus->reload_userdata, &why);
        if (r < 0)
                return bus_refuse(bus, m, client, ERROR_CONFIGURATION, "%s", why ? why : strerror(-r));
        call_end(c);
        return sd_bus_reply_method_return(m, "");
}

GETTER(get_version) {
        (void) path;
        (void) userdata;
        return sd_bus_message_append(reply, "s", IOMMUD_VERSION);
}

GETTER(get_enforcement) {
        const Bus *bus = userdata;

        (void) path;
        return sd_bus_message_append(reply, "s", property_enforcement(bus->broker, NULL));
}

GETTER(get_health) {
        _cleanup_(findings_clear) Findings findings = {};
        const Bus *bus = userdata;
        int r = checkup_run(bus->broker, &findings);

        (void) path;
        if (r < 0)
                return r;
        return verdict_append(reply, &findings);
}

const sd_bus_vtable bus_manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("Acquire", SD_BUS_ARGS("as", devices, "a{sv}", options),
                                SD_BUS_RESULT("o", lease, "a(ssh)", fds, "a{sa{sv}}", found),
                                acquire_bus_method_acquire, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Explain", SD_BUS_ARGS("as", devices, "a{sv}", options),
                                SD_BUS_RESULT("b", possible, "a(ssssa{sv})", findings), acquire_bus_method_explain,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("ChooseDriver", SD_BUS_ARGS("s", device, "a{sv}", options),
                                SD_BUS_RESULT("s", driver, "s", module, "s", alias), method_choose_driver,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Identify", SD_BUS_ARGS("h", fd, "a{sv}", options),
                                SD_BUS_RESULT("s", device, "o", group, "o", lease), method_identify,
                                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("SetPasidLimit", SD_BUS_ARGS("s", cgroup, "t", limit, "a{sv}", options),
                                SD_BUS_NO_RESULT, quota_bus_method_set_pasid_limit, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD("Reload", NULL, NULL, method_reload, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_PROPERTY("Version", "s", get_version, 0, SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Enforcement", "s", get_enforcement, 0, 0),
        SD_BUS_PROPERTY("Health", "a(ssssa{sv})", get_health, 0, 0),
        SD_BUS_VTABLE_END,
};
