/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "sim/simops.h"
#include "util/text.h"

int sim_add_driver(Sim *s, const char *name, const char *module, DriverKind kind, bool loaded) {
        SimDriver *grown = reallocarray(s->drivers, s->n_drivers + 1, sizeof(*grown));

        if (!grown)
                abort();
        s->drivers = grown;
        grown[s->n_drivers] = (SimDriver) { .kind = kind, .loaded = loaded };
        (void) text_copy(grown[s->n_drivers].name, NAME_MAX_LEN, name);
        (void) text_copy(grown[s->n_drivers].module, NAME_MAX_LEN, module);
        return (int) s->n_drivers++;
}

int sim_add_group(Sim *s) {
        SimGroup *groups = reallocarray(s->groups, s->n_groups + 1, sizeof(*groups));
        int *ids = reallocarray(s->group_of_id, s->n_ids + 1, sizeof(*ids));

        if (!groups || !ids)
                abort();
        s->groups = groups;
        s->group_of_id = ids;
        groups[s->n_groups] = (SimGroup) { .id = (int) s->n_ids, .open_file = -1, .user = KERNEL_NOBODY };
        ids[s->n_ids++] = (int) s->n_groups;
        return (int) s->n_groups++;
}

SimDevice *sim_add_device(Sim *s, const char *address, int group, const char *host) {
        SimDevice *grown = reallocarray(s->devices, s->n_devices + 1, sizeof(*grown)), *d;

        if (!grown)
                abort();
        s->devices = grown;
        d = &grown[s->n_devices++];
        *d = (SimDevice) {
                .facts = { .vendor = 0x8086, .device = 0x1234, .class = 0x010802, .numa_node = -1 },
                .group = group,
                .host = sim_driver(s, host),
                .variant = -1,
                .driver = -1,
                .present = true,
                .first_file = -1,
                .bound_file = -1,
        };
        if (address_parse(address, &d->facts.address) < 0)
                abort();
        d->facts.on_root_bus = d->facts.address.bus == 0;
        (void) text_copy(d->facts.reset_methods, sizeof(d->facts.reset_methods), "flr bus");
        (void) text_copy(d->facts.modalias, sizeof(d->facts.modalias),
                         "pci:v00008086d00001234sv00000000sd00000000bc01sc08i02");
        s->groups[group].n_present++;
        return d;
}

/* --- random machines --- */

uint64_t sim_random(uint64_t *state) {
        /* splitmix64: every seed is good, also 0 */
        uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);

        z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
        return z ^ z >> 31;
}

unsigned sim_below(uint64_t *state, unsigned n) {
        return (unsigned) ((sim_random(state) >> 32) * n >> 32);
}

typedef struct Builder {
        Sim *sim;
        unsigned bus; /* of all domains: 256 to each */
} Builder;

static unsigned below(Builder *b, unsigned n) {
        return sim_below(&b->sim->random, n);
}

static void set_variant(Sim *s, SimDevice *d) {
        d->facts.vendor = 0x15b3;
        d->facts.device = 0x101e;
        d->variant = sim_driver(s, "mlx5_vfio_pci");
        (void) text_copy(d->facts.modalias, sizeof(d->facts.modalias),
                         "pci:v000015B3d0000101Esv00000000sd00000000bc02sc00i00");
}

static SimDevice *place(Builder *b, unsigned slot, unsigned function, int group) {
        static const char *const hosts[] = { "nvme", "e1000e", "xhci_hcd", "mlx5_core", "odd", "" };
        Sim *s = b->sim;
        char address[ADDRESS_TEXT_MAX];
        SimDevice *d;

        (void) snprintf(address, sizeof(address), "%04x:%02x:%02x.%u", b->bus >> 8, b->bus & 0xff, slot & 0x1f,
                        function & 7);
        d = sim_add_device(s, address, group, hosts[below(b, ARRAY_SIZE(hosts))]);
        if (d->host == sim_driver(s, "mlx5_core"))
                set_variant(s, d);
        if (below(b, 4) == 0)
                d->pasid_bits = 5;
        if (below(b, 6) == 0)
                d->facts.reset_methods[0] = '\0';
        return d;
}

static void settle(Builder *b, SimDevice *d) {
        Sim *s = b->sim;
        unsigned chance = below(b, 20);

        if (chance == 0) /* put on vfio-pci by hand, and left there */
                (void) text_copy(d->override, sizeof(d->override), "vfio-pci");
        else if (chance == 1)
                d->dynamic_id = true;
        else if (chance == 2)
                (void) text_copy(d->override, sizeof(d->override), "pci-stub");
        else if (chance == 3)
                (void) text_copy(d->override, sizeof(d->override), "none");
        if (d->dynamic_id)
                (void) sim_attach_driver(s, d, sim_driver(s, "vfio-pci"));
        else if (chance != 4)
                sim_probe(s, d);
}

