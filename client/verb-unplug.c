/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>

#include "event.h"
#include "inventory.h"
#include "qmp.h"
#include "request.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl unplug --qmp SOCKET [OPTIONS] DEVICE\n\n"
        "Unplug a device from the QEMU that listens at SOCKET, and wait until it has left the lease. It leaves when QEMU\n"
        "closes it, and QEMU closes it when the guest has let go of it.\n\n"
        "      --qmp SOCKET  QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off\n"
        "      --id NAME     the device's id in QEMU, if it is not the one that \"plug\" gives\n"
        "  -h, --help        this text\n";

typedef struct Wait {
        sd_bus *bus;
        const char *address;
        char path[128], lease[128]; /* the device, and the lease that it is to leave */
        bool left, broken;
} Wait;

static int begin(Wait *w) {
        _cleanup_inventory_ Inventory i = {};
        const Object *device;
        int r;

        r = inventory_load(w->bus, &i);
        if (r < 0)
                return r;
        device = inventory_find_device(&i, w->address);
        if (!device || !text_copy(w->path, sizeof(w->path), device->path) ||
            !text_copy(w->lease, sizeof(w->lease), json_text(device->properties, "Lease"))) {
                say_error("there is no device %s; see: iommuctl list", w->address);
                return -ENODEV;
        }
        if (streq(w->lease, "/")) {
                say_error("%s belongs to no lease; nothing was unplugged", w->address);
                return -ENODEV;
        }
        return 0;
}

static void look(Wait *w) {
        _cleanup_inventory_ Inventory i = {};
        const Object *device;
        const char *state;

        if (inventory_load(w->bus, &i) < 0)
                return;
        device = inventory_find(&i, w->path);
        state = device ? json_text(device->properties, "State") : "";
        w->broken = streq(state, "broken");
        /* Parked: others of its group stay in the lease. */
        w->left = !device || w->broken || streq(state, "parked") ||
                  !streq(json_text(device->properties, "Lease"), w->lease);
        if (w->broken)
                say_error("%s is broken: %s", w->address, json_text(device->properties, "StateReason"));
}

static void on_event(const Event *e, void *userdata) {
        Wait *w = userdata;

        if (e->kind == EVENT_STARTED || (e->path && streq(e->path, w->path)))
                look(w);
}

static int unplug(const char *socket, const char *id, const char *address) {
        _cleanup_json_ sd_json_variant *name = NULL;
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_qmp_ Qmp qmp = {};
        Wait w = { .address = address };
        EventWatch watch = { .handler = on_event, .userdata = &w };
        int r;

        r = bus_connect(&bus);
        if (r < 0)
                return r;
        w.bus = bus;
        r = begin(&w);
        if (r < 0)
                return r;
        r = qmp_open(socket, id, &qmp);
        if (r < 0)
                return r;
        r = sd_json_buildo(&name, SD_JSON_BUILD_PAIR_STRING("id", id));
        if (r < 0)
                return bus_fail(r, "cannot make JSON");
        r = qmp_execute(&qmp, "device_del", TAKE_PTR(name), -EBADF);
        if (r >= 0)
                r = qmp_wait_deleted(&qmp);
        if (r >= 0)
                r = event_watch(bus, &watch);
        if (r < 0)
                return r;
        look(&w);
        r = event_wait(bus, &watch, &w.left);
        return r < 0 ? r : w.broken;
}

int verb_unplug(int argc, char **argv) {
        static const struct option options[] = {
                { "qmp", required_argument, NULL, 'q' },
                { "id", required_argument, NULL, 'n' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        const char *socket = NULL, *name = NULL;
        char address[ADDRESS_MAX], id[QMP_ID_MAX];
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case 'q':
                        socket = optarg;
                        break;
                case 'n':
                        name = optarg;
                        break;
                case 'h':
                        return say_help(help);
                default:
                        return VERB_USAGE;
                }
        }
        if (!socket || argc - optind != 1)
                return say_usage("unplug wants --qmp SOCKET and one device");
        if (!address_parse(argv[optind], address))
                return say_usage("not the address of a PCI device: \"%s\"; it looks like 0000:01:00.0", argv[optind]);
        qmp_device_id(address, id);
        return unplug(socket, name ? name : id, address);
}
