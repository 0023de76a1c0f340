/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event.h"
#include "inventory.h"
#include "say.h"

static void handle(EventWatch *w, const Event *e) {
        w->handler(e, w->userdata);
}

static int on_added(sd_bus_message *m, EventWatch *w) {
        _cleanup_json_ sd_json_variant *interfaces = NULL;
        const char *path;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = json_read(m, "", &interfaces);
        for (size_t i = 0; r >= 0 && i < json_members(interfaces); i++) {
                Event e = { .kind = EVENT_ADDED, .path = path };

                e.interface = json_member(interfaces, i, &e.data);
                if (object_kind_from_interface(e.interface) >= 0)
                        handle(w, &e);
        }
        return r;
}

static int on_removed(sd_bus_message *m, EventWatch *w) {
        const char *path, *interface;
        int r;

        r = sd_bus_message_read(m, "o", &path);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(m, "s", &interface)) > 0)
                if (object_kind_from_interface(interface) >= 0)
                        handle(w, &(Event) { .kind = EVENT_REMOVED, .path = path, .interface = interface });
        return r;
}

static int on_changed(sd_bus_message *m, EventWatch *w) {
        _cleanup_json_ sd_json_variant *changed = NULL;
        const char *interface, *name;
        int r;

        r = sd_bus_message_read(m, "s", &interface);
        if (r >= 0)
                r = json_read(m, "", &changed);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, 'a', "s");
        while (r >= 0 && (r = sd_bus_message_read(m, "s", &name)) > 0)
                r = sd_json_variant_set_field(&changed, name, NULL);
        if (r < 0)
                return r;
        if (object_kind_from_interface(interface) >= 0)
                handle(w, &(Event) { .kind = EVENT_CHANGED,
                                     .path = sd_bus_message_get_path(m),
                                     .interface = interface,
                                     .data = changed });
        return 0;
}

static int on_other(sd_bus_message *m, EventWatch *w) {
        _cleanup_json_ sd_json_variant *data = NULL;
        const char *interface = sd_bus_message_get_interface(m), *name = sd_bus_message_get_member(m);
        int r;

        if (object_kind_from_interface(interface) < 0)
                return 0;
        r = json_read_rest(m, name, &data);
        if (r < 0)
                return r;
        handle(w, &(Event) { .kind = EVENT_SIGNAL,
                             .path = sd_bus_message_get_path(m),
                             .interface = interface,
                             .name = name,
                             .data = data });
        return 0;
}

static int on_signal(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        EventWatch *w = userdata;
        int r;

        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.ObjectManager", "InterfacesAdded"))
                r = on_added(m, w);
        else if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.ObjectManager", "InterfacesRemoved"))
                r = on_removed(m, w);
        else if (sd_bus_message_is_signal(m, "org.freedesktop.DBus.Properties", "PropertiesChanged"))
                r = on_changed(m, w);
        else
                r = on_other(m, w);
        if (r < 0)
                say_error("cannot read a signal of iommud: %s", strerror(-r));
        return 0;
}

static int on_owner(sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        const char *name, *before, *after;
        EventWatch *w = userdata;
        int r;

        r = sd_bus_message_read(m, "sss", &name, &before, &after);
        if (r < 0)
                return 0;
        /* A new owner right after the old one, as after --replace, is both. */
        if (!isempty(before))
                handle(w, &(Event) { .kind = EVENT_STOPPED });
        if (!isempty(after))
                handle(w, &(Event) { .kind = EVENT_STARTED });
        return 0;
}

static int on_disconnected(_unused_ sd_bus_message *m, void *userdata, _unused_ sd_bus_error *error) {
        EventWatch *w = userdata;

        w->lost = true;
        handle(w, &(Event) { .kind = EVENT_LOST });
        return 0;
}

int event_watch(sd_bus *bus, EventWatch *w) {
        int r;

        r = sd_bus_add_match(bus, NULL, "type='signal',sender='" BUS_NAME "',path_namespace='" BUS_ROOT "'", on_signal,
                             w);
        if (r >= 0)
                r = sd_bus_match_signal(bus, NULL, "org.freedesktop.DBus.Local", "/org/freedesktop/DBus/Local",
                                        "org.freedesktop.DBus.Local", "Disconnected", on_disconnected, w);
        if (r >= 0)
                r = sd_bus_add_match(bus, NULL,
                                     "type='signal',sender='org.freedesktop.DBus',path='/org/freedesktop/DBus',"
                                     "interface='org.freedesktop.DBus',member='NameOwnerChanged',arg0='" BUS_NAME "'",
                                     on_owner, w);
        return r < 0 ? bus_fail(r, "cannot subscribe to the signals of iommud") : 0;
}

int event_wait(sd_bus *bus, const EventWatch *w, const bool *done) {
        int r;

        while (!*done && !w->lost) {
                r = sd_bus_process(bus, NULL);
                if (r == 0)
                        r = sd_bus_wait(bus, UINT64_MAX);
                if (r < 0 && r != -EINTR && !w->lost)
                        return bus_fail(r, "lost the connection to the bus");
        }
        if (*done)
                return 0;
        say_error("lost the connection to the bus");
        return -ENOTCONN;
}
