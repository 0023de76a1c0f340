/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libudev.h>
#include <sys/epoll.h>

#include "system/hotplug.h"

struct Hotplug {
        struct udev *context;
        struct udev_monitor *monitor;
        sd_event_source *source;
        hotplug_handler_t handler;
        void *userdata;
};

/* A burst of events (64 virtual functions, say) is better not lost; the kernel's default is some 200 KiB. */
#define BUFFER_SIZE (8 << 20)

Hotplug *hotplug_free(Hotplug *u) {
        if (!u)
                return NULL;
        sd_event_source_disable_unref(u->source);
        udev_monitor_unref(u->monitor);
        udev_unref(u->context);
        free(u);
        return NULL;
}
DEFINE_CLEANUP(Hotplug, hotplug_free)

/* The PCI device of an event: the device itself, or the one that a VFIO device stands on. */
static int event_address(struct udev_device *dev, Address *ret) {
        struct udev_device *pci = dev;

        if (streq(udev_device_get_subsystem(dev), "vfio-dev"))
                pci = udev_device_get_parent_with_subsystem_devtype(dev, "pci", NULL);
        return pci ? address_parse(udev_device_get_sysname(pci), ret) : -ENODEV;
}

static int on_event(_unused_ sd_event_source *s, _unused_ int fd, _unused_ uint32_t revents, void *userdata) {
        Hotplug *u = userdata;
        struct udev_device *dev;
        const char *action;
        Address a;

        errno = 0;
        dev = udev_monitor_receive_device(u->monitor);
        if (!dev) {
                if (errno == ENOBUFS)
                        u->handler(HOTPLUG_LOST, (Address) {}, u->userdata);
                return 0;
        }
        action = udev_device_get_action(dev);
        if (action && event_address(dev, &a) >= 0) {
                bool pci = streq(udev_device_get_subsystem(dev), "pci"), removed = streq(action, "remove");

                u->handler(!removed ? HOTPLUG_CHANGED : pci ? HOTPLUG_REMOVED : HOTPLUG_UNREGISTERED, a, u->userdata);
        }
        udev_device_unref(dev);
        return 0;
}

int hotplug_new(sd_event *event, hotplug_handler_t handler, void *userdata, Hotplug **ret) {
        _cleanup_(hotplug_freep) Hotplug *u = calloc(1, sizeof(*u));
        int r;

        if (!u)
                return -ENOMEM;
        u->handler = handler;
        u->userdata = userdata;
        u->context = udev_new();
        if (!u->context)
                return -ENOMEM;
        u->monitor = udev_monitor_new_from_netlink(u->context, "udev");
        if (!u->monitor)
                return -errno;
        r = udev_monitor_filter_add_match_subsystem_devtype(u->monitor, "pci", NULL);
        if (r >= 0)
                r = udev_monitor_filter_add_match_subsystem_devtype(u->monitor, "vfio-dev", NULL);
        /* More than net.core.rmem_max takes CAP_NET_ADMIN, which is not worth it: a loss is noticed, and then all is read anew. */
        if (r >= 0)
                (void) udev_monitor_set_receive_buffer_size(u->monitor, BUFFER_SIZE);
        if (r >= 0)
                r = udev_monitor_enable_receiving(u->monitor);
        if (r >= 0)
                r = sd_event_add_io(event, &u->source, udev_monitor_get_fd(u->monitor), EPOLLIN, on_event, u);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(u);
        return 0;
}
