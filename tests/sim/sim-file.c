/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simkernel.h"
#include "util/text.h"

static int new_fd(Sim *s, int file, int pid) {
        SimFd *grown;
        size_t i;

        for (i = s->first_unused; i < s->n_fds && s->fds[i].file >= 0; i++)
                ;
        if (i == s->n_fds) {
                grown = reallocarray(s->fds, s->n_fds + 1, sizeof(*grown));
                if (!grown)
                        return -EMFILE;
                s->fds = grown;
                s->n_fds++;
        }
        s->first_unused = i + 1;
        s->fds[i] = (SimFd) { .file = file, .pid = pid };
        s->files[file].n_fds++;
        return (int) i;
}

static int new_file(Sim *s, int device) {
        SimFile *grown;
        int i = s->unused_file;

        if (i >= 0)
                s->unused_file = s->files[i].next_of_device;
        else {
                grown = reallocarray(s->files, s->n_files + 1, sizeof(*grown));
                if (!grown)
                        return -ENFILE;
                s->files = grown;
                i = (int) s->n_files++;
        }
        s->files[i] = (SimFile) { .device = device, .next_of_device = -1 };
        return i;
}

SimFile *sim_file(Sim *s, int fd) {
        return fd >= 0 && (size_t) fd < s->n_fds && s->fds[fd].file >= 0 ? &s->files[s->fds[fd].file] : NULL;
}

int sim_open_device(Sim *s, SimDevice *d, int pid) {
        int file = new_file(s, (int) (d - s->devices));

        if (file < 0)
                return file;
        s->files[file].generation = d->generation;
        s->files[file].next_of_device = d->first_file;
        d->first_file = file;
        d->n_open++;
        return new_fd(s, file, pid);
}

int sim_open_iommufd(Sim *s, int pid) {
        int file = new_file(s, -1);

        if (file < 0)
                return file;
        s->files[file].serial = ++s->serial;
        return new_fd(s, file, pid);
}

/* VFIO_DEVICE_BIND_IOMMUFD, with its errors in the order in which the kernel finds them. */
int sim_bind(Sim *s, int fd, int iommufd, BoundFacts *ret) {
        SimFile *f = sim_file(s, fd), *i = sim_file(s, iommufd);
        SimDevice *d;
        SimGroup *g;

        if (!f || !i)
                return -EBADF;
        if (i->device >= 0)
                return -EBADFD;
        if (f->device < 0)
                return -ENOTTY;
        d = &s->devices[f->device];
        if (!d->present || f->generation != d->generation)
                return -ENODEV;
        if (f->bound != 0 || d->bound_file >= 0)
                return -EINVAL;
        g = &s->groups[d->group];
        if (g->no_isolation || g->n_host > 0 || (g->owner != 0 && g->owner != i->serial))
                return -EPERM;
        if (g->direct)
                return -EINVAL;
        g->owner = i->serial;
        g->n_claims++;
        f->bound = i->serial;
        d->bound_file = s->fds[fd].file;
        *ret = (BoundFacts) {
                .devid = ++i->next_id,
                .pasid_bits = d->facts.pasid_bits,
                .can_reset = !isempty(d->facts.reset_methods),
        };
        return 0;
}

int sim_attach(Sim *s, int fd, uint32_t *pt) {
        SimFile *f = sim_file(s, fd);

        if (!f)
                return -EBADF;
        if (f->bound == 0)
                return -EINVAL;
        if (!s->devices[f->device].present)
                return -ENODEV;
        f->attached = *pt;
        return 0;
}

static void release_claim(Sim *s, SimDevice *d, SimFile *f) {
        SimGroup *g = &s->groups[d->group];

        if (f->bound == 0)
                return;
        d->bound_file = -1;
        if (--g->n_claims == 0)
                g->owner = 0;
}

static void release_file(Sim *s, int file) {
        SimFile *f = &s->files[file];
        SimDevice *d = f->device >= 0 ? &s->devices[f->device] : NULL;

        if (d) {
                int *link = &d->first_file;

                while (*link != file)
                        link = &s->files[*link].next_of_device;
                *link = f->next_of_device;
                release_claim(s, d, f);
                d->n_open--;
                /* The event comes before ->release, so the listener learns of it while the device may still be open. */
                if (s->on_close && d->watch != 0)
                        s->on_close(s->userdata, d->facts.address, d->watch);
        }
        f->next_of_device = s->unused_file;
        s->unused_file = file;
        if (d && d->n_open == 0 && d->lock == SIM_LOCKED_BY_FILES)
                sim_unlock(s, d);
}

int sim_close(Sim *s, int fd) {
        SimFile *f = sim_file(s, fd);
        int file;

        if (!f) {
                sim_breach(s, SIM_BREACH_BAD_CLOSE, NULL);
                return -EBADF;
        }
        file = s->fds[fd].file;
        s->fds[fd].file = -1;
        if ((size_t) fd < s->first_unused)
                s->first_unused = (size_t) fd;
        if (--f->n_fds == 0)
                release_file(s, file);
        return 0;
}

int sim_client_dup(Sim *s, int fd, int pid) {
        return sim_file(s, fd) ? new_fd(s, s->fds[fd].file, pid) : -EBADF;
}

void sim_client_die(Sim *s, int pid) {
        for (size_t i = 0; i < s->n_fds; i++)
                if (s->fds[i].file >= 0 && s->fds[i].pid == pid)
                        (void) sim_close(s, (int) i);
}

int sim_next_fd(const Sim *s, int pid, int fd) {
        for (size_t i = (size_t) (fd + 1); i < s->n_fds; i++)
                if (s->fds[i].file >= 0 && s->fds[i].pid == pid)
                        return (int) i;
        return -1;
}

unsigned sim_count_fds(const Sim *s, int pid) {
        unsigned n = 0;

        for (int fd = -1; (fd = sim_next_fd(s, pid, fd)) >= 0;)
                n++;
        return n;
}

static void add_holder(Holders *h, int pid) {
        for (size_t i = 0; i < h->n; i++)
                if (h->holders[i].pid == pid)
                        return;
        if (h->n == HOLDERS_MAX)
                h->more = true;
        else
                h->holders[h->n++] = (Holder) { .pid = pid, .uid = 1000, .name = "client" };
}

void sim_find_holders(Sim *s, const SimDevice *d, Holders *ret) {
        *ret = (Holders) {};
        if (d->n_open == 0)
                return;
        for (size_t i = 0; i < s->n_fds; i++) {
                const SimFd *fd = &s->fds[i];

                if (fd->file >= 0 && fd->pid != SIM_PID_FLIGHT && s->files[fd->file].device == (int) (d - s->devices))
                        add_holder(ret, fd->pid);
        }
}
