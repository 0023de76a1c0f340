/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "facts.h"

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
