/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simkernel.h"
#include "util/text.h"

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

const char *sim_breach_to_string(SimBreach b) {
        static const char *const names[_SIM_BREACH_MAX] = {
                [SIM_BREACH_RESET_ON_HOST] = "a device was reset under its host driver",
                [SIM_BREACH_RESET_OPEN] = "a device was reset while somebody had it open",
                [SIM_BREACH_DIRTY] = "a host driver got a device that was not reset after a client",
                [SIM_BREACH_BAD_CLOSE] = "a descriptor was closed that is not open",
                [SIM_BREACH_WORKER_LEAK] = "a worker ended with a descriptor that nobody knows",
        };

        return b < _SIM_BREACH_MAX && names[b] ? names[b] : "no breach";
}

void sim_plan_fault(Sim *s, unsigned at, SimFault fault, int error) {
        s->planned = fault;
        s->planned_at = at;
        s->planned_error = error;
}

/* --- entering and leaving an operation --- */

static Sim *sim_of(Kernel *k) {
        return (Sim *) k;
}

static int leave(Sim *s, int result) {
        if (s->in_job)
                s->trace[(s->n_trace - 1) % SIM_TRACE].result = result;
        return result;
}

/* The worker that came upon a lock: it waits for the device's holder, and is killed while it does. */
static _Noreturn void hang(Sim *s, const SimDevice *d) {
        leave(s, -EDEADLK);
        for (int fd = -1; (fd = sim_next_fd(s, SIM_PID_WORKER, fd)) >= 0;)
                if (d)
                        s->fds[fd].pid = SIM_PID_HUNG + (int) (d - s->devices);
        longjmp(s->escape, SIM_HUNG);
}

static void wait_for_lock(Sim *s, const SimDevice *d) {
        if (s->in_job && d->lock != SIM_UNLOCKED)
                hang(s, d);
}

static SimFault draw_fault(Sim *s) {
        unsigned n;

        if (s->job_ops == s->planned_at)
                return s->planned;
        if (s->rate == 0 || sim_below(&s->random, s->rate) != 0)
                return SIM_FAULT_NONE;
        n = sim_below(&s->random, 20);
        return n < 12 ? SIM_FAULT_ERRNO : n < 15 ? SIM_FAULT_DEATH : n < 18 ? SIM_FAULT_HANG : SIM_FAULT_VANISH;
}

static int draw_error(Sim *s, bool binding) {
        static const int errors[] = { EIO, ENOMEM, EBUSY, EINVAL, EPERM, EAGAIN, ENODEV };

        if (s->job_ops == s->planned_at)
                return -s->planned_error;
        /* Only a driver that does not want a device says ENODEV although the device is there. */
        return -errors[sim_below(&s->random, ARRAY_SIZE(errors) - !binding)];
}

static int inject(Sim *s, SimFault fault, SimDevice *d, bool binding) {
        s->n_faults[fault]++;
        switch (fault) {
        case SIM_FAULT_ERRNO:
                return draw_error(s, binding);
        case SIM_FAULT_DEATH:
                leave(s, -ESHUTDOWN);
                longjmp(s->escape, SIM_DIED);
        case SIM_FAULT_HANG:
                if (d && d->present && d->lock == SIM_UNLOCKED)
                        d->lock = SIM_LOCKED_BY_FAULT;
                hang(s, d);
        case SIM_FAULT_VANISH:
                if (d)
                        sim_vanish(s, d);
                return 0; /* the operation finds out by itself */
        default:
                return 0;
        }
}

