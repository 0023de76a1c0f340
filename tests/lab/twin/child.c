/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/wait.h>
#include <unistd.h>

#include "twin/act.h"

/* A child that has none of our descriptors: an unbind waits for them, and nobody is a holder for himself. Its status is the result without
 * the sign. */
pid_t child_start(int (*run)(Kernel *k, Address a), Address a) {
        pid_t pid = fork();
        Kernel *k;

        if (pid < 0)
                abort();
        if (pid > 0)
                return pid;
        if (close_range(3, ~0U, 0) < 0 || kernel_linux_new("", &k) < 0)
                _exit(255);
        _exit(-run(k, a));
}

int child_wait(pid_t pid) {
        int status;

        if (waitpid(pid, &status, 0) < 0 || !WIFEXITED(status))
                abort();
        return -WEXITSTATUS(status);
}
