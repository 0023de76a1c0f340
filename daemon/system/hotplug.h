/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "core/address.h"

/* Tells when a PCI device comes, goes, or changes its driver, after udev's own rules have run. (libudev has taken "udev_".) */

typedef struct Hotplug Hotplug;

typedef enum HotplugEvent {
        HOTPLUG_CHANGED, /* added, bound, unbound, or something of it changed: look again */
        HOTPLUG_REMOVED,
        HOTPLUG_UNREGISTERED, /* its VFIO device went: whoever takes it from its driver waits until it is closed */
        HOTPLUG_LOST,         /* the queue overflowed: look at everything again; the address is not set */
} HotplugEvent;

typedef void (*hotplug_handler_t)(HotplugEvent event, Address a, void *userdata);

int hotplug_new(sd_event *event, hotplug_handler_t handler, void *userdata, Hotplug **ret);
Hotplug *hotplug_free(Hotplug *u);