/* Every operation begins here. Returns a negative errno to fail with. */
static int enter(Sim *s, const char *op, SimDevice *d) {
        SimFault fault;

        if (!s->in_job)
                return 0;
        s->trace[s->n_trace++ % SIM_TRACE] =
                (SimTrace) { .op = op, .address = d ? d->facts.address : (Address) {}, .job = s->n_jobs };
        s->n_ops++;
        s->job_ops++;
        if (s->meanwhile && s->meanwhile_rate > 0 && sim_below(&s->random, s->meanwhile_rate) == 0)
                s->meanwhile(s->userdata);
        fault = draw_fault(s);
        /* An unbind that hangs has taken the driver's link away before it began to wait. */
        if (fault == SIM_FAULT_HANG && d && streq(op, "unbind") && d->lock == SIM_UNLOCKED && d->driver >= 0)
                d->unbinding = true;
        return fault == SIM_FAULT_NONE ? 0 : inject(s, fault, d, streq(op, "bind"));
}

static int enter_device(Sim *s, const char *op, Address a, SimDevice **ret) {
        int r;

        *ret = sim_device(s, a);
        r = enter(s, op, *ret);
        if (r < 0)
                return r;
        return *ret && (*ret)->present ? 0 : -ENODEV;
}

static SimDevice *device_of_fd(Sim *s, int fd) {
        const SimFile *f = sim_file(s, fd);

        return f && f->device >= 0 ? &s->devices[f->device] : NULL;
}

/* --- looking --- */

static int op_list_devices(Kernel *k, Address **ret, size_t *ret_n) {
        Sim *s = sim_of(k);
        Address *list = calloc(s->n_devices + 1, sizeof(*list));
        size_t n = 0;

        if (!list)
                return -ENOMEM;
        for (size_t i = 0; i < s->n_devices; i++)
                if (s->devices[i].present)
                        list[n++] = s->devices[i].facts.address;
        *ret = list;
        *ret_n = n;
        return 0;
}

static int op_read_device(Kernel *k, Address a, DeviceFacts *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "read_device", a, &d);

        if (r < 0)
                return leave(s, r);
        *ret = d->facts;
        ret->group = s->groups[d->group].id;
        (void) text_copy(ret->driver, sizeof(ret->driver), sim_driver_name(s, d));
        (void) text_copy(ret->driver_override, sizeof(ret->driver_override), d->override);
        ret->driver_kind = isempty(ret->driver) ? DRIVER_NONE : sim_driver_kind(s, d);
        if (ret->driver_kind == DRIVER_VFIO && !s->no_iommufd) {
                (void) text_copy(ret->cdev, sizeof(ret->cdev), "vfio0");
                ret->cdev_number = (uint64_t) (d - s->devices) + 1;
        }
        return leave(s, 0);
}

static int op_read_group(Kernel *k, int group, GroupFacts *ret) {
        Sim *s = sim_of(k);
        const SimGroup *g;

        if (group < 0 || (size_t) group >= s->n_ids)
                return -ENOENT;
        g = &s->groups[s->group_of_id[group]];
        if (g->id != group || g->n_present == 0)
                return -ENOENT;
        *ret = (GroupFacts) { .id = group, .type = "DMA-FQ" };
        if (g->direct)
                ret->regions[ret->n_regions++] = (ReservedRegion) { 0x1000, 0x1fff, "direct" };
        return 0;
}

static int op_read_host_uses(Kernel *k _unused_, Address a _unused_, HostUses *ret) {
        *ret = (HostUses) {};
        return 0;
}

static int op_read_platform(Kernel *k, Platform *ret) {
        bool has = !sim_of(k)->no_iommufd;

        *ret = (Platform) { .iommu = true, .iommufd = has, .cdev = has, .container = true };
        return 0;
}

/* --- drivers --- */

static int op_load_module(Kernel *k, const char *module, char driver[NAME_MAX_LEN]) {
        Sim *s = sim_of(k);
        int r = enter(s, "load_module", NULL);

        if (r < 0)
                return leave(s, r);
        r = sim_load(s, module);
        if (r < 0)
                return leave(s, r);
        (void) text_copy(driver, NAME_MAX_LEN, s->drivers[r].name);
        return leave(s, 0);
}

static int op_set_override(Kernel *k, Address a, const char *driver) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "set_override", a, &d);

        /* Takes a lock of its own, not the device's (Linux 7.2): it does not wait for an unbind. */
        if (r >= 0)
                (void) text_copy(d->override, sizeof(d->override), driver);
        return leave(s, r);
}

