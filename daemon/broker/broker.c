/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>

#include "broker/newcomer.h"
#include "broker/release.h"
#include "broker/run.h"
#include "system/journal.h"

void broker_device_changed(Broker *b, Device *d) {
        Group *g = inventory_group_of(&b->ledger.inventory, d);

        if (!b->listener)
                return;
        b->listener->device_changed(d, b->listener_userdata);
        if (g)
                b->listener->group_changed(g, b->listener_userdata);
}

void broker_lease_changed(Broker *b, Lease *l) {
        for (size_t i = 0; i < l->n_devices; i++) {
                Device *d = inventory_device(&b->ledger.inventory, l->devices[i].address);

                if (d)
                        broker_device_changed(b, d);
        }
        if (b->listener)
                b->listener->lease_changed(l, b->listener_userdata);
}

World broker_world(const Broker *b) {
        return (World) { .inventory = &b->ledger.inventory, .config = &b->config, .variants = &b->variants };
}

const Holders *broker_holders(const Broker *b, const Lease *l, size_t i) {
        const LeaseRun *run = run_find(b, l);

        return run ? &run->devices[i].holders : NULL;
}

bool broker_is_lifeline(const Broker *b, const Lease *l, int fd) {
        const LeaseRun *run = run_find(b, l);

        return run && run->lifeline && lifeline_is(run->lifeline, fd);
}

static int refresh_group(Broker *b, int id) {
        bool known = inventory_group(&b->ledger.inventory, id) != NULL;
        GroupFacts facts;
        Group *g;
        int r;

        r = b->kernel->ops->read_group(b->kernel, id, &facts);
        if (r < 0)
                return r;
        r = inventory_put_group(&b->ledger.inventory, &facts, &g);
        if (r < 0)
                return r;
        if (!known && b->listener)
                b->listener->group_added(g, b->listener_userdata);
        return 0;
}

static int read_device(Broker *b, Address a) {
        DeviceFacts facts;
        Device *d;
        int r;

        r = b->kernel->ops->read_device(b->kernel, a, &facts);
        if (r < 0)
                return r;
        if (facts.group >= 0) {
                r = refresh_group(b, facts.group);
                if (r < 0)
                        return r;
        }
        r = inventory_put_device(&b->ledger.inventory, &facts, &d);
        if (r < 0)
                return r;
        /* A driver that takes the device again has mended it. */
        if (d->state == DEVICE_BROKEN && !d->lease && facts.driver_kind == DRIVER_HOST) {
                d->state = DEVICE_FREE;
                d->reason[0] = '\0';
        }
        if (r > 0 && b->listener)
                b->listener->device_added(d, b->listener_userdata);
        broker_device_changed(b, d);
        newcomer_judge(b, d, r > 0);
        return 0;
}

void broker_forget(Broker *b, Address a) {
        Inventory *inv = &b->ledger.inventory;
        Device *d = inventory_device(inv, a);
        int group;

        if (!d)
                return;
        group = d->facts.group;
        if (!inventory_remove_device(inv, a)) {
                newcomer_note_gone(b, d);
                broker_device_changed(b, d);
                return;
        }
        if (!b->listener)
                return;
        b->listener->device_removed(a, group, b->listener_userdata);
        if (group >= 0 && !inventory_group(inv, group))
                b->listener->group_removed(group, b->listener_userdata);
}

/* Some sysfs attributes take the device's lock, which a worker may hold for long: what it works on is not looked at. */
static bool is_worked_on(const Broker *b, const Device *d) {
        const LeaseRun *run = d->lease ? run_find(b, d->lease) : NULL;
        const LeaseDevice *ld = run ? lease_device(d->lease, d->facts.address) : NULL;

        return ld && run->devices[run_index(run, ld)].part->task;
}

void broker_refresh(Broker *b, Address a) {
        Device *d = inventory_device(&b->ledger.inventory, a);
        int r;

        if (d && is_worked_on(b, d))
                return;
        r = read_device(b, a);
        if (r == -ENODEV)
                broker_forget(b, a);
        else if (r < 0)
                journal_log(LOG_WARNING, "Cannot read %s: %s", ADDRESS(a), strerror(-r));
}

int broker_enumerate(Broker *b) {
        _cleanup_free_ Address *list = NULL;
        size_t n;
        int r;

        r = b->kernel->ops->read_platform(b->kernel, &b->ledger.inventory.platform);
        if (r < 0)
                return r;
        r = b->kernel->ops->list_devices(b->kernel, &list, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++)
                broker_refresh(b, list[i]);
        return 0;
}

static void on_closed(int wd, void *userdata) {
        Broker *b = userdata;

        if (wd < 0)
                journal_log(LOG_WARNING, "Closes of VFIO devices were missed; looking into /proc instead");
        release_note_closed(b, wd);
}

Broker *broker_free(Broker *b) {
        if (!b)
                return NULL;
        /* Leases live on in their files: a stop is no end. */
        task_queue_free(b->tasks);
        while (b->runs)
                run_free(b->runs);
        watch_free(b->watch);
        ledger_clear(&b->ledger);
        config_clear(&b->config);
        variant_table_clear(&b->variants);
        store_close(&b->store);
        sd_event_unref(b->event);
        free(b);
        return NULL;
}

int broker_new(sd_event *event, Kernel *kernel, const char *runtime_directory, Config config, VariantTable variants,
               int watch_fd, Broker **ret) {
        _cleanup_(broker_freep) Broker *b = calloc(1, sizeof(*b));
        int r;

        if (!b)
                return -ENOMEM;
        b->event = sd_event_ref(event);
        b->kernel = kernel;
        b->config = config;
        b->variants = variants;
        b->store = STORE_EMPTY;
        b->watch_is_new = watch_fd < 0;
        r = watch_new(event, watch_fd, on_closed, b, &b->watch);
        if (r < 0)
                return r;
        r = store_open(&b->store, runtime_directory);
        if (r < 0)
                return r;
        r = task_queue_new(event, &b->store, b->config.limits.workers, &b->tasks);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(b);
        return 0;
}
