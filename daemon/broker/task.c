/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/file.h>
#include <syslog.h>
#include <time.h>

#include "broker/task.h"
#include "system/journal.h"
#include "util/fd.h"

struct Task {
        Task *next; /* TaskQueue::tasks */
        TaskQueue *queue;
        Job *job;                       /* until a worker has it */
        Worker *worker;                 /* then */
        Address sets[WORKER_LOCKS_MAX]; /* whose locks it has: */
        int locks[WORKER_LOCKS_MAX];
        size_t n_locks;
        bool again; /* a worker was killed at it */
        uint64_t started;
        task_done_t done;
        void *userdata;
};

struct TaskQueue {
        WorkerPool pool;
        Kernel *kernel;
        const Store *store;
        unsigned workers, workers_max;
        Task *tasks; /* running and waiting, oldest first */
};

static uint64_t now_usec(void) {
        struct timespec ts;

        (void) clock_gettime(CLOCK_MONOTONIC, &ts);
        return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}

/* What a job is to close is closed here once a worker has it, or when none will. */
static void close_consumed(Job *job) {
        if (job->kind != JOB_CLOSE)
                return;
        for (size_t i = 0; i < job->n_devices; i++)
                job->devices[i].fd = fd_close(job->devices[i].fd);
        job->iommufd = fd_close(job->iommufd);
        job->barrier = fd_close(job->barrier);
}

static void drop_locks(Task *t) {
        while (t->n_locks > 0)
                fd_close(t->locks[--t->n_locks]);
}

static Task *task_free(Task *t) {
        if (!t)
                return NULL;
        worker_free(t->worker);
        if (t->job)
                close_consumed(t->job);
        drop_locks(t);
        free(t->job);
        free(t);
        return NULL;
}
DEFINE_CLEANUP(Task, task_free)

static void unlink_task(Task *t) {
        Task **link = &t->queue->tasks;

        while (*link != t)
                link = &(*link)->next;
        *link = t->next;
}

static int lock_set(Task *t, Address set) {
        int fd;

        for (size_t i = 0; i < t->n_locks; i++)
                if (address_equal(t->sets[i], set))
                        return 0;
        if (t->n_locks == WORKER_LOCKS_MAX)
                return -E2BIG;
        fd = store_lock_set(t->queue->store, set);
        if (fd < 0)
                return fd;
        t->sets[t->n_locks] = set;
        t->locks[t->n_locks++] = fd;
        return 0;
}

/* Whoever unbinds a physical function removes the virtual ones. While a worker is at one of those, or stuck in its unbind, which makes it
 * look driverless, the kernel would wait for its holders with all hotplug locked out. */
static int lock_functions(Task *t, Address physical) {
        Kernel *k = t->queue->kernel;
        Address vf;
        int r = 0;

        for (unsigned i = 0; r >= 0 && k->ops->virtual_function(k, physical, i, &vf) >= 0; i++)
                r = lock_set(t, vf); /* a virtual function is a reset set by itself */
        return r;
}

static int lock_sets(Task *t) {
        bool unbinds = t->job->kind == JOB_PREPARE || t->job->kind == JOB_RESTORE;
        int r = 0;

        for (size_t i = 0; i < t->job->n_devices && r >= 0; i++) {
                r = lock_set(t, t->job->devices[i].lease.set);
                if (r >= 0 && unbinds)
                        r = lock_functions(t, t->job->devices[i].lease.address);
        }
        return r;
}

static void run_next(TaskQueue *q);

/* That a worker was killed, for lack of memory perhaps, says nothing of the kernel. Of these kinds nobody else makes good what it has
 * left half done: without the gate there would be no PASIDs as long as we run, what was taken off VFIO to be removed would stay,
 * devices of which nothing is known would count as having PASIDs, and a limit would not be set for want of memory. */
static bool is_worth_another(const Job *job) {
        return job->kind == JOB_SETUP || job->kind == JOB_VIRTUAL_FUNCTIONS || job->kind == JOB_SURVEY ||
               job->kind == JOB_SYNC;
}

static bool begin_again(Task *t, const Job *job) {
        if (job->result != -ECHILD || t->again || !is_worth_another(job))
                return false;
        t->job = malloc(sizeof(*job));
        if (!t->job)
                return false;
        memcpy(t->job, job, job_size(job));
        t->again = true;
        return true;
}