static void add_bridge(Builder *b, int group) {
        SimDevice *d = place(b, 0, 0, group);

        d->facts.class = 0x060400;
        d->host = sim_driver(b->sim, "pcieport");
        sim_probe(b->sim, d);
}

/* A physical function, and virtual ones that are there from the beginning or not yet. */
static void add_card(Builder *b, int group) {
        unsigned n = 1 + below(b, 5), pf = (unsigned) b->sim->n_devices;
        bool made = below(b, 2);
        Address address;

        settle(b, place(b, 0, 0, group));
        address = b->sim->devices[pf].facts.address;
        b->sim->devices[pf].facts.virtual_functions_max = n;
        for (unsigned i = 0; i < n; i++) {
                SimDevice *d = place(b, 2, i, sim_add_group(b->sim));

                d->facts.virtual_function = true;
                d->facts.physical_function = address;
                if (made)
                        settle(b, d);
                else
                        sim_vanish(b->sim, d);
        }
        b->sim->devices[pf].facts.virtual_functions = made ? n : 0;
        b->sim->n_hotplugs = 0;
}

static void add_bus(Builder *b) {
        Sim *s = b->sim;
        unsigned kind = below(b, 8), n;
        int group = sim_add_group(s);

        b->bus++;
        switch (kind) {
        case 0: /* several functions that share a group */
        case 1: /* the same with ACS: a group each, but one reset set */
                n = 2 + below(b, 4);
                for (unsigned i = 0; i < n; i++)
                        settle(b, place(b, 0, i, kind == 0 || i == 0 ? group : sim_add_group(s)));
                break;
        case 2: /* a bridge without ACS: all below it in its group */
                add_bridge(b, group);
                n = 1 + below(b, 6);
                for (unsigned i = 0; i < n; i++)
                        settle(b, place(b, 1 + i, 0, group));
                break;
        case 3: /* a physical function with virtual ones */
                add_card(b, group);
                break;
        case 4: /* a group over two buses */
                settle(b, place(b, 0, 0, group));
                b->bus++;
                settle(b, place(b, 0, 0, group));
                settle(b, place(b, 0, 1, below(b, 2) ? group : sim_add_group(s)));
                break;
        default:
                settle(b, place(b, 0, 0, group));
        }
        s->groups[group].direct = below(b, 40) == 0;
        s->groups[group].no_isolation = below(b, 40) == 0;
}

static void add_root_bus(Builder *b) {
        Sim *s = b->sim;

        for (unsigned i = 0; i < 3; i++)
                settle(b, place(b, 2 + i, 0, sim_add_group(s)));
        add_bridge(b, sim_add_group(s));
        s->devices[s->n_devices - 1].facts.address.devfn = 0x1c << 3;
}

Sim *sim_new(const SimTopology *t) {
        Sim *s = calloc(1, sizeof(*s));
        Builder b = { .sim = s };
        int n;

        if (!s)
                abort();
        s->kernel.ops = &sim_ops;
        s->random = t->seed;
        s->unused_file = -1;
        s->no_iommufd = t->no_iommufd;
        s->vfio_makes_functions = t->vfio_makes_functions;
        sim_add_driver(s, "vfio-pci", "vfio_pci", DRIVER_VFIO, true);
        sim_add_driver(s, "mlx5_vfio_pci", "mlx5_vfio_pci", DRIVER_VFIO, false);
        sim_add_driver(s, "pcieport", "pcieport", DRIVER_NEIGHBOUR, true);
        sim_add_driver(s, "pci-stub", "pci_stub", DRIVER_NEIGHBOUR, true);
        sim_add_driver(s, "nvme", "nvme", DRIVER_HOST, true);
        n = sim_add_driver(s, "e1000e", "e1000e", DRIVER_HOST, true);
        s->drivers[n].removes = true;
        sim_add_driver(s, "mlx5_core", "mlx5_core", DRIVER_HOST, true);
        /* A driver whose name is not its module's. */
        sim_add_driver(s, "xhci_hcd", "xhci_pci", DRIVER_HOST, true);
        /* One whose module was deleted from the disk. */
        n = sim_add_driver(s, "odd", "odd", DRIVER_HOST, true);
        s->drivers[n].missing = true;
        if (t->n_devices > 0)
                add_root_bus(&b);
        while (s->n_devices < t->n_devices)
                add_bus(&b);
        return s;
}

Sim *sim_free(Sim *s) {
        if (!s)
                return NULL;
        free(s->devices);
        free(s->groups);
        free(s->group_of_id);
        free(s->drivers);
        free(s->files);
        free(s->fds);
        free(s->gate_leases);
        free(s->gate_levels);
        free(s);
        return NULL;
}
