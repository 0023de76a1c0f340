/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash.h"
#include "kernel/sandbox.h"
#include "util/text.h"
#include "worker/work.h"

/* The daemon as it is, linked with functions of points.py that stand before its own. At the first point that the test has not had yet one
 * of its processes, or its client, dies as by SIGKILL. */

#define DEATH_MAX  80
#define DEATHS_MAX 1500

/* As suite/crash.py knows it; in a file that both map. */
typedef struct Control {
        uint32_t armed;
        uint32_t window; /* counted up when one is opened */
        uint32_t client; /* its process */
        uint32_t n_done;
        char only[DEATH_MAX];             /* names of points with a blank around each; "": all */
        char now[DEATH_MAX];              /* who died where, "" if nobody did */
        char done[DEATHS_MAX][DEATH_MAX]; /* and those before */
} Control;

enum Victim {
        VICTIM_SELF = 1, /* whoever has come to the point */
        VICTIM_DAEMON = 2,
        VICTIM_CLIENT = 4,
};

static Control *control;
static pid_t daemon_pid;
static const char *job = "daemon"; /* what this process is at */

/* How often this process has come to the points that it knows, since the window was opened. */
static struct {
        const char *name;
        unsigned n;
} visits[64];
static uint32_t window;

__attribute__((constructor)) static void begin(void) {
        int fd = open("/run/crash", O_RDWR | O_CLOEXEC);
        void *p = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof(*control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

        if (p == MAP_FAILED)
                abort();
        (void) close(fd);
        control = p;
        daemon_pid = getpid();
}

/* It has nothing open any more when this returns. */
static void kill_client(void) {
        struct pollfd gone = { .fd = (int) syscall(SYS_pidfd_open, (pid_t) control->client, 0), .events = POLLIN };

        if (gone.fd < 0)
                return;
        (void) kill((pid_t) control->client, SIGKILL);
        (void) poll(&gone, 1, -1);
        (void) close(gone.fd);
}

/* Counts this visit, too. */
static unsigned count_visit(const char *name) {
        size_t i = 0;

        if (window != control->window)
                (void) memset(visits, 0, sizeof(visits));
        window = control->window;
        while (i + 1 < ARRAY_SIZE(visits) && visits[i].name && visits[i].name != name)
                i++;
        visits[i].name = name;
        return ++visits[i].n;
}

/* What an operation of the gate does to its maps is counted anew in each: it is the same each time. So is what it is told of nodes, which comes
 * with each event of a device. 0: nobody dies this time, since one map or program after the other is much the same, too. */
static unsigned visit_of(const char *name, char label[static DEATH_MAX]) {
        static const char *operation = "";
        static unsigned n;
        bool within = strncmp(name, "gate-", 5) == 0;

        if (strncmp(name, "gate_", 5) == 0) {
                operation = name;
                n = 0;
        }
        (void) snprintf(label, DEATH_MAX, "%s%s%s", within ? operation : "", within ? "/" : "", name);
        if (within) {
                n++;
                return (n & (n - 1)) == 0 ? n : 0; /* the first, second, fourth, eighth ... */
        }
        return streq(name, "gate_note_nodes") ? 1 : count_visit(name);
}

static bool is_done(const char *death) {
        for (uint32_t i = 0; i < control->n_done; i++)
                if (streq(control->done[i], death))
                        return true;
        return false;
}

/* Whoever comes to the point dies at each visit; the others once for each name. */
static bool is_new(unsigned victim, const char *name, const char *label, unsigned visit, char death[static DEATH_MAX]) {
        if (victim == VICTIM_SELF)
                (void) snprintf(death, DEATH_MAX, "%u %.20s %.40s %u", victim, job, label, visit);
        else
                (void) snprintf(death, DEATH_MAX, "%u %s %s", victim, job, name);
        return !is_done(death);
}

void crash_point(const char *name) {
        static const unsigned victims[] = { VICTIM_SELF, VICTIM_DAEMON, VICTIM_CLIENT, VICTIM_DAEMON | VICTIM_CLIENT };
        bool is_daemon = getpid() == daemon_pid;
        char death[DEATH_MAX], word[DEATH_MAX], label[DEATH_MAX];
        unsigned victim = 0, visit = visit_of(name, label);

        (void) snprintf(word, sizeof(word), " %s ", name);
        if (visit == 0 || (!isempty(control->only) && !strstr(control->only, word)))
                return;
        for (size_t i = 0; i < ARRAY_SIZE(victims) && victim == 0; i++)
                if (!(victims[i] == VICTIM_DAEMON && is_daemon) && is_new(victims[i], name, label, visit, death))
                        victim = victims[i];
        if (victim == 0 || __atomic_exchange_n(&control->armed, 0, __ATOMIC_SEQ_CST) == 0)
                return;
        (void) memcpy(control->now, death, sizeof(death));
        if (victim & VICTIM_CLIENT)
                kill_client();
        if (victim & VICTIM_DAEMON)
                (void) kill(daemon_pid, SIGKILL);
        if (victim & VICTIM_SELF)
                (void) raise(SIGKILL);
}

void __real_work_run(Kernel *k, Job *j);
void __wrap_work_run(Kernel *k, Job *j);
void __wrap_work_run(Kernel *k, Job *j) {
        job = crash_jobs[j->kind];
        (void) memset(visits, 0, sizeof(visits));
        __real_work_run(k, j);
}

int __real_kernel_linux_new(const char *root, Kernel **ret);
int __wrap_kernel_linux_new(const char *root, Kernel **ret);
int __wrap_kernel_linux_new(const char *root, Kernel **ret) {
        int r = __real_kernel_linux_new(root, ret);

        if (r >= 0)
                crash_stand_before(&(*ret)->ops);
        return r;
}

/* A worker could not kill the others otherwise. */
int __wrap_sandbox_enter(const Sandbox *s);
int __wrap_sandbox_enter(_unused_ const Sandbox *s) {
        return 0;
}
