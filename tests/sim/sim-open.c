/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"

int sim_op_open_iommufd(Kernel *k, bool per_process _unused_) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "open_iommufd", NULL);

        return sim_leave(s, r < 0 ? r : s->no_iommufd ? -ENOENT : sim_open_iommufd(s, sim_caller(s)));
}

int sim_op_watch_cdev(Kernel *k, Address a, int inotify_fd _unused_) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "watch_cdev", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        if (!sim_has_node(s, d))
                return sim_leave(s, -ENOENT);
        if (d->watch == 0)
                d->watch = ++s->watches;
        return sim_leave(s, d->watch);
}

int sim_op_open_cdev(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "open_cdev", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        return sim_leave(s, sim_has_node(s, d) ? sim_open_device(s, d, sim_caller(s)) : -ENOENT);
}

int sim_op_bind_iommufd(Kernel *k, int device_fd, int iommufd, const char *vf_token, BoundFacts *ret) {
        Sim *s = sim_of(k);
        SimDevice *d = sim_device_of_fd(s, device_fd);
        int r = sim_enter(s, "bind_iommufd", d);

        if (r >= 0 && d)
                r = sim_show_token(s, d, vf_token);
        return sim_leave(s, r < 0 ? r : sim_bind(s, device_fd, iommufd, ret));
}

int sim_op_alloc_ioas(Kernel *k, int iommufd, uint32_t *ret_ioas) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "alloc_ioas", NULL);
        SimFile *f = sim_file(s, iommufd);

        if (r < 0)
                return sim_leave(s, r);
        if (!f || !sim_is_iommufd(f))
                return sim_leave(s, f ? -ENOTTY : -EBADF);
        *ret_ioas = sim_new_object(f, SIM_OBJECT_IOAS);
        return sim_leave(s, 0);
}

int sim_op_attach(Kernel *k, int device_fd, uint32_t *pt) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "attach", sim_device_of_fd(s, device_fd));

        return sim_leave(s, r < 0 ? r : sim_attach(s, device_fd, pt));
}

void sim_op_close_fd(Kernel *k, int fd) {
        Sim *s = sim_of(k);

        /* It cannot fail, but the worker can die here. */
        (void) sim_enter(s, "close_fd", sim_device_of_fd(s, fd));
        (void) sim_leave(s, sim_close(s, fd));
}

int sim_op_find_holders(Kernel *k, Address a, Holders *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "find_holders", a, &d);

        *ret = (Holders) {};
        if (r >= 0)
                sim_find_holders(s, d, ret);
        return sim_leave(s, r < 0 ? r : 0);
}
