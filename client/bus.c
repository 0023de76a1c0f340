/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus.h"
#include "say.h"

int bus_connect(sd_bus **ret) {
        _cleanup_bus_ sd_bus *bus = NULL;
        int r;

        r = sd_bus_open_system_with_description(&bus, "iommuctl");
        if (r < 0) {
                say_error("cannot connect to the system bus: %s; is dbus running?", strerror(-r));
                return r;
        }
        /* iommud may ask polkit, and polkit the person at this terminal or desktop, if an agent is there. */
        r = sd_bus_set_allow_interactive_authorization(bus, true);
        if (r < 0)
                return bus_fail(r, "cannot set up the connection to the bus");
        *ret = TAKE_PTR(bus);
        return 0;
}

int bus_new_call(sd_bus *bus, const char *path, const char *interface, const char *member, sd_bus_message **ret) {
        int r;

        r = sd_bus_message_new_method_call(bus, ret, BUS_NAME, path, interface, member);
        return r < 0 ? bus_fail(r, "cannot make a message for iommud") : 0;
}

int bus_fail(int r, const char *what) {
        say_error("%s: %s", what, strerror(-r));
        return r;
}

static bool has_prefix(const char *s, const char *prefix) {
        return strncmp(s, prefix, strlen(prefix)) == 0;
}

/* The daemon's own texts name the device, the cause and the remedy: they stand as they are. The bus's do not. */
static void say_bus_error(const sd_bus_error *error, int r) {
        const char *message = error->message ? error->message : strerror(-r);

        if (!error->name || has_prefix(error->name, BUS_NAME ".Error."))
                say_error("%s", message);
        else if (streq(error->name, SD_BUS_ERROR_SERVICE_UNKNOWN) ||
                 streq(error->name, SD_BUS_ERROR_NAME_HAS_NO_OWNER) ||
                 streq(error->name, "org.freedesktop.DBus.Error.Spawn.ServiceNotFound"))
                say_error("iommud is not running, or not installed; start it with: systemctl start iommud");
        else if (has_prefix(error->name, "org.freedesktop.DBus.Error.Spawn.") ||
                 has_prefix(error->name, "org.freedesktop.systemd1.") || streq(error->name, SD_BUS_ERROR_TIMED_OUT))
                say_error("iommud could not be started: %s; see: systemctl status iommud", message);
        else if (streq(error->name, SD_BUS_ERROR_NO_REPLY) || streq(error->name, SD_BUS_ERROR_DISCONNECTED))
                say_error("iommud went away before it answered; see: journalctl -u iommud");
        else if (streq(error->name, SD_BUS_ERROR_UNKNOWN_METHOD) ||
                 streq(error->name, SD_BUS_ERROR_UNKNOWN_INTERFACE) || streq(error->name, SD_BUS_ERROR_UNKNOWN_OBJECT))
                say_error("iommud does not know this (it may have ended just now, or iommud be of another version): %s",
                          message);
        else
                say_error("%s", message);
}

int bus_call(sd_bus *bus, sd_bus_message *call, sd_bus_message **ret_reply) {
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        int r;

        r = sd_bus_call(bus, call, UINT64_MAX, &error, ret_reply);
        if (r < 0)
                say_bus_error(&error, r);
        return r;
}