static int op_unbind(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "unbind", a, &d);

        if (r < 0)
                return leave(s, r);
        /* Without the driver's link there is no "unbind" to write to, whoever holds the lock. */
        if (d->driver < 0 || d->unbinding)
                return leave(s, 0);
        wait_for_lock(s, d);
        sim_unbind(s, d);
        wait_for_lock(s, d);
        return leave(s, 0);
}

static int op_bind(Kernel *k, Address a, const char *driver) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int n, r = enter_device(s, "bind", a, &d);

        if (r < 0)
                return leave(s, r);
        if (streq(sim_driver_name(s, d), driver))
                return leave(s, 0);
        n = sim_driver(s, driver);
        if (n < 0 || !s->drivers[n].loaded)
                return leave(s, -ENOENT);
        if (!sim_matches(s, d, n))
                return leave(s, -ENODEV);
        wait_for_lock(s, d);
        return leave(s, d->driver >= 0 ? -EBUSY : sim_attach_driver(s, d, n));
}

static int op_probe(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "probe", a, &d);

        if (r < 0)
                return leave(s, r);
        wait_for_lock(s, d);
        sim_probe(s, d);
        return leave(s, 0);
}

static int op_reset(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "reset", a, &d);

        if (r < 0)
                return leave(s, r);
        if (isempty(d->facts.reset_methods))
                return leave(s, -ENOTTY);
        wait_for_lock(s, d);
        if (sim_driver_kind(s, d) == DRIVER_HOST)
                sim_breach(s, SIM_BREACH_RESET_ON_HOST, d);
        if (d->n_open > 0)
                sim_breach(s, SIM_BREACH_RESET_OPEN, d);
        d->dirty = false;
        return leave(s, 0);
}

static int op_reset_bus(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "reset_bus", a, &d);

        if (r < 0)
                return leave(s, r);
        if (d->facts.on_root_bus || d->facts.virtual_function)
                return leave(s, -ENOTTY);
        for (size_t i = 0; i < s->n_devices; i++) {
                SimDevice *o = &s->devices[i];

                if (!o->present || o->facts.virtual_function || o->facts.address.bus != a.bus ||
                    o->facts.address.domain != a.domain)
                        continue;
                if (sim_driver_kind(s, o) == DRIVER_HOST)
                        sim_breach(s, SIM_BREACH_RESET_ON_HOST, o);
                if (o->n_open > 0)
                        sim_breach(s, SIM_BREACH_RESET_OPEN, o);
                o->dirty = false;
        }
        return leave(s, 0);
}

static int op_find_holders(Kernel *k, Address a, Holders *ret) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "find_holders", a, &d);

        *ret = (Holders) {};
        if (r >= 0)
                sim_find_holders(s, d, ret);
        return leave(s, r < 0 ? r : 0);
}

/* --- descriptors --- */

static int op_open_iommufd(Kernel *k, bool per_process _unused_) {
        Sim *s = sim_of(k);
        int r = enter(s, "open_iommufd", NULL);

        return leave(s, r < 0 ? r : s->no_iommufd ? -ENOENT : sim_open_iommufd(s, SIM_PID_WORKER));
}

static bool has_node(const Sim *s, const SimDevice *d) {
        return !s->no_iommufd && !d->unbinding && sim_driver_kind(s, d) == DRIVER_VFIO;
}

static int op_watch_cdev(Kernel *k, Address a, int inotify_fd _unused_) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "watch_cdev", a, &d);

        if (r < 0)
                return leave(s, r);
        if (!has_node(s, d))
                return leave(s, -ENOENT);
        if (d->watch == 0)
                d->watch = ++s->watches;
        return leave(s, d->watch);
}

