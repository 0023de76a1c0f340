/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
#include "util/text.h"
#include "worker/work.h"

void sim_plan_fault(Sim *s, unsigned at, SimFault fault, int error) {
        s->planned = fault;
        s->planned_at = at;
        s->planned_error = error;
}

/* --- entering and leaving an operation --- */

int sim_caller(const Sim *s) {
        return s->worker ? s->worker->pid : SIM_PID_WORKER;
}

int sim_leave(Sim *s, int result) {
        if (s->worker)
                s->trace[s->worker->at % SIM_TRACE].result = result;
        return result;
}

_Noreturn void sim_hang(Sim *s, const SimDevice *d) {
        sim_leave(s, -EDEADLK);
        s->hung_at = d;
        for (int fd = -1; (fd = sim_next_fd(s, s->worker->pid, fd)) >= 0;)
                if (d)
                        s->fds[fd].pid = SIM_PID_HUNG + (int) (d - s->devices);
        longjmp(s->worker->escape, SIM_HUNG);
}

void sim_wait_for_lock(Sim *s, const SimDevice *d) {
        if (s->worker && d->lock != SIM_UNLOCKED)
                sim_hang(s, d);
}

static SimFault draw_fault(Sim *s) {
        unsigned n;

        if (s->job_ops == s->planned_at)
                return s->planned;
        if (s->rate == 0 || sim_below(&s->random, s->rate) != 0)
                return SIM_FAULT_NONE;
        n = sim_below(&s->random, 24);
        return n < 12   ? SIM_FAULT_ERRNO
               : n < 15 ? SIM_FAULT_DEATH
               : n < 18 ? SIM_FAULT_HANG
               : n < 20 ? SIM_FAULT_VANISH
                        : SIM_FAULT_DELAY;
}

static int draw_error(Sim *s, bool binding) {
        static const int errors[] = { EIO, ENOMEM, EBUSY, EINVAL, EPERM, EAGAIN, ENODEV };

        if (s->job_ops == s->planned_at)
                return -s->planned_error;
        /* Only a driver that does not want a device says ENODEV although the device is there. */
        return -errors[sim_below(&s->random, ARRAY_SIZE(errors) - !binding)];
}

/* Others run meanwhile, and to them it is no worker that asks. */
static void take_long(Sim *s) {
        SimWorker *asleep = s->worker;
        unsigned ops = s->job_ops;

        if (!s->delayed)
                return;
        s->worker = NULL;
        s->delayed(s->userdata);
        s->worker = asleep;
        s->job_ops = ops;
}

static int inject(Sim *s, SimFault fault, SimDevice *d, bool binding) {
        s->n_faults[fault]++;
        switch (fault) {
        case SIM_FAULT_ERRNO:
                return draw_error(s, binding);
        case SIM_FAULT_DEATH:
                sim_leave(s, -ESHUTDOWN);
                longjmp(s->worker->escape, SIM_DIED);
        case SIM_FAULT_HANG:
                if (d && d->present && d->lock == SIM_UNLOCKED)
                        d->lock = SIM_LOCKED_BY_FAULT;
                sim_hang(s, d);
        case SIM_FAULT_DELAY:
                take_long(s);
                return 0;
        case SIM_FAULT_VANISH:
                if (d)
                        sim_vanish(s, d);
                return 0; /* the operation finds out by itself */
        default:
                return 0;
        }
}

