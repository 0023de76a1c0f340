/* SPDX-License-Identifier: LGPL-2.1-or-later */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/lsan_interface.h>
#endif

#include "sim/simops.h"
#include "util/text.h"

int sim_op_list_devices(Kernel *k, Address **ret, size_t *ret_n) {
        Sim *s = sim_of(k);
        Address *list = calloc(s->n_devices + 1, sizeof(*list));
        size_t n = 0;

        if (!list)
                return -ENOMEM;
#ifdef __SANITIZE_ADDRESS__
        __lsan_ignore_object(list); /* what escapes from a job does not free it */
#endif
        for (size_t i = 0; i < s->n_devices; i++)
                if (s->devices[i].present)
                        list[n++] = s->devices[i].facts.address;
        *ret = list;
        *ret_n = n;
        return 0;
}

int sim_op_read_device(Kernel *k, Address a, DeviceFacts *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "read_device", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        *ret = d->facts;
        ret->group = s->groups[d->group].id;
        (void) text_copy(ret->driver, sizeof(ret->driver), sim_driver_name(s, d));
        (void) text_copy(ret->driver_override, sizeof(ret->driver_override), d->override);
        ret->driver_kind = isempty(ret->driver) ? DRIVER_NONE : sim_driver_kind(s, d);
        if (ret->driver_kind == DRIVER_VFIO && !s->no_iommufd) {
                (void) text_copy(ret->cdev, sizeof(ret->cdev), "vfio0");
                ret->cdev_number = sim_cdev_number(s, d);
        }
        return sim_leave(s, 0);
}

int sim_op_read_group(Kernel *k, int group, GroupFacts *ret) {
        Sim *s = sim_of(k);
        const SimGroup *g = sim_group_of_number(s, group);

        if (!g || g->n_present == 0)
                return -ENODEV;
        *ret = (GroupFacts) { .id = group, .type = "DMA-FQ" };
        if (g->direct)
                ret->regions[ret->n_regions++] = (ReservedRegion) { 0x1000, 0x1fff, "direct" };
        return 0;
}

int sim_op_read_host_uses(Kernel *k, Address a, HostUses *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "read_host_uses", a, &d);

        ret->n = 0;
        ret->more = false;
        if (r >= 0 && d->in_use)
                ret->uses[ret->n++] = (HostUse) { "disk", "it is mounted" };
        return sim_leave(s, r);
}

int sim_op_read_pasid_bits(Kernel *k, Address a, uint8_t *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "read_pasid_bits", a, &d);

        *ret = r < 0 ? 0 : d->pasid_bits;
        return sim_leave(s, r);
}

int sim_op_read_platform(Kernel *k, Platform *ret) {
        bool has = !sim_of(k)->no_iommufd;

        *ret = (Platform) { .iommu = true, .iommufd = has, .cdev = has, .container = true };
        return 0;
}

int sim_op_is_registered(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        const SimDevice *d = sim_device(s, a);

        if (!d || !d->present)
                return -ENODEV;
        return !d->unbinding && sim_driver_kind(s, d) == DRIVER_VFIO;
}

/* Of the node that a file was opened by. */
static bool is_kind(Sim *s, const SimFile *f, FdKind kind, Address a, int group) {
        switch (kind) {
        case FD_IOMMUFD:
                return sim_is_iommufd(f);
        case FD_CONTAINER:
                return f->is_container;
        case FD_GROUP:
                /* A group that went and came back has another node. */
                return f->group >= 0 && s->groups[f->group].id == group &&
                       f->generation == s->groups[f->group].generation;
        default:
                return f->device >= 0 && f->via < 0 && address_equal(s->devices[f->device].facts.address, a);
        }
}

int sim_op_check_fd(Kernel *k, int fd, FdKind kind, Address a, int group) {
        Sim *s = sim_of(k);
        const SimDevice *d = kind == FD_DEVICE ? sim_device(s, a) : NULL;
        const SimGroup *g = kind == FD_GROUP ? sim_group_of_number(s, group) : NULL;
        const SimFile *f = sim_file(s, fd);

        if (kind == FD_DEVICE && (!d || !d->present))
                return -ENODEV;
        if ((kind == FD_DEVICE && !sim_has_node(s, d)) || (kind == FD_GROUP && (!g || g->n_vfio == 0)))
                return -ENOENT;
        return f && is_kind(s, f, kind, a, group) ? 0 : -EBADF;
}
