/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <unistd.h>

#include "twin/twin.h"
#include "util/text.h"

static void *must(void *p) {
        if (!p)
                abort();
        return p;
}

static bool has_driver(const char *name) {
        char path[128];

        (void) snprintf(path, sizeof(path), "/sys/bus/pci/drivers/%s", name);
        return access(path, F_OK) == 0;
}

static void add_groups(Kernel *real, Sim *s, const DeviceFacts *facts, size_t n) {
        int last = -1;

        for (size_t i = 0; i < n; i++)
                last = facts[i].group > last ? facts[i].group : last;
        /* The simulator counts them from 0, too. */
        for (int id = 0; id <= last; id++) {
                int group = sim_add_group(s);
                GroupFacts g;

                if (real->ops->read_group(real, id, &g) < 0)
                        continue;
                for (size_t i = 0; i < g.n_regions; i++)
                        s->groups[group].direct = s->groups[group].direct || streq(g.regions[i].type, "direct");
        }
}

/* What is not there now is a virtual function, in a group of its own. */
static void add_device(Kernel *real, Sim *s, const DeviceFacts *f, bool is_there) {
        int driver = sim_driver(s, f->driver);
        SimDevice *d;

        if (f->group < 0)
                abort(); /* the machine has an IOMMU */
        if (driver < 0 && !isempty(f->driver))
                driver = sim_add_driver(s, f->driver, f->driver, f->driver_kind, true);
        d = sim_add_device(s, ADDRESS(f->address), is_there ? s->group_of_id[f->group] : sim_add_group(s), f->driver);
        d->facts = *f;
        d->resets_bus = !f->on_root_bus && !f->virtual_function;
        if (!is_there) {
                sim_vanish(s, d);
                return;
        }
        if (real->ops->read_pasid_bits(real, f->address, &d->pasid_bits) < 0)
                abort();
        (void) text_copy(d->override, sizeof(d->override), f->driver_override);
        if (driver >= 0 && sim_attach_driver(s, d, driver) < 0)
                abort();
}

static void add_drivers(Sim *s, const Twin *t, bool wrong) {
        for (size_t i = 0; i < s->n_drivers; i++)
                s->drivers[i].loaded = has_driver(s->drivers[i].name) && !(wrong && s->drivers[i].kind == DRIVER_VFIO);
        for (size_t i = 0; i < t->n_removers; i++) {
                int driver = sim_driver(s, t->removers[i]);

                if (driver < 0)
                        driver = sim_add_driver(s, t->removers[i], t->removers[i], DRIVER_HOST, true);
                s->drivers[driver].removes = true;
        }
}

static int compare_facts(const void *a, const void *b) {
        return address_compare(((const DeviceFacts *) a)->address, ((const DeviceFacts *) b)->address);
}

static bool is_function(const Twin *t, const DeviceFacts *f) {
        for (size_t i = 0; i < t->n_functions; i++)
                if (address_equal(t->functions[i].address, f->address))
                        return true;
        return false;
}

Sim *describe_machine(const Twin *t, bool wrong) {
        Sim *s = sim_new(&(SimTopology) {});
        _cleanup_free_ Address *list = NULL;
        _cleanup_free_ DeviceFacts *facts = NULL;
        size_t n;

        if (t->real->ops->list_devices(t->real, &list, &n) < 0)
                abort();
        facts = must(calloc(n + t->n_functions, sizeof(*facts)));
        for (size_t i = 0; i < n; i++)
                if (t->real->ops->read_device(t->real, list[i], &facts[i]) < 0)
                        abort();
        add_drivers(s, t, wrong);
        add_groups(t->real, s, facts, n);
        memcpy(facts + n, t->functions, t->n_functions * sizeof(*facts));
        n += t->n_functions;
        qsort(facts, n, sizeof(*facts), compare_facts);
        for (size_t i = 0; i < n; i++)
                add_device(t->real, s, &facts[i], !is_function(t, &facts[i]));
        return s;
}
