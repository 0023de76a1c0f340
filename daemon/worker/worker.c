/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util/fd.h"
#include "worker/work.h"
#include "worker/worker.h"

/* The job lies in memory that daemon and worker share, so results need no encoding, and the steps of a stuck worker can be
 * read. Descriptors come over a socket: which ones is in the message beside them. */

struct Worker {
        Job *job;
        int socket;
        sd_event_source *source;
        worker_done_t done;
        void *userdata;
};

#define IOMMUFD_INDEX UINT32_MAX
#define FDS_MAX       128 /* in one message; the kernel takes 253 (SCM_MAX_FD) */

typedef struct FdMessage {
        uint32_t n;
        uint32_t index[FDS_MAX]; /* of the device, or IOMMUFD_INDEX */
} FdMessage;

typedef union FdControl {
        struct cmsghdr header;
        char buffer[CMSG_SPACE(sizeof(int) * FDS_MAX)];
} FdControl;

static int send_message(int socket, const FdMessage *message, const int *fds) {
        FdControl control = {};
        struct iovec iov = { (void *) message, sizeof(*message) };
        struct msghdr mh = {
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = CMSG_SPACE(message->n * sizeof(int)),
        };

        control.header = (struct cmsghdr) {
                .cmsg_len = CMSG_LEN(message->n * sizeof(int)),
                .cmsg_level = SOL_SOCKET,
                .cmsg_type = SCM_RIGHTS,
        };
        memcpy(CMSG_DATA(&control.header), fds, message->n * sizeof(int));
        return sendmsg(socket, &mh, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

static int send_fds(int socket, const Job *job) {
        FdMessage message = {};
        int fds[FDS_MAX], r;

        if (job->kind == JOB_IOMMUFD && job->iommufd >= 0) {
                fds[message.n] = job->iommufd;
                message.index[message.n++] = IOMMUFD_INDEX;
        }
        for (uint32_t i = 0; i < job->n_devices; i++) {
                if (job->devices[i].fd >= 0) {
                        fds[message.n] = job->devices[i].fd;
                        message.index[message.n++] = i;
                }
                if (message.n < FDS_MAX)
                        continue;
                r = send_message(socket, &message, fds);
                if (r < 0)
                        return r;
                message = (FdMessage) {};
        }
        return message.n > 0 ? send_message(socket, &message, fds) : 0;
}

/* Puts the received descriptors into the job, whose own numbers are the worker's and mean nothing here. Returns 1 if there may be
 * more. */
static int receive_message(int socket, Job *job) {
        FdMessage message = {};
        FdControl control;
        struct iovec iov = { &message, sizeof(message) };
        struct msghdr mh = {
                .msg_iov = &iov, .msg_iovlen = 1, .msg_control = &control, .msg_controllen = sizeof(control)
        };
        ssize_t n = recvmsg(socket, &mh, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

        if (n <= 0)
                return n == 0 || errno == EAGAIN ? 0 : -errno;
        for (struct cmsghdr *h = CMSG_FIRSTHDR(&mh); h; h = CMSG_NXTHDR(&mh, h)) {
                size_t n_fds = (h->cmsg_len - CMSG_LEN(0)) / sizeof(int);
                const unsigned char *data = CMSG_DATA(h);

                for (size_t i = 0; i < n_fds; i++) {
                        int fd;

                        memcpy(&fd, data + i * sizeof(int), sizeof(fd));
                        if (message.index[i] == IOMMUFD_INDEX)
                                job->iommufd = fd;
                        else
                                job->devices[message.index[i]].fd = fd;
                }
        }
        return 1;
}

static void close_job_fds(Job *job) {
        if (job->kind == JOB_IOMMUFD)
                job->iommufd = fd_close(job->iommufd);
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].fd = fd_close(job->devices[i].fd);
}

static int compare_fds(const void *a, const void *b) {
        return *(const int *) a - *(const int *) b;
}

/* Closes all descriptors above the standard streams but these. Above all no lifeline of a client: a worker that is stuck in the
 * kernel would keep it open. */
static void keep_only(int *keep, size_t n) {
        unsigned first = 3;

        qsort(keep, n, sizeof(int), compare_fds);
        for (size_t i = 0; i < n; i++) {
                if (keep[i] < 3)
                        continue;
                if ((unsigned) keep[i] > first)
                        (void) close_range(first, (unsigned) keep[i] - 1, 0);
                first = (unsigned) keep[i] + 1;
        }
        (void) close_range(first, ~0U, 0);
}

#define KEEP_MAX (WORKER_LOCKS_MAX + JOB_DEVICES_MAX + 4)

/* Which descriptors the worker needs. */
static size_t list_needed(const Job *job, int socket, const int *locks, size_t n_locks, int keep[static KEEP_MAX]) {
        size_t n = 0;

        keep[n++] = socket;
        keep[n++] = job->inotify_fd;
        if (job->kind == JOB_PREPARE || job->kind == JOB_RESTORE || job->kind == JOB_CLOSE)
                keep[n++] = job->iommufd;
        if (job->kind == JOB_RESET || job->kind == JOB_PASID)
                keep[n++] = job->device_fd;
        if (job->kind == JOB_SYNC)
                keep[n++] = job->file_fd;
        if (job->kind == JOB_CLOSE)
                keep[n++] = job->barrier;
        for (size_t i = 0; i < n_locks; i++)
                keep[n++] = locks[i];
        for (size_t i = 0; i < job->n_devices && job->kind == JOB_CLOSE; i++)
                keep[n++] = job->devices[i].fd;
        return n;
}

/* What each kind of job needs beside files and ioctls. Host uses are found by looking into processes, too. */
static unsigned needs_of(JobKind kind) {
        switch (kind) {
        case JOB_SETUP:
                return SANDBOX_MODULES | SANDBOX_BPF;
        case JOB_IOMMUFD:
                return SANDBOX_MEMLOCK;
        case JOB_PREPARE:
        case JOB_RESTORE:
        case JOB_VIRTUAL_FUNCTIONS:
                return SANDBOX_MODULES | SANDBOX_OTHERS | SANDBOX_PCI;
        case JOB_HOLDERS:
        case JOB_USES:
        case JOB_REQUEST:
                return SANDBOX_OTHERS;
        case JOB_KILL:
                return SANDBOX_OTHERS | SANDBOX_KILL;
        case JOB_SURVEY:
                return SANDBOX_PCI;
        default:
                return 0;
        }
}

static int find_sandbox(WorkerPool *pool, unsigned needs, const Sandbox **ret) {
        Sandbox **s = &pool->sandboxes[needs];
        int r = *s ? 0 : sandbox_new(needs, s);

        *ret = *s;
        return r;
}

void worker_pool_clear(WorkerPool *pool) {
        for (size_t i = 0; i < ARRAY_SIZE(pool->sandboxes); i++)
                pool->sandboxes[i] = sandbox_free(pool->sandboxes[i]);
}

static _Noreturn void child(Job *job, const Sandbox *sandbox, int socket, const int *locks, size_t n_locks,
                            pid_t parent) {
        int keep[KEEP_MAX];
        sigset_t none;
        Kernel *k;
        int r;

        (void) prctl(PR_SET_NAME, "iommud-worker");
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (getppid() != parent)
                _exit(EXIT_FAILURE); /* it died before the line above */
        keep_only(keep, list_needed(job, socket, locks, n_locks, keep));
        (void) sigemptyset(&none);
        (void) sigprocmask(SIG_SETMASK, &none, NULL);

        r = sandbox_enter(sandbox);
        if (r >= 0)
                r = kernel_linux_new("", &k);
        if (r >= 0) {
                work_run(k, job);
                r = send_fds(socket, job);
        }
        if (r < 0)
                job->result = r;
        _exit(r < 0 ? EXIT_FAILURE : EXIT_SUCCESS);
}

/* Not left to sd-event: it would wait for the child, and one that is stuck in the kernel comes when it likes. */
static void kill_child(sd_event_source *source) {
        int pidfd = sd_event_source_get_child_pidfd(source);

        (void) sd_event_source_set_child_process_own(source, false);
        if (pidfd >= 0)
                (void) syscall(SYS_pidfd_send_signal, pidfd, SIGKILL, NULL, 0);
}

Worker *worker_free(Worker *w) {
        if (!w)
                return NULL;
        if (w->source)
                kill_child(w->source);
        sd_event_source_disable_unref(w->source);
        fd_close(w->socket);
        if (w->job)
                (void) munmap(w->job, sizeof(Job));
        free(w);
        return NULL;
}
DEFINE_CLEANUP(Worker, worker_free)

static int on_exit_of_child(_unused_ sd_event_source *s, const siginfo_t *si, void *userdata) {
        Worker *w = userdata;
        int r;

        for (size_t i = 0; i < w->job->n_devices; i++)
                w->job->devices[i].fd = -EBADF;
        if (w->job->kind == JOB_IOMMUFD || w->job->kind == JOB_CLOSE)
                w->job->iommufd = -EBADF;
        do
                r = receive_message(w->socket, w->job);
        while (r > 0);
        if (si->si_code != CLD_EXITED)
                r = -ECHILD;
        if (r < 0)
                w->job->result = r;
        w->done(w->job, w->userdata);
        close_job_fds(w->job);
        w->source = sd_event_source_disable_unref(w->source); /* it has been reaped: nothing to kill */
        worker_free(w);
        return 0;
}

static int map_job(const Job *job, Job **ret) {
        Job *shared = mmap(NULL, sizeof(*job), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

        if (shared == MAP_FAILED)
                return -errno;
        memcpy(shared, job, job_size(job));
        /* What it says if the worker dies before it has a result. */
        shared->result = -ECHILD;
        *ret = shared;
        return 0;
}

int worker_start(WorkerPool *pool, const Job *job, const int *locks, size_t n_locks, worker_done_t done, void *userdata,
                 Worker **ret) {
        _cleanup_close_ int theirs = -EBADF;
        _cleanup_(worker_freep) Worker *w = calloc(1, sizeof(*w));
        const Sandbox *sandbox;
        pid_t pid, parent = getpid();
        int sv[2], r;

        if (!w)
                return -ENOMEM;
        w->socket = -EBADF;
        w->done = done;
        w->userdata = userdata;
        r = find_sandbox(pool, needs_of(job->kind), &sandbox);
        if (r < 0)
                return r;
        r = map_job(job, &w->job);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv) < 0)
                return -errno;
        w->socket = sv[0];
        theirs = sv[1];
        (void) fflush(NULL);
        pid = fork();
        if (pid < 0)
                return -errno;
        if (pid == 0)
                child(w->job, sandbox, theirs, locks, n_locks, parent);

        r = sd_event_add_child(pool->event, &w->source, pid, WEXITED, on_exit_of_child, w);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                return r;
        }
        r = sd_event_source_set_child_process_own(w->source, true);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

const Job *worker_job(const Worker *w) {
        return w->job;
}
