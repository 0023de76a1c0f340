/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>

#include "inventory.h"
#include "request.h"
#include "say.h"
#include "util/text.h"
#include "verb.h"

static const char help[] =
        "iommuctl vfs [OPTIONS] DEVICE N\n\n"
        "Give an SR-IOV device N virtual functions, without drivers, and print their addresses. 0 removes them, which\n"
        "is refused while one of them is leased or held open.\n\n"
        "      --force-in-use  remove them although the host uses them\n"
        "  -h, --help          this text\n";

static int call_set(sd_bus *bus, const char *path, uint32_t n, bool force_in_use) {
        _cleanup_message_ sd_bus_message *call = NULL;
        int r;

        r = bus_new_call(bus, path, BUS_DEVICE, "SetVirtualFunctions", &call);
        if (r < 0)
                return r;
        if (force_in_use)
                r = sd_bus_message_append(call, "ua{sv}", n, 1, "force-in-use", "b", true);
        else
                r = sd_bus_message_append(call, "ua{sv}", n, 0);
        if (r < 0)
                return bus_fail(r, "cannot write the request");
        return bus_call(bus, call, NULL);
}

static int print_functions(sd_bus *bus, const char *address) {
        _cleanup_inventory_ Inventory i = {};
        int r = inventory_load(bus, &i);

        if (r < 0)
                return r;
        for (size_t k = 0; k < i.n; k++) {
                const Object *o = &i.objects[k];

                if (o->kind == OBJECT_DEVICE && streq(json_text(o->properties, "PhysicalFunction"), address))
                        say(stdout, "%s", json_text(o->properties, "Address"));
        }
        return 0;
}

static int set(const char *address, uint32_t n, bool force_in_use) {
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_inventory_ Inventory i = {};
        const Object *device;
        int r;

        r = bus_connect(&bus);
        if (r >= 0)
                r = inventory_load(bus, &i);
        if (r < 0)
                return r;
        device = inventory_find_device(&i, address);
        if (!device) {
                say_error("no device %s; see: iommuctl list", address);
                return -ENODEV;
        }
        r = call_set(bus, device->path, n, force_in_use);
        return r < 0 ? r : print_functions(bus, address);
}

int verb_vfs(int argc, char **argv) {
        static const struct option options[] = {
                { "force-in-use", no_argument, NULL, 'f' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        char address[ADDRESS_MAX];
        bool force_in_use = false;
        uint64_t n;
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                if (c != 'f')
                        return c == 'h' ? say_help(help) : VERB_USAGE;
                force_in_use = true;
        }
        if (argc - optind != 2)
                return say_usage("vfs wants a device and a number");
        if (!address_parse(argv[optind], address))
                return say_usage("not the address of a PCI device: \"%s\"; it looks like 0000:01:00.0", argv[optind]);
        if (text_to_u64(argv[optind + 1], UINT16_MAX, &n) < 0)
                return say_usage("vfs wants a number of functions up to %u, not \"%s\"", UINT16_MAX, argv[optind + 1]);
        return set(address, (uint32_t) n, force_in_use);
}
