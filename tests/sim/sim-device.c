/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simkernel.h"
#include "util/text.h"

SimDevice *sim_device(Sim *s, Address a) {
        size_t low = 0, high = s->n_devices;

        while (low < high) {
                size_t middle = (low + high) / 2;
                int c = address_compare(s->devices[middle].facts.address, a);

                if (c == 0)
                        return &s->devices[middle];
                if (c < 0)
                        low = middle + 1;
                else
                        high = middle;
        }
        return NULL;
}

const char *sim_breach_to_string(SimBreach b) {
        static const char *const names[_SIM_BREACH_MAX] = {
                [SIM_BREACH_RESET_ON_HOST] = "a device was reset under its host driver",
                [SIM_BREACH_RESET_OPEN] = "a device was reset while somebody had it open",
                [SIM_BREACH_DIRTY] = "a host driver got a device that was not reset after a client",
                [SIM_BREACH_BAD_CLOSE] = "a descriptor was closed that is not open",
                [SIM_BREACH_RESCAN_LOCK] = "a virtual function was to be removed while somebody had it open",
                [SIM_BREACH_WORKER_LEAK] = "a worker ended with a descriptor that nobody knows",
                [SIM_BREACH_IN_USE] = "a device was taken from its host driver while the host used it",
        };

        return b < _SIM_BREACH_MAX && names[b] ? names[b] : "no breach";
}

void sim_breach(Sim *s, SimBreach b, const SimDevice *d) {
        s->n_breaches[b]++;
        s->breached = d ? d->facts.address : (Address) {};
}

int sim_driver(const Sim *s, const char *name) {
        for (size_t i = 0; i < s->n_drivers; i++)
                if (streq(s->drivers[i].name, name))
                        return (int) i;
        return -1;
}

const char *sim_driver_name(const Sim *s, const SimDevice *d) {
        return d->driver < 0 || d->unbinding ? "" : s->drivers[d->driver].name;
}

DriverKind sim_driver_kind(const Sim *s, const SimDevice *d) {
        return d->driver < 0 ? DRIVER_NONE : s->drivers[d->driver].kind;
}

/* pci_match_device(): an override decides alone; else the driver's own ids and those that it was told of. */
bool sim_matches(const Sim *s, const SimDevice *d, int driver) {
        const SimDriver *drv = &s->drivers[driver];

        if (!isempty(d->override))
                return streq(d->override, drv->name);
        if (drv->kind == DRIVER_VFIO)
                return d->dynamic_id && streq(drv->name, "vfio-pci");
        return d->host == driver;
}

/* pci_device_can_probe() */
static bool may_probe(Sim *s, const SimDevice *d) {
        const SimDevice *pf = sim_physical_function(s, d);

        return !pf || !pf->no_autoprobe || !isempty(d->override);
}

int sim_attach_driver(Sim *s, SimDevice *d, int driver) {
        const SimDriver *drv = &s->drivers[driver];
        SimGroup *g = &s->groups[d->group];

        if (drv->kind == DRIVER_HOST && g->n_claims > 0)
                return -EBUSY; /* iommu_device_use_default_domain() */
        if (!may_probe(s, d))
                return -ENODEV;
        if (drv->kind == DRIVER_VFIO && !streq(drv->name, "vfio-pci") && d->variant != driver)
                return -ENODEV; /* a variant driver takes only its own devices */
        d->driver = driver;
        if (drv->kind == DRIVER_VFIO) {
                d->generation++;
                d->watch = 0;
                sim_group_gained(g);
        }
        if (drv->kind != DRIVER_HOST)
                return 0;
        g->n_host++;
        if (d->dirty && !isempty(d->facts.reset_methods))
                sim_breach(s, SIM_BREACH_DIRTY, d);
        d->dirty = false;
        return 0;
}

void sim_detach_driver(Sim *s, SimDevice *d) {
        if (sim_driver_kind(s, d) == DRIVER_HOST)
                s->groups[d->group].n_host--;
        else if (sim_driver_kind(s, d) == DRIVER_VFIO)
                sim_group_lost(s, &s->groups[d->group]);
        d->driver = -1;
        d->unbinding = d->in_use = false;
        d->watch = 0; /* the node is gone, and the watch with it */
}

static void offer(Sim *s, SimDevice *d, int driver) {
        if (!d->present || d->driver >= 0 || d->lock != SIM_UNLOCKED)
                return;
        if (!s->drivers[driver].loaded || !sim_matches(s, d, driver))
                return;
        if (sim_attach_driver(s, d, driver) >= 0 && s->on_probed)
                s->on_probed(s->userdata, d);
}

void sim_probe(Sim *s, SimDevice *d) {
        for (size_t i = 0; i < s->n_drivers; i++)
                offer(s, d, (int) i);
}

