/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/pasid.h"
#include "bus/options.h"
#include "bus/pasid-bus.h"
#include "bus/verdict.h"
#include "core/errors.h"
#include "system/journal.h"

static void on_changed(int result, void *userdata) {
        Call *c = userdata;
        Bus *bus = c->list->userdata;

        if (result == -EDQUOT)
                (void) bus_refuse(bus, c->message, c->client, ERROR_QUOTA_EXCEEDED,
                                  "the lease has attached all the PASIDs that it has booked");
        else if (result < 0)
                (void) bus_refuse(bus, c->message, c->client, ERROR_KERNEL_REFUSED, "%s%s", strerror(-result),
                                  result == -EINVAL ? "; the page table has to be one for PASIDs "
                                                      "(IOMMU_HWPT_ALLOC_PASID), and the PASID within pasid-bits"
                                                    : "");
        else
                call_answer(c);
}

static int read_order(Bus *bus, sd_bus_message *m, Call *c, PasidOrder *order, LeaseRun **ret,
                      const LeaseDevice **ret_device, sd_bus_error *error) {
        const char *device;
        Lease *l;
        int r;

        r = bus_proven_lease(bus, m, c, &l, error);
        if (r >= 0)
                r = sd_bus_message_read(m, "s", &device);
        if (r >= 0 && !order->detach)
                r = sd_bus_message_read(m, "u", &order->pt);
        if (r >= 0)
                r = sd_bus_message_read(m, "u", &order->pasid);
        if (r >= 0)
                r = options_read_none(m, error);
        if (r < 0)
                return r;
        if (order->pasid == 0)
                return sd_bus_error_setf(error, ERROR_INVALID_ARGUMENT,
                                         "0 is no PASID: it stands for the device's own traffic");
        *ret = run_find(bus->broker, l);
        return bus_leased_device(l, device, ret_device, error);
}

static int change(sd_bus_message *m, void *userdata, bool detach, sd_bus_error *error) {
        _cleanup_(client_freep) Client *client = NULL;
        PasidOrder order = { .detach = detach };
        const LeaseDevice *d = NULL;
        LeaseRun *run = NULL;
        Bus *bus = userdata;
        Call *c;
        int r;

        r = bus_enter(bus, m, &c, &client, error);
        if (r == 0)
                return 1;
        if (r > 0)
                r = read_order(bus, m, c, &order, &run, &d, error);
        if (r < 0)
                return verdict_give_up(bus, m, client, r, error);
        c->client = TAKE_PTR(client);
        r = pasid_start(run, d, &order, on_changed, c);
        if (r == -EOPNOTSUPP)
                return bus_refuse(
                        bus, m, c->client, ERROR_NOT_SUPPORTED,
                        "the daemon has no descriptor of %s: only with the hand-over \"attached\" it keeps one, "
                        "until it is restarted",
                        ADDRESS(d->address));
        if (r == -EBUSY)
                return bus_refuse(bus, m, c->client, ERROR_DEVICE_BUSY, "a worker is at work on %s; try again",
                                  ADDRESS(d->address));
        return r < 0 ? verdict_give_up(bus, m, c->client, r, error) : 1;
}

int pasid_bus_method_attach(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change(m, userdata, false, error);
}

int pasid_bus_method_detach(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        return change(m, userdata, true, error);
}
