/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <limits.h>

#include "sim/simops.h"

/* A bound device and its PASIDs, as drivers/vfio/iommufd.c and drivers/iommu/iommufd/device.c of Linux 7.2 attach them to tables. */

static SimDevice *bound_here(Sim *s, const SimFile *iommufd, uint32_t devid) {
        size_t i = devid >> SIM_OBJECT_SHIFT;
        SimDevice *d = i < s->n_devices ? &s->devices[i] : NULL;

        if ((devid & SIM_OBJECT_KINDS) != SIM_OBJECT_DEVICE || !d || d->bound_file < 0 ||
            s->files[d->bound_file].bound != iommufd->serial)
                return NULL;
        return d;
}

static int alloc_table(Sim *s, int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret) {
        SimFile *f = sim_file(s, iommufd);

        if (!f)
                return -EBADF;
        if (!sim_is_iommufd(f))
                return -ENOTTY;
        if (!bound_here(s, f, devid))
                return -ENOENT;
        if (sim_has_object(f, ioas, SIM_OBJECT_PASID_TABLE))
                return -EOPNOTSUPP; /* it is asked for a nested one */
        if (!sim_has_object(f, ioas, SIM_OBJECT_IOAS))
                return -EINVAL;
        /* Whether the device can have PASIDs is not asked. */
        if (s->no_pasid_tables)
                return -EOPNOTSUPP;
        *ret = sim_new_object(f, SIM_OBJECT_PASID_TABLE);
        return 0;
}

static SimPasid *find(SimFile *f, uint32_t pasid) {
        for (unsigned i = 0; i < f->n_pasids; i++)
                if (f->pasids[i].number == pasid)
                        return &f->pasids[i];
        return NULL;
}

/* --- the tables of a group: each device is attached by itself, and all of them to the same --- */

#define FOREACH_BOUND(s, d, f)                                                                                         \
        for (SimDevice *_o = (s)->devices; _o < (s)->devices + (s)->n_devices; _o++)                                   \
                if (_o->group != (d)->group || _o->bound_file < 0 || !((f) = &(s)->files[_o->bound_file]))             \
                        ;                                                                                              \
                else

/* PASID 0 stands for the device's own traffic, by whatever way it was attached. 0: none. */
static uint32_t table_of(SimFile *f, uint32_t pasid) {
        const SimPasid *p = find(f, pasid);

        return p ? p->table : pasid == 0 ? f->attached : 0;
}

static uint32_t table_of_group(Sim *s, const SimDevice *d, uint32_t pasid) {
        uint32_t table = 0;
        SimFile *f;

        FOREACH_BOUND(s, d, f)
        if (table == 0)
                table = table_of(f, pasid);
        return table;
}

static void move_group(Sim *s, const SimDevice *d, uint32_t pasid, uint32_t table) {
        SimFile *f;

        FOREACH_BOUND(s, d, f) {
                SimPasid *p = find(f, pasid);

                if (p)
                        p->table = table;
                if (pasid == 0 && f->attached != 0)
                        f->attached = table;
        }
}

static bool has_pasids(Sim *s, const SimDevice *d) {
        SimFile *f;

        FOREACH_BOUND(s, d, f)
        for (unsigned i = 0; i < f->n_pasids; i++)
                if (f->pasids[i].number != 0)
                        return true;
        return false;
}

static bool is_for_pasids(uint32_t table) {
        return (table & SIM_OBJECT_KINDS) == SIM_OBJECT_PASID_TABLE;
}

/* iommufd_hwpt_pasid_compat(): while there are PASIDs, also the device's own traffic goes by a table for them. */
static bool is_compatible(Sim *s, const SimDevice *d, uint32_t pasid, uint32_t table) {
        uint32_t own = table_of_group(s, d, 0);

        if (pasid == 0)
                return is_for_pasids(table) || !has_pasids(s, d);
        return is_for_pasids(table) && (own == 0 || is_for_pasids(own));
}

/* Those of its neighbours that can have no PASIDs do not count; a group of such has any number, to no effect. */
static bool is_in_range(const Sim *s, const SimDevice *d, uint32_t pasid) {
        for (const SimDevice *o = s->devices; o < s->devices + s->n_devices; o++)
                if (o->present && o->group == d->group && o->pasid_bits > 0 && pasid >> o->pasid_bits != 0)
                        return false;
        return true;
}

static bool is_used(Sim *s, const SimFile *iommufd, uint32_t table) {
        for (size_t i = 0; i < s->n_devices; i++) {
                SimFile *f = s->devices[i].bound_file < 0 ? NULL : &s->files[s->devices[i].bound_file];

                if (f && f->bound == iommufd->serial && table_of(f, 0) == table)
                        return true;
        }
        return false;
}

