/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
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
        s->files[i] = (SimFile) { .device = device, .group = -1, .via = -1, .next_of_device = -1 };
        return i;
}

SimFile *sim_file(Sim *s, int fd) {
        return fd >= 0 && (size_t) fd < s->n_fds && s->fds[fd].file >= 0 ? &s->files[s->fds[fd].file] : NULL;
}

SimDevice *sim_device_of_fd(Sim *s, int fd) {
        const SimFile *f = sim_file(s, fd);

        return f && f->device >= 0 ? &s->devices[f->device] : NULL;
}

uint32_t sim_new_object(SimFile *iommufd, SimObject kind) {
        return ++iommufd->n_objects[kind] << SIM_OBJECT_SHIFT | kind;
}

bool sim_has_object(const SimFile *iommufd, uint32_t id, SimObject kind) {
        uint32_t i = id >> SIM_OBJECT_SHIFT;

        return (id & SIM_OBJECT_KINDS) == kind && i > 0 && i <= iommufd->n_objects[kind];
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

int sim_new_file(Sim *s, int device, int pid) {
        int file = new_file(s, device);

        return file < 0 ? file : new_fd(s, file, pid);
}

int sim_open_iommufd(Sim *s, int pid) {
        int fd = sim_new_file(s, -1, pid);

        if (fd >= 0)
                sim_file(s, fd)->serial = ++s->serial;
        return fd;
}

bool sim_is_iommufd(const SimFile *f) {
        return f->device < 0 && f->group < 0 && !f->is_container;
}

/* VFIO_DEVICE_BIND_IOMMUFD, with its errors in the order in which the kernel finds them. */
int sim_bind(Sim *s, int fd, int iommufd, BoundFacts *ret) {
        SimFile *f = sim_file(s, fd), *i = sim_file(s, iommufd);
        SimDevice *d;
        SimGroup *g;

        if (!f || !i)
                return -EBADF;
        if (!sim_is_iommufd(i))
                return -EBADFD;
        if (f->device < 0)
                return -ENOTTY;
        if (f->via >= 0)
                return -EINVAL;
        d = &s->devices[f->device];
        if (!d->present || f->generation != d->generation)
                return -ENODEV;
        if (f->bound != 0 || d->bound_file >= 0)
                return -EINVAL;
        g = &s->groups[d->group];
        if (g->open_file >= 0)
                return -EBUSY;
        if (g->no_isolation || g->n_host > 0 || (g->owner != 0 && g->owner != i->serial))
                return -EPERM;
        if (g->direct)
                return -EINVAL;
        g->owner = i->serial;
        g->n_claims++;
        f->bound = i->serial;
        f->iommufd = s->fds[iommufd].file;
        i->n_pins++;
        d->bound_file = s->fds[fd].file;
        *ret = (BoundFacts) {
                .devid = (uint32_t) f->device << SIM_OBJECT_SHIFT | SIM_OBJECT_DEVICE,
                .pasid_bits = d->pasid_bits,
        };
        sim_read_reset_facts(s, d, f, ret);
        return 0;
}

static void unpin(Sim *s, int file);

static void release_claim(Sim *s, SimDevice *d, SimFile *f) {
        SimGroup *g = &s->groups[d->group];

        if (f->bound == 0)
                return;
        d->bound_file = -1;
        d->listened = false;
        if (--g->n_claims == 0)
                g->owner = 0;
}

static void release_device(Sim *s, int file) {
        SimFile *f = &s->files[file];
        SimDevice *d = &s->devices[f->device];
        int *link = &d->first_file;

        while (*link != file)
                link = &s->files[*link].next_of_device;
        *link = f->next_of_device;
        sim_detach_all_pasids(s, f);
        release_claim(s, d, f);
        d->n_open--;
        /* The event comes before ->release, so the listener learns of it while the device may still be open. */
        if (s->on_close && d->watch != 0 && f->via < 0)
                s->on_close(s->userdata, d->facts.address, d->watch);
        if (f->via >= 0)
                unpin(s, f->via);
        if (f->bound != 0)
                unpin(s, f->iommufd);
}

/* With its last descriptor, and the last device that was opened by a group or is bound to an iommufd. */
static void release_file(Sim *s, int file) {
        SimFile *f = &s->files[file];
        SimDevice *d = f->device >= 0 ? &s->devices[f->device] : NULL;

        if (f->n_fds > 0 || f->n_pins > 0)
                return;
        if (d)
                release_device(s, file);
        else if (f->group >= 0)
                sim_release_group(s, file);
        f->next_of_device = s->unused_file;
        s->unused_file = file;
        if (d && d->n_open == 0 && d->lock == SIM_LOCKED_BY_FILES)
                sim_unlock(s, d);
}

static void unpin(Sim *s, int file) {
        s->files[file].n_pins--;
        release_file(s, file);
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

static void add_holder(Sim *s, Holders *h, int pid) {
        const SimProcess *p = sim_process(s, pid);

        for (size_t i = 0; i < h->n; i++)
                if (h->holders[i].pid == pid)
                        return;
        if (h->n == HOLDERS_MAX)
                h->more = true;
        else
                h->holders[h->n++] = (Holder) { .pid = pid, .uid = p ? p->facts.uid : 1000, .name = "client" };
}

bool sim_is_of(const Sim *s, const SimFd *fd, const SimDevice *d) {
        return fd->file >= 0 &&
               (s->files[fd->file].device == (int) (d - s->devices) || fd->file == s->groups[d->group].open_file);
}

void sim_find_holders(Sim *s, const SimDevice *d, Holders *ret) {
        *ret = (Holders) {};
        if (d->n_open == 0 && s->groups[d->group].open_file < 0)
                return;
        for (size_t i = 0; i < s->n_fds; i++) {
                const SimFd *fd = &s->fds[i];

                if (fd->pid != SIM_PID_FLIGHT && fd->pid != sim_caller(s) && sim_is_of(s, fd, d))
                        add_holder(s, ret, fd->pid);
        }
}
