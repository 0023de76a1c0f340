/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "facts.h"
#include "util/text.h"

const char *driver_kind_to_string(DriverKind kind) {
        switch (kind) {
        case DRIVER_NONE:
                return "none";
        case DRIVER_NEIGHBOUR:
                return "neighbour";
        case DRIVER_VFIO:
                return "vfio";
        case DRIVER_HOST:
                return "host";
        }
        return "invalid";
}

DriverKind driver_kind_of(const char *driver, bool has_vfio_device) {
        if (driver[0] == '\0')
                return DRIVER_NONE;
        if (has_vfio_device)
                return DRIVER_VFIO;
        /* The complete list of PCI drivers with driver_managed_dma besides VFIO's in Linux 7.2. */
        if (streq(driver, "pcieport") || streq(driver, "pci-stub"))
                return DRIVER_NEIGHBOUR;
        return DRIVER_HOST;
}

void holders_describe(const Holders *h, char *buf, size_t size) {
        for (size_t i = 0; i < h->n; i++)
                text_append(buf, size, "%s pid %d (%s, uid %u)", i > 0 ? "," : "", h->holders[i].pid,
                            h->holders[i].name, h->holders[i].uid);
        if (h->more)
                text_append(buf, size, " and others");
}
