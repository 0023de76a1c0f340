/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include "twin/act.h"

/* A process that keeps a descriptor which everybody else has closed, until it is killed. */

#define CHILD (SIM_PID_CLIENT + 1)

/* It stops when it has nothing but that one. */
static pid_t start_keeper(int fd) {
        pid_t pid = fork();
        int status;

        if (pid < 0)
                abort();
        if (pid == 0) {
                if ((fd > 3 && close_range(3, (unsigned) fd - 1, 0) < 0) || close_range((unsigned) fd + 1, ~0U, 0) < 0)
                        _exit(1);
                (void) raise(SIGSTOP);
                _exit(1);
        }
        if (waitpid(pid, &status, WUNTRACED) != pid || !WIFSTOPPED(status))
                abort();
        return pid;
}

static void look(Twin *t, const Pair *p) {
        if (p->kind == PAIR_DEVICE)
                file_find_holders(t, p->address);
        compare_all(t);
}

static void kill_keeper(Twin *t, pid_t pid) {
        ProcessFacts facts;
        int real = t->real->ops->open_process(t->real, pid, &facts);
        int sim = SIM_OPS(t)->open_process(SIM_K(t), CHILD, &facts);

        twin_note(t, "kill_process");
        twin_result(t, "open_process", pair_either(real), pair_either(sim));
        twin_result(t, "kill_process", t->real->ops->kill_process(t->real, real),
                    SIM_OPS(t)->kill_process(SIM_K(t), sim));
        if (waitpid(pid, NULL, 0) != pid)
                abort();
        twin_result(t, "kill_process", t->real->ops->kill_process(t->real, real),
                    SIM_OPS(t)->kill_process(SIM_K(t), sim));
        t->real->ops->close_fd(t->real, real);
        SIM_OPS(t)->close_fd(SIM_K(t), sim);
        twin_result(t, "open_process", t->real->ops->open_process(t->real, pid, &facts),
                    SIM_OPS(t)->open_process(SIM_K(t), CHILD, &facts));
}

static void keep_in_child(Twin *t) {
        Pair *p = t->n_pairs ? &t->pairs[twin_below(t, (unsigned) t->n_pairs)] : NULL, kept;
        pid_t pid;

        if (!p)
                return;
        kept = *p;
        twin_note(t, "a child keeps %d (%s)", kept.real, ADDRESS(kept.address));
        pid = start_keeper(kept.real);
        (void) sim_add_process(t->sim, CHILD, 0, (uint64_t) t->n_operations + 1, "/");
        if (sim_client_dup(t->sim, kept.sim, CHILD) < 0)
                abort();
        pair_close(t, p);
        look(t, &kept);
        kill_keeper(t, pid);
        look(t, &kept);
}

const Action process_actions[] = {
        { keep_in_child, 3 },
        {},
};
