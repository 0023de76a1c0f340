/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"

/* VFIO's legacy interface as Linux 7.2 has it (drivers/vfio/group.c, container.c). */

int sim_open_container(Sim *s, int pid) {
        int fd = sim_new_file(s, -1, pid);
        SimFile *f = sim_file(s, fd);

        if (!f)
                return fd;
        f->is_container = true;
        f->serial = ++s->serial;
        return fd;
}

int sim_open_group(Sim *s, SimGroup *g, int pid) {
        SimFile *f;
        int fd;

        if (g->n_vfio == 0)
                return -ENOENT;
        /* One opener at a time, and none while a device of it is bound to an iommufd. */
        if (g->open_file >= 0 || g->n_claims > 0)
                return -EBUSY;
        fd = sim_new_file(s, -1, pid);
        f = sim_file(s, fd);
        if (!f)
                return fd;
        f->group = (int) (g - s->groups);
        f->generation = g->generation;
        g->open_file = (int) (f - s->files);
        return fd;
}

int sim_set_container(Sim *s, int group_fd, int container_fd) {
        SimFile *f = sim_file(s, group_fd), *c = sim_file(s, container_fd);
        SimGroup *g;

        if (!f || !c)
                return -EBADF;
        if (f->group < 0 || !c->is_container || f->bound != 0)
                return -EINVAL;
        g = &s->groups[f->group];
        if (f->generation != g->generation || g->n_vfio == 0)
                return -ENODEV;
        if (g->n_host > 0 || g->owner != 0)
                return -EPERM;
        if (g->direct)
                return -EINVAL;
        g->owner = f->bound = c->serial;
        f->iommufd = s->fds[container_fd].file;
        g->n_claims++;
        return 0;
}

int sim_open_by_group(Sim *s, int group_fd, int container_fd, SimDevice *d, int pid) {
        SimFile *f = sim_file(s, group_fd), *c = sim_file(s, container_fd);
        int fd, via;

        if (!f || !c)
                return -EBADF;
        if (f->group < 0 || !c->is_container)
                return -EINVAL;
        if (f->generation != s->groups[f->group].generation || d->group != f->group || !d->present || d->unbinding ||
            sim_driver_kind(s, d) != DRIVER_VFIO)
                return -ENODEV;
        if (f->bound != c->serial)
                return -EINVAL;
        if (s->groups[f->group].no_isolation)
                return -EPERM;
        via = (int) (f - s->files);
        fd = sim_open_device(s, d, pid);
        if (fd < 0)
                return fd;
        sim_file(s, fd)->via = via;
        s->files[via].n_pins++;
        return fd;
}

static bool has_group(const Sim *s, uint64_t container) {
        for (size_t i = 0; i < s->n_groups; i++)
                if (s->groups[i].owner == container)
                        return true;
        return false;
}

/* With its last group a container loses its type. */
static void release_claim(Sim *s, SimGroup *g, SimFile *f) {
        SimFile *c = &s->files[f->iommufd];
        uint64_t container = f->bound;

        if (f->bound == 0)
                return;
        f->bound = 0;
        if (--g->n_claims == 0)
                g->owner = 0;
        if (c->serial == container && !has_group(s, container))
                c->has_type = false;
}

void sim_release_group(Sim *s, int file) {
        SimFile *f = &s->files[file];
        SimGroup *g = &s->groups[f->group];

        if (g->open_file == file) {
                release_claim(s, g, f);
                g->open_file = -1;
                for (size_t i = 0; i < s->n_devices && s->on_close && g->watch != 0; i++)
                        if (s->devices[i].group == f->group)
                                s->on_close(s->userdata, s->devices[i].facts.address, g->watch);
        }
}

void sim_group_gained(SimGroup *g) {
        if (g->n_vfio++ > 0)
                return;
        g->generation++;
        g->open_file = -1;
        g->watch = 0;
        g->user = KERNEL_NOBODY;
}

/* vfio_device_remove_group(): whoever has it open has nothing any more. */
void sim_group_lost(Sim *s, SimGroup *g) {
        if (--g->n_vfio > 0)
                return;
        if (g->open_file >= 0)
                release_claim(s, g, &s->files[g->open_file]);
        g->open_file = -1;
        g->watch = 0;
        g->user = KERNEL_NOBODY;
}

/* --- the operations --- */

SimGroup *sim_group_of_number(Sim *s, int number) {
        SimGroup *g = number >= 0 && (size_t) number < s->n_ids ? &s->groups[s->group_of_id[number]] : NULL;

        return g && g->id == number ? g : NULL;
}

int sim_op_set_node_user(Kernel *k, int group, uid_t uid) {
        Sim *s = sim_of(k);
        SimGroup *g = sim_group_of_number(s, group);
        int removed;

        if (!g || g->n_vfio == 0)
                return -ENOENT;
        removed = g->user != KERNEL_NOBODY && g->user != uid;
        g->user = uid;
        return removed;
}

int sim_op_open_container(Kernel *k) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "open_container", NULL);

        return sim_leave(s, r < 0 ? r : sim_open_container(s, sim_caller(s)));
}

int sim_op_watch_group(Kernel *k, int group, int inotify_fd _unused_) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "watch_group", NULL);
        SimGroup *g = sim_group_of_number(s, group);

        if (r < 0)
                return sim_leave(s, r);
        if (!g || g->n_vfio == 0)
                return sim_leave(s, -ENOENT);
        if (g->watch == 0)
                g->watch = ++s->watches;
        return sim_leave(s, g->watch);
}

int sim_op_open_group(Kernel *k, int group) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "open_group", NULL);
        SimGroup *g = sim_group_of_number(s, group);

        return sim_leave(s, r < 0 ? r : g ? sim_open_group(s, g, sim_caller(s)) : -ENOENT);
}

int sim_op_set_container(Kernel *k, int group_fd, int container_fd) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "set_container", NULL);

        return sim_leave(s, r < 0 ? r : sim_set_container(s, group_fd, container_fd));
}

/* VFIO_SET_IOMMU: once, and only with a group. */
static int set_type(Sim *s, int container_fd) {
        SimFile *c = sim_file(s, container_fd);

        if (!c)
                return -EBADF;
        if (!c->is_container || c->has_type || !has_group(s, c->serial))
                return -EINVAL;
        c->has_type = true;
        return 0;
}

int sim_op_open_by_group(Kernel *k, int group_fd, int container_fd, Address a, BoundFacts *ret) {
        Sim *s = sim_of(k);
        SimDevice *d = sim_device(s, a);
        int r = sim_enter(s, "open_by_group", d);

        if (r >= 0)
                r = set_type(s, container_fd);
        if (r >= 0)
                r = !d ? -ENODEV : sim_open_by_group(s, group_fd, container_fd, d, sim_caller(s));
        if (r >= 0) {
                *ret = (BoundFacts) {};
                sim_read_reset_facts(s, d, sim_file(s, r), ret);
        }
        return sim_leave(s, r);
}