static void on_done(Job *job, void *userdata) {
        Task *t = userdata;
        TaskQueue *q = t->queue;

        t->worker = NULL; /* it frees itself after this */
        q->workers--;
        if (begin_again(t, job)) {
                run_next(q);
                return;
        }
        unlink_task(t);
        /* The worker is gone and its locks with it, so that what comes next can take them. Not by closing alone: another worker that
         * was forked just now may not have closed its copies yet. */
        for (size_t i = 0; i < t->n_locks; i++)
                (void) flock(t->locks[i], LOCK_UN);
        drop_locks(t);
        t->done(job, t->userdata);
        task_free(t);
        run_next(q);
}

static int run(Task *t) {
        int r = worker_start(&t->queue->pool, t->job, t->locks, t->n_locks, on_done, t, &t->worker);

        if (r < 0)
                return r;
        close_consumed(t->job);
        free(t->job);
        t->job = NULL;
        t->started = now_usec();
        t->queue->workers++;
        return 0;
}

static void run_next(TaskQueue *q) {
        Task *t = q->tasks;

        while (t && q->workers < q->workers_max) {
                Task *next = t->next;
                int r = t->worker ? 0 : run(t);

                if (r < 0) {
                        journal_log(LOG_ERR, "Cannot start a worker: %s", strerror(-r));
                        unlink_task(t);
                        t->job->result = r;
                        t->done(t->job, t->userdata);
                        task_free(t);
                        next = q->tasks; /* the list may have changed, and nobody else would begin the others */
                }
                t = next;
        }
}

int task_start(TaskQueue *q, Job *job, task_done_t done, void *userdata, Task **ret) {
        _cleanup_(task_freep) Task *t = calloc(1, sizeof(*t));
        Task **link = &q->tasks;
        int r;

        if (t)
                t->job = malloc(sizeof(*job));
        if (!t || !t->job) {
                close_consumed(job);
                return -ENOMEM;
        }
        t->queue = q;
        t->done = done;
        t->userdata = userdata;
        memcpy(t->job, job, job_size(job)); /* from here on it owns what is to be consumed */
        r = job_has_locks(job) ? lock_sets(t) : 0;
        if (r >= 0 && q->workers < q->workers_max)
                r = run(t);
        if (r < 0)
                return r;
        while (*link)
                link = &(*link)->next;
        *link = t;
        if (ret)
                *ret = t;
        TAKE_PTR(t);
        return 0;
}

static void on_closed(_unused_ Job *job, _unused_ void *userdata) {
}

void task_close(TaskQueue *q, int fd) {
        _cleanup_free_ Job *job = fd >= 0 ? malloc(sizeof(*job)) : NULL;
        int r;

        if (!job) {
                fd_close(fd);
                return;
        }
        job_init(job, JOB_CLOSE);
        job->iommufd = fd;
        r = task_start(q, job, on_closed, NULL, NULL);
        if (r < 0)
                journal_log(LOG_WARNING, "A descriptor was closed without a worker: %s", strerror(-r));
}

bool task_has_set(const TaskQueue *q, Address set) {
        for (const Task *t = q->tasks; t; t = t->next)
                for (size_t i = 0; i < t->n_locks; i++)
                        if (address_equal(t->sets[i], set))
                                return true;
        return false;
}

int task_check_set(const TaskQueue *q, Address set) {
        int fd;

        if (task_has_set(q, set))
                return 0;
        fd = store_lock_set(q->store, set);
        if (fd < 0)
                return fd;
        (void) flock(fd, LOCK_UN); /* as in on_done() */
        fd_close(fd);
        return 0;
}

const Job *task_progress(const Task *t) {
        return t->worker ? worker_job(t->worker) : NULL;
}

uint64_t task_age(const Task *t) {
        return t->worker ? now_usec() - t->started : 0;
}

int task_queue_new(sd_event *event, Kernel *kernel, const Store *store, unsigned workers_max, TaskQueue **ret) {
        TaskQueue *q = calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        q->pool.event = event;
        q->kernel = kernel;
        q->store = store;
        q->workers_max = workers_max;
        *ret = q;
        return 0;
}

TaskQueue *task_queue_free(TaskQueue *q) {
        if (!q)
                return NULL;
        while (q->tasks) {
                Task *t = q->tasks;

                q->tasks = t->next;
                task_free(t);
        }
        worker_pool_clear(&q->pool);
        free(q);
        return NULL;
}