/* Module names have '_' where drivers may have '-', and modprobe takes both for the same. */
static bool same_module(const char *a, const char *b) {
        for (; *a && *b; a++, b++)
                if ((*a == '-' ? '_' : *a) != (*b == '-' ? '_' : *b))
                        return false;
        return *a == *b;
}

int sim_load(Sim *s, const char *module) {
        for (size_t i = 0; i < s->n_drivers; i++) {
                SimDriver *drv = &s->drivers[i];

                if (!same_module(drv->module, module))
                        continue;
                if (drv->loaded)
                        return (int) i;
                if (drv->missing)
                        return -ENOENT;
                drv->loaded = true;
                for (size_t j = 0; j < s->n_devices; j++)
                        offer(s, &s->devices[j], (int) i);
                return (int) i;
        }
        return -ENOENT;
}

void sim_unload(Sim *s, int driver) {
        for (size_t i = 0; i < s->n_devices; i++)
                if (s->devices[i].driver == driver && s->devices[i].lock != SIM_UNLOCKED)
                        return; /* rmmod waits; nothing else does */
        for (size_t i = 0; i < s->n_devices; i++)
                if (s->devices[i].driver == driver)
                        sim_detach_driver(s, &s->devices[i]);
        s->drivers[driver].loaded = false;
}

void sim_unbind(Sim *s, SimDevice *d) {
        if (d->driver < 0 || d->unbinding)
                return;
        if (sim_driver_kind(s, d) == DRIVER_VFIO && d->n_open > 0) {
                d->unbinding = true;
                d->watch = 0;
                d->lock = SIM_LOCKED_BY_FILES;
                return;
        }
        sim_detach_driver(s, d);
}

void sim_unlock(Sim *s, SimDevice *d) {
        bool unbinding = d->unbinding;

        if (d->lock == SIM_UNLOCKED)
                return;
        d->lock = SIM_UNLOCKED;
        /* What the sleeping worker was at is done now; then the worker dies. */
        if (unbinding) {
                d->unbinding = false;
                sim_unbind(s, d);
        }
        sim_client_die(s, SIM_PID_HUNG + (int) (d - s->devices));
}

void sim_vanish(Sim *s, SimDevice *d) {
        if (!d->present)
                return;
        if (!d->facts.virtual_function)
                sim_forget_virtual_functions(s, d);
        sim_detach_driver(s, d);
        d->lock = SIM_UNLOCKED;
        d->present = false;
        d->n_pulled++;
        s->n_hotplugs++;
        d->override[0] = '\0';
        d->no_autoprobe = false;
        s->groups[d->group].n_present--;
        sim_client_die(s, SIM_PID_HUNG + (int) (d - s->devices));
}

static bool new_group_id(Sim *s, SimGroup *g) {
        int *grown = reallocarray(s->group_of_id, s->n_ids + 1, sizeof(*grown));

        if (!grown)
                return false;
        s->group_of_id = grown;
        grown[s->n_ids] = (int) (g - s->groups);
        g->id = (int) s->n_ids++;
        return true;
}

bool sim_has_node(const Sim *s, const SimDevice *d) {
        return !s->no_iommufd && !d->unbinding && sim_driver_kind(s, d) == DRIVER_VFIO;
}

uint64_t sim_cdev_number(const Sim *s, const SimDevice *d) {
        return (uint64_t) (d - s->devices) + 1;
}

/* pci_parent_bus_reset() as the kernel asks when it finds a device: with others on the bus it has no such method, ever. */
static void find_reset_methods(const Sim *s, SimDevice *d) {
        char *methods = d->facts.reset_methods, *bus = strstr(methods, "bus");

        for (const SimDevice *o = s->devices; o < s->devices + s->n_devices; o++)
                if (o->present && o->facts.address.domain == d->facts.address.domain &&
                    o->facts.address.bus == d->facts.address.bus) {
                        if (bus)
                                *(bus > methods ? bus - 1 : bus) = '\0';
                        return;
                }
        if (!bus)
                text_append(methods, sizeof(d->facts.reset_methods), isempty(methods) ? "bus" : " bus");
}

bool sim_appear(Sim *s, SimDevice *d, bool regroup) {
        SimGroup *g = &s->groups[d->group];

        /* The removal of the old one waits for its descriptors, and the slot with it. */
        if (d->present || d->n_open > 0)
                return false;
        if (g->n_present == 0 && g->n_claims == 0 && regroup && !new_group_id(s, g))
                return false;
        if (d->resets_bus)
                find_reset_methods(s, d);
        g->n_present++;
        d->present = true;
        s->n_hotplugs++;
        d->dirty = false; /* it had no power */
        sim_probe(s, d);
        return true;
}