int sim_enter(Sim *s, const char *op, SimDevice *d) {
        SimFault fault;

        if (!s->worker)
                return 0;
        s->worker->at = s->n_trace++;
        s->trace[s->worker->at % SIM_TRACE] =
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

int sim_enter_device(Sim *s, const char *op, Address a, SimDevice **ret) {
        int r;

        *ret = sim_device(s, a);
        r = sim_enter(s, op, *ret);
        if (r < 0)
                return r;
        return *ret && (*ret)->present ? 0 : -ENODEV;
}

const KernelOps sim_ops = {
        .list_devices = sim_op_list_devices,
        .read_device = sim_op_read_device,
        .read_group = sim_op_read_group,
        .read_host_uses = sim_op_read_host_uses,
        .read_platform = sim_op_read_platform,
        .virtual_function = sim_op_virtual_function,
        .is_registered = sim_op_is_registered,
        .check_fd = sim_op_check_fd,
        .set_node_user = sim_op_set_node_user,
        .load_module = sim_op_load_module,
        .set_override = sim_op_set_override,
        .unbind = sim_op_unbind,
        .bind = sim_op_bind,
        .probe = sim_op_probe,
        .reset = sim_op_reset,
        .reset_bus = sim_op_reset_bus,
        .read_pasid_bits = sim_op_read_pasid_bits,
        .find_holders = sim_op_find_holders,
        .open_process = sim_op_open_process,
        .kill_process = sim_op_kill_process,
        .kill_cgroup = sim_op_kill_cgroup,
        .request_device = sim_op_request_device,
        .set_autoprobe = sim_op_set_autoprobe,
        .set_virtual_functions = sim_op_set_virtual_functions,
        .open_iommufd = sim_op_open_iommufd,
        .watch_cdev = sim_op_watch_cdev,
        .open_cdev = sim_op_open_cdev,
        .bind_iommufd = sim_op_bind_iommufd,
        .alloc_ioas = sim_op_alloc_ioas,
        .attach = sim_op_attach,
        .alloc_pasid_table = sim_op_alloc_pasid_table,
        .attach_pasid = sim_op_attach_pasid,
        .detach_pasid = sim_op_detach_pasid,
        .reset_open = sim_op_reset_open,
        .hot_reset = sim_op_hot_reset,
        .close_fd = sim_op_close_fd,
        .open_container = sim_op_open_container,
        .watch_group = sim_op_watch_group,
        .open_group = sim_op_open_group,
        .set_container = sim_op_set_container,
        .open_by_group = sim_op_open_by_group,
        .gate_load = sim_op_gate_load,
        .gate_open = sim_op_gate_open,
        .gate_unload = sim_op_gate_unload,
        .gate_set_lease = sim_op_gate_set_lease,
        .gate_drop_lease = sim_op_gate_drop_lease,
        .gate_read_lease = sim_op_gate_read_lease,
        .gate_read_level = sim_op_gate_read_level,
        .gate_list_leases = sim_op_gate_list_leases,
        .gate_set_limit = sim_op_gate_set_limit,
        .gate_keep_limits = sim_op_gate_keep_limits,
        .gate_note_nodes = sim_op_gate_note_nodes,
};

/* --- jobs --- */

/* What a job is to close goes with it. */
static void begin_worker(Sim *s, const SimWorker *w, const Job *job) {
        if (job->kind != JOB_CLOSE)
                return;
        if (job->iommufd >= 0)
                s->fds[job->iommufd].pid = w->pid;
        for (size_t i = 0; i < job->n_devices; i++)
                if (job->devices[i].fd >= 0)
                        s->fds[job->devices[i].fd].pid = w->pid;
}

/* What the worker tells of goes to the daemon, the rest is closed by its end. */
static void end_worker(Sim *s, const SimWorker *w, Job *job, bool done) {
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
        if (done && sim_next_fd(s, w->pid, -1) >= 0)
                sim_breach(s, SIM_BREACH_WORKER_LEAK, NULL);
        sim_client_die(s, w->pid);
}

static SimOutcome run_or_escape(Sim *s, Job *job) {
        switch (setjmp(s->worker->escape)) {
        case 0:
                work_run(&s->kernel, job);
                return SIM_DONE;
        case SIM_HUNG:
                return SIM_HUNG;
        default:
                return SIM_DIED;
        }
}

SimOutcome sim_run(Sim *s, Job *job) {
        SimWorker worker = { .job = job, .pid = SIM_PID_WORKER + (int) s->n_workers };
        SimOutcome outcome;

        s->n_jobs++;
        s->n_workers++;
        s->job_ops = 0;
        s->worker = &worker;
        begin_worker(s, &worker, job);
        outcome = run_or_escape(s, job);
        s->worker = NULL;
        s->n_workers--;
        if (outcome != SIM_DONE)
                job->result = -ECHILD;
        end_worker(s, &worker, job, outcome == SIM_DONE);
        return outcome;
}