static int op_open_cdev(Kernel *k, Address a) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = enter_device(s, "open_cdev", a, &d);

        if (r < 0)
                return leave(s, r);
        return leave(s, has_node(s, d) ? sim_open_device(s, d, SIM_PID_WORKER) : -ENOENT);
}

static int op_bind_iommufd(Kernel *k, int device_fd, int iommufd, BoundFacts *ret) {
        Sim *s = sim_of(k);
        int r = enter(s, "bind_iommufd", device_of_fd(s, device_fd));

        return leave(s, r < 0 ? r : sim_bind(s, device_fd, iommufd, ret));
}

static int op_alloc_ioas(Kernel *k, int iommufd, uint32_t *ret_ioas) {
        Sim *s = sim_of(k);
        int r = enter(s, "alloc_ioas", NULL);
        SimFile *f = sim_file(s, iommufd);

        if (r < 0)
                return leave(s, r);
        if (!f || f->device >= 0)
                return leave(s, -EBADF);
        *ret_ioas = ++f->next_id;
        return leave(s, 0);
}

static int op_attach(Kernel *k, int device_fd, uint32_t *pt) {
        Sim *s = sim_of(k);
        int r = enter(s, "attach", device_of_fd(s, device_fd));

        return leave(s, r < 0 ? r : sim_attach(s, device_fd, pt));
}

static void op_close_fd(Kernel *k, int fd) {
        Sim *s = sim_of(k);

        /* It cannot fail, but the worker can die here. */
        (void) enter(s, "close_fd", device_of_fd(s, fd));
        (void) leave(s, sim_close(s, fd));
}

const KernelOps sim_ops; /* for sim-topology.c */
const KernelOps sim_ops = {
        .list_devices = op_list_devices,
        .read_device = op_read_device,
        .read_group = op_read_group,
        .read_host_uses = op_read_host_uses,
        .read_platform = op_read_platform,
        .load_module = op_load_module,
        .set_override = op_set_override,
        .unbind = op_unbind,
        .bind = op_bind,
        .probe = op_probe,
        .reset = op_reset,
        .reset_bus = op_reset_bus,
        .find_holders = op_find_holders,
        .open_iommufd = op_open_iommufd,
        .watch_cdev = op_watch_cdev,
        .open_cdev = op_open_cdev,
        .bind_iommufd = op_bind_iommufd,
        .alloc_ioas = op_alloc_ioas,
        .attach = op_attach,
        .close_fd = op_close_fd,
};

/* --- jobs --- */

/* What the worker tells of goes to the daemon, the rest is closed by its end. */
static void end_worker(Sim *s, Job *job, bool done) {
        if (done && job->kind == JOB_IOMMUFD && job->iommufd >= 0)
                s->fds[job->iommufd].pid = SIM_PID_DAEMON;
        else if (job->kind == JOB_IOMMUFD)
                job->iommufd = -EBADF;
        for (size_t i = 0; i < job->n_devices; i++) {
                JobDevice *d = &job->devices[i];

                if (done && d->fd >= 0)
                        s->fds[d->fd].pid = SIM_PID_DAEMON;
                else
                        d->fd = -EBADF;
        }
        if (done && sim_next_fd(s, SIM_PID_WORKER, -1) >= 0)
                sim_breach(s, SIM_BREACH_WORKER_LEAK, NULL);
        sim_client_die(s, SIM_PID_WORKER);
}

static SimOutcome run_or_escape(Sim *s, Job *job) {
        switch (setjmp(s->escape)) {
        case 0:
                job_run(&s->kernel, job);
                return SIM_DONE;
        case SIM_HUNG:
                return SIM_HUNG;
        default:
                return SIM_DIED;
        }
}

SimOutcome sim_run(Sim *s, Job *job) {
        SimOutcome outcome;

        s->n_jobs++;
        s->job_ops = 0;
        s->in_job = true;
        outcome = run_or_escape(s, job);
        s->in_job = false;
        if (outcome != SIM_DONE)
                job->result = -ECHILD;
        end_worker(s, job, outcome == SIM_DONE);
        return outcome;
}