/* What the id stands for: the kernel makes a table for an address space, if there is none yet. */
static int find_table(Sim *s, const SimFile *f, uint32_t id, uint32_t *ret) {
        const SimFile *i = &s->files[f->iommufd];

        *ret = id;
        if (sim_has_object(i, id, SIM_OBJECT_PASID_TABLE))
                return 0;
        if (sim_has_object(i, id, SIM_OBJECT_IOAS)) {
                *ret = (id & ~SIM_OBJECT_KINDS) | SIM_OBJECT_TABLE;
                return 0;
        }
        if (bound_here(s, i, id))
                return -EINVAL;
        return id != 0 && is_used(s, i, id) ? 0 : -ENOENT;
}

/* iommufd_device_do_attach() and iommufd_device_do_replace() of drivers/iommu/iommufd/device.c. */
static int change_table(Sim *s, SimDevice *d, uint32_t pasid, uint32_t table, bool replace) {
        uint32_t old = table_of_group(s, d, pasid);

        if (old == table)
                return 0;
        if (old != 0 && !replace)
                return -EINVAL;
        if (!is_compatible(s, d, pasid, table) || (!replace && !is_in_range(s, d, pasid)))
                return -EINVAL;
        move_group(s, d, pasid, table);
        return 0;
}

int sim_attach(Sim *s, int fd, uint32_t *pt) {
        SimFile *f = sim_file(s, fd);
        uint32_t table;
        int r;

        if (!f)
                return -EBADF;
        if (f->via >= 0 || f->device < 0)
                return -ENOTTY;
        if (f->bound == 0)
                return -EINVAL;
        if (!s->devices[f->device].present)
                return -ENODEV;
        r = find_table(s, f, *pt, &table);
        if (r < 0)
                return r;
        if (f->attached == 0 && find(f, 0))
                return -EBUSY;
        r = change_table(s, &s->devices[f->device], 0, table, f->attached != 0);
        if (r >= 0)
                *pt = f->attached = table;
        return r;
}

static int attach_pasid(Sim *s, SimFile *f, SimDevice *d, uint32_t pt, uint32_t pasid) {
        SimPasid *p = find(f, pasid);
        uint32_t table;
        int r;

        if (f->bound == 0)
                return -EINVAL;
        if (!d->present)
                return -ENODEV;
        if (pasid > INT_MAX)
                return -ENOSPC; /* ida_alloc_range() */
        r = find_table(s, f, pt, &table);
        if (r < 0)
                return r;
        if (pasid == 0 && !p && f->attached != 0)
                return -EBUSY;
        if (!p && f->n_pasids == SIM_PASIDS_MAX)
                return -ENOSPC;
        r = change_table(s, d, pasid, table, p);
        if (r < 0 || p)
                return r; /* it has another table now */
        f->pasids[f->n_pasids++] =
                (SimPasid) { .number = pasid, .table = table, .charged = pasid == 0 ? 0 : sim_gate_charge(s, d) };
        return 0;
}

/* The gate stands before VFIO. */
static int ask_for_pasid(Sim *s, int fd, uint32_t pt, uint32_t pasid) {
        SimFile *f = sim_file(s, fd);
        SimDevice *d = sim_device_of_fd(s, fd);
        int r;

        if (!f)
                return -EBADF;
        if (!d || f->via >= 0)
                return -ENOTTY;
        r = pasid == 0 || find(f, pasid) ? 0 : sim_gate_admit(s, d);
        return r < 0 ? r : attach_pasid(s, f, d, pt, pasid);
}

static int detach_pasid(Sim *s, int fd, uint32_t pasid) {
        SimFile *f = sim_file(s, fd);
        SimPasid *p;

        if (!f)
                return -EBADF;
        if (f->device < 0 || f->via >= 0)
                return -ENOTTY;
        if (f->bound == 0)
                return -EINVAL;
        p = find(f, pasid);
        if (!p)
                return 0;
        sim_gate_discharge(s, p->charged);
        *p = f->pasids[--f->n_pasids];
        return 0;
}

void sim_detach_all_pasids(Sim *s, SimFile *f) {
        while (f->n_pasids > 0)
                sim_gate_discharge(s, f->pasids[--f->n_pasids].charged);
}

/* --- the operations --- */

int sim_op_alloc_pasid_table(Kernel *k, int iommufd, uint32_t devid, uint32_t ioas, uint32_t *ret_pt) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "alloc_pasid_table", NULL);

        return sim_leave(s, r < 0 ? r : alloc_table(s, iommufd, devid, ioas, ret_pt));
}

int sim_op_attach_pasid(Kernel *k, int device_fd, uint32_t pt, uint32_t pasid) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "attach_pasid", sim_device_of_fd(s, device_fd));

        return sim_leave(s, r < 0 ? r : ask_for_pasid(s, device_fd, pt, pasid));
}

int sim_op_detach_pasid(Kernel *k, int device_fd, uint32_t pasid) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "detach_pasid", sim_device_of_fd(s, device_fd));

        return sim_leave(s, r < 0 ? r : detach_pasid(s, device_fd, pasid));
}
