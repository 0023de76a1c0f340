/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/inotify.h>
#include <unistd.h>

#include "twin/act.h"

/* Descriptors of devices and iommufds. */

static void open_iommufd(Twin *t) {
        Pair p = { .kind = PAIR_IOMMUFD };

        p.real = t->real->ops->open_iommufd(t->real, false);
        p.sim = SIM_OPS(t)->open_iommufd(SIM_K(t), false);
        twin_note(t, "open_iommufd -> %d", p.real);
        pair_keep(t, p);
}

static void open_cdev_of(Twin *t, Address a) {
        Pair p = { .kind = PAIR_DEVICE, .address = a };

        p.real = t->real->ops->open_cdev(t->real, a);
        p.sim = SIM_OPS(t)->open_cdev(SIM_K(t), a);
        twin_note(t, "open_cdev %s -> %d", ADDRESS(a), p.real);
        pair_keep(t, p);
}

static void open_cdev(Twin *t) {
        open_cdev_of(t, pair_device(t));
}

static void bind_to(Twin *t, Pair *d, const Pair *i) {
        BoundFacts real = {}, sim = {};
        int r, s;

        twin_note(t, "bind_iommufd %d (%s) to %d", d->real, ADDRESS(d->address), i->real);
        r = t->real->ops->bind_iommufd(t->real, d->real, i->real, "", &real);
        s = SIM_OPS(t)->bind_iommufd(SIM_K(t), d->sim, i->sim, "", &sim);
        twin_result(t, "bind_iommufd", r, s);
        twin_result(t, "can_reset", real.can_reset, sim.can_reset);
        twin_result(t, "pasid_bits", real.pasid_bits, sim.pasid_bits);
        twin_result(t, "hot_reset_possible", real.hot_reset_possible, sim.hot_reset_possible);
        twin_result(t, "hot_reset_owned", real.hot_reset_owned, sim.hot_reset_owned);
        if (r >= 0 && s >= 0)
                d->devid = (Ids) { real.devid, sim.devid };
}

static void bind_iommufd(Twin *t) {
        Pair *d = pair_some(t, PAIR_DEVICE);
        const Pair *i = pair_some(t, PAIR_IOMMUFD);

        if (d && i)
                bind_to(t, d, i);
}

/* All that comes before a device can be attached, lest that be rare. */
static void get_ready(Twin *t) {
        Address a = pair_device(t);
        size_t n = t->n_pairs;

        driver_give_to_vfio(t, a);
        open_cdev_of(t, a);
        open_iommufd(t);
        if (t->n_pairs != n + 2)
                return;
        bind_to(t, &t->pairs[n], &t->pairs[n + 1]);
        table_alloc_ioas(t, &t->pairs[n + 1]);
        table_alloc_for_pasids(t, &t->pairs[n], &t->pairs[n + 1]);
}

static void close_some(Twin *t) {
        if (t->n_pairs > 0)
                pair_close(t, &t->pairs[twin_below(t, (unsigned) t->n_pairs)]);
}

static int count_holders(Kernel *k, Address a) {
        Holders holders;
        int r = k->ops->find_holders(k, a, &holders);

        return r < 0 ? r : -(int) holders.n;
}

static void check_fd(Twin *t) {
        const Pair *p = t->n_pairs ? &t->pairs[twin_below(t, (unsigned) t->n_pairs)] : NULL;
        FdKind kind = twin_below(t, _FD_KIND_MAX);
        size_t i = pair_index(t);
        Address a = p && p->kind == PAIR_DEVICE && twin_below(t, 2) ? p->address : t->devices[i];
        Numbers group = pair_group(t, a);

        if (!p)
                return;
        twin_note(t, "check_fd %d kind %u %s group %d", p->real, kind, ADDRESS(a), group.real);
        twin_result(t, "check_fd", t->real->ops->check_fd(t->real, p->real, kind, a, group.real),
                    SIM_OPS(t)->check_fd(SIM_K(t), p->sim, kind, a, group.sim));
}

void file_find_holders(Twin *t, Address a) {
        twin_note(t, "find_holders %s", ADDRESS(a));
        twin_result(t, "find_holders", child_wait(child_start(count_holders, a)), count_holders(SIM_K(t), a));
}

static void find_holders(Twin *t) {
        file_find_holders(t, pair_device(t));
}

static void request_device(Twin *t) {
        Address a = pair_device(t);

        twin_note(t, "request_device %s", ADDRESS(a));
        twin_result(t, "request_device", t->real->ops->request_device(t->real, a, getpid()),
                    SIM_OPS(t)->request_device(SIM_K(t), a, SIM_PID_CLIENT));
}

static void watch(Twin *t) {
        Address a = pair_device(t);
        int fd = inotify_init1(IN_CLOEXEC);
        Numbers group = pair_group(t, a);

        if (fd < 0)
                abort();
        twin_note(t, "watch %s and its group", ADDRESS(a));
        twin_result(t, "watch_cdev", pair_either(t->real->ops->watch_cdev(t->real, a, fd)),
                    pair_either(SIM_OPS(t)->watch_cdev(SIM_K(t), a, fd)));
        twin_result(t, "watch_group", pair_either(t->real->ops->watch_group(t->real, group.real, fd)),
                    pair_either(SIM_OPS(t)->watch_group(SIM_K(t), group.sim, fd)));
        (void) close(fd);
}

const Action file_actions[] = {
        { open_iommufd, 4 }, { open_cdev, 10 },     { bind_iommufd, 14 }, { close_some, 8 }, { check_fd, 4 },
        { find_holders, 2 }, { request_device, 1 }, { watch, 2 },         { get_ready, 8 },  {},
};
