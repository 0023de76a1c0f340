/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "grant.h"
#include "qmp.h"
#include "say.h"
#include "verb.h"

static const char help[] =
        "iommuctl plug --qmp SOCKET [OPTIONS] DEVICE\n\n"
        "Add a device to the lease that \"iommuctl run\" started this with, and plug it into the QEMU that listens at\n"
        "SOCKET. Prints the device's id in QEMU.\n\n"
        "      --qmp SOCKET           QEMU's monitor: -qmp unix:SOCKET,server=on,wait=off\n"
        "      --bus NAME             the bus in QEMU, one that can be plugged, such as a pcie-root-port\n"
        "      --id NAME              the device's id in QEMU, instead of one made from its address\n"
        "      --iommufd NAME         the id of QEMU's iommufd object (iommufd0)\n" REQUEST_ADD_HELP
        "      --wait SECONDS         wait so long for a device that is leased or being released\n"
        "  -h, --help                 this text\n";

typedef struct Plug {
        const char *socket, *bus, *id, *iommufd;
} Plug;

static int device_add(Qmp *qmp, const Plug *p, int fd) {
        _cleanup_json_ sd_json_variant *name = NULL, *device = NULL;
        int r;

        r = sd_json_buildo(&name, SD_JSON_BUILD_PAIR_STRING("fdname", p->id));
        if (r >= 0)
                r = sd_json_buildo(&device, SD_JSON_BUILD_PAIR_STRING("driver", "vfio-pci"),
                                   SD_JSON_BUILD_PAIR_STRING("id", p->id), SD_JSON_BUILD_PAIR_STRING("fd", p->id),
                                   SD_JSON_BUILD_PAIR_STRING("iommufd", p->iommufd),
                                   SD_JSON_BUILD_PAIR_CONDITION(!!p->bus, "bus", SD_JSON_BUILD_STRING(p->bus)));
        if (r < 0)
                return bus_fail(r, "cannot make JSON");
        r = qmp_execute(qmp, "getfd", TAKE_PTR(name), fd);
        if (r < 0)
                return r;
        r = qmp_execute(qmp, "device_add", TAKE_PTR(device), -EBADF);
        if (r == -EREMOTE)
                (void) qmp_close_fd(qmp, p->id);
        return r;
}

static int plug(const Plug *p, const Request *q) {
        _cleanup_grant_ Grant g = {};
        _cleanup_bus_ sd_bus *bus = NULL;
        _cleanup_qmp_ Qmp qmp = {};
        int r;

        r = grant_from_environment(&g);
        if (r < 0)
                return r;
        r = qmp_open(p->socket, p->id, &qmp);
        if (r < 0)
                return r;
        r = bus_connect(&bus);
        if (r < 0)
                return r;
        r = grant_add_devices(bus, q, &g);
        if (r < 0)
                return r;
        /* If it fails, nobody has the device's descriptor when we end, and so it leaves the lease again. */
        r = device_add(&qmp, p, grant_fd(&g, "device", q->devices.items[0]));
        if (r >= 0)
                puts(p->id);
        return r;
}

int verb_plug(int argc, char **argv) {
        static const struct option options[] = {
                REQUEST_ADD_OPTIONS,
                { "wait", required_argument, NULL, REQUEST_WAIT },
                { "qmp", required_argument, NULL, 'q' },
                { "bus", required_argument, NULL, 'b' },
                { "id", required_argument, NULL, 'n' },
                { "iommufd", required_argument, NULL, 'f' },
                { "help", no_argument, NULL, 'h' },
                {},
        };
        Plug p = { .iommufd = "iommufd0" };
        char id[QMP_ID_MAX];
        Request q = {};
        int c, r = 0;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0) {
                switch (c) {
                case 'q':
                        p.socket = optarg;
                        break;
                case 'b':
                        p.bus = optarg;
                        break;
                case 'n':
                        p.id = optarg;
                        break;
                case 'f':
                        p.iommufd = optarg;
                        break;
                case 'h':
                        return say_help(help);
                case '?':
                        return VERB_USAGE;
                default:
                        r = request_option(&q, c, optarg);
                }
                if (r != 0)
                        return r;
        }
        if (!p.socket || argc - optind != 1)
                return say_usage("plug wants --qmp SOCKET and one device");
        r = request_add_device(&q, argv[optind]);
        if (r != 0)
                return r;
        qmp_device_id(q.devices.items[0], id);
        p.id = p.id ? p.id : id;
        return plug(&p, &q);
}
