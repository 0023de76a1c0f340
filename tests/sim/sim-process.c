/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sim/simops.h"
#include "util/text.h"

SimProcess *sim_add_process(Sim *s, int pid, uid_t uid, uint64_t id, const char *cgroup) {
        SimProcess *p = &s->processes[s->n_processes++ % SIM_PROCESSES_MAX];

        *p = (SimProcess) { .facts = { .pid = pid, .uid = uid, .id = id } };
        (void) text_copy(p->facts.cgroup, sizeof(p->facts.cgroup), cgroup);
        return p;
}

/* The last one that got the number. */
SimProcess *sim_process(Sim *s, int pid) {
        for (size_t i = s->n_processes < SIM_PROCESSES_MAX ? s->n_processes : SIM_PROCESSES_MAX; i > 0; i--)
                if (s->processes[i - 1].facts.pid == pid)
                        return &s->processes[i - 1];
        return NULL;
}

uint64_t sim_cgroup_id(const char *path) {
        return strlen(path);
}

int sim_op_open_process(Kernel *k, int pid, ProcessFacts *ret) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "open_process", NULL);
        const SimProcess *p = sim_process(s, pid);

        if (r >= 0 && (!p || (p->killed && !p->immortal)))
                r = -ESRCH;
        if (r < 0)
                return sim_leave(s, r);
        *ret = p->facts;
        r = sim_new_file(s, -1, sim_caller(s));
        if (r >= 0)
                sim_file(s, r)->process = p->facts.id;
        return sim_leave(s, r);
}

static void end_process(Sim *s, SimProcess *p, bool whole_cgroup) {
        if (s->on_kill)
                s->on_kill(s->userdata, p, whole_cgroup);
        p->killed = true;
        if (!p->immortal)
                sim_client_die(s, p->facts.pid);
}

int sim_op_kill_process(Kernel *k, int pidfd) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "kill_process", NULL);
        SimProcess *p = NULL;

        for (size_t i = 0; i < SIM_PROCESSES_MAX && r >= 0; i++)
                if (s->processes[i].facts.pid != 0 && s->processes[i].facts.id == sim_file(s, pidfd)->process)
                        p = &s->processes[i];
        if (r >= 0 && (!p || p->killed))
                r = -ESRCH;
        if (r >= 0)
                end_process(s, p, false);
        return sim_leave(s, r);
}

int sim_op_kill_cgroup(Kernel *k, const char *path, uint64_t id) {
        Sim *s = sim_of(k);
        int r = sim_enter(s, "kill_cgroup", NULL);

        if (r >= 0 && id != sim_cgroup_id(path))
                r = -ESTALE;
        if (r < 0)
                return sim_leave(s, r);
        (void) text_copy(s->killed_cgroup, sizeof(s->killed_cgroup), path);
        for (size_t i = 0; i < SIM_PROCESSES_MAX; i++)
                if (s->processes[i].facts.pid != 0 && !s->processes[i].killed &&
                    strncmp(s->processes[i].facts.cgroup, path, strlen(path)) == 0)
                        end_process(s, &s->processes[i], true);
        return sim_leave(s, 0);
}

int sim_op_request_device(Kernel *k, Address a, int pid) {
        Sim *s = sim_of(k);
        SimDevice *d;
        int r = sim_enter_device(s, "request_device", a, &d);

        if (r < 0)
                return sim_leave(s, r);
        r = -ENOENT;
        for (int fd = -1; (fd = sim_next_fd(s, pid, fd)) >= 0 && r < 0;)
                if (sim_file(s, fd)->device == (int) (d - s->devices))
                        r = sim_file(s, fd)->bound != 0 && d->listened ? 0 : -EINVAL;
        d->n_requests += r >= 0;
        return sim_leave(s, r);
}
