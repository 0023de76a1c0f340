/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "broker/handout.h"
#include "broker/keep.h"
#include "util/fd.h"

static void add(Handout *h, const char *kind, int fd) {
        h->fds[h->n++] = (HandoutFd) { .kind = kind, .fd = fd };
}

static void add_device(const LeaseRun *run, size_t i, Handout *h) {
        const LeaseDevice *d = &run->lease->devices[i];

        add(h, run->lease->hand_over == HAND_OVER_GROUP ? "group" : "device", run->devices[i].fd);
        h->fds[h->n - 1].address = d->address;
        h->fds[h->n - 1].group = d->group;
}

static bool can_be_taken(const LeaseRun *run, size_t i) {
        const LeaseDevice *d = &run->lease->devices[i];

        return d->role == ROLE_LEASED && !d->taken && !d->joining && !d->leaving && run->devices[i].fd >= 0;
}

static void add_devices(const LeaseRun *run, Handout *h) {
        for (size_t i = 0; i < run->lease->n_devices && h->n < HANDOUT_FDS_MAX; i++)
                if (can_be_taken(run, i))
                        add_device(run, i, h);
}

void handout_first(const LeaseRun *run, Handout *ret) {
        *ret = (Handout) {};
        add(ret, "lifeline", run->lifeline_write);
        if (run->iommufd >= 0)
                add(ret, run->lease->hand_over == HAND_OVER_GROUP ? "container" : "iommufd", run->iommufd);
        add_devices(run, ret);
}

int handout_devices(const LeaseRun *run, const AddressList *wanted, Handout *ret, Address *culprit) {
        *ret = (Handout) {};
        if (wanted->n == 0) {
                add_devices(run, ret);
                return 0;
        }
        if (wanted->n > HANDOUT_FDS_MAX)
                return -E2BIG;
        for (size_t w = 0; w < wanted->n; w++) {
                LeaseDevice *d = lease_device(run->lease, wanted->items[w]);
                size_t i = d ? (size_t) (d - run->lease->devices) : 0;

                *culprit = wanted->items[w];
                if (!d || !can_be_taken(run, i))
                        return -ENOENT;
                add_device(run, i, ret);
        }
        return 0;
}

void handout_take_group(Lease *l, int group) {
        for (size_t i = 0; i < l->n_devices; i++)
                if (l->devices[i].group == group && l->devices[i].role == ROLE_LEASED)
                        l->devices[i].taken = true;
}

void handout_note(LeaseRun *run, const Handout *h) {
        for (size_t i = 0; i < h->n; i++) {
                const HandoutFd *f = &h->fds[i];

                if (streq(f->kind, "device"))
                        lease_device(run->lease, f->address)->taken = true;
                else if (streq(f->kind, "group"))
                        handout_take_group(run->lease, f->group);
        }
        run_save(run);
}

void handout_close(LeaseRun *run, const Handout *h) {
        bool keep = run->lease->hand_over == HAND_OVER_ATTACHED || run->lease->hand_over == HAND_OVER_GROUP;

        for (size_t i = 0; i < h->n; i++) {
                if (h->fds[i].fd == run->lifeline_write)
                        run->lifeline_write = fd_close(run->lifeline_write);
                /* A lease with reset-set may have to bind a device that is parked later. */
                else if (h->fds[i].fd == run->iommufd && !keep && !run->lease->reset_set)
                        run->iommufd = fd_close(run->iommufd);
        }
        for (size_t i = 0; i < run->lease->n_devices && !keep; i++)
                if (run->lease->devices[i].taken)
                        run->devices[i].fd = fd_close(run->devices[i].fd);
        (void) keep_update(run);
}
