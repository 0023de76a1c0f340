/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <syslog.h>
#include <time.h>

#include "broker/task.h"
#include "system/journal.h"
#include "util/fd.h"

struct Task {
        Task *next; /* TaskQueue::tasks */
        TaskQueue *queue;
        Job *job;       /* until a worker has it */
        Worker *worker; /* then */
        int locks[WORKER_LOCKS_MAX];
        size_t n_locks;
        uint64_t started;
        task_done_t done;
        void *userdata;
};

struct TaskQueue {
        sd_event *event;
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
}

static Task *task_free(Task *t) {
        if (!t)
                return NULL;
        worker_free(t->worker);
        if (t->job)
                close_consumed(t->job);
        for (size_t i = 0; i < t->n_locks; i++)
                fd_close(t->locks[i]);
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

static int lock_sets(Task *t) {
        for (size_t i = 0; i < t->job->n_devices; i++) {
                Address set = t->job->devices[i].lease.set;
                bool known = false;
                int fd;

                for (size_t j = 0; j < i && !known; j++)
                        known = address_equal(t->job->devices[j].lease.set, set);
                if (known)
                        continue;
                fd = store_lock_set(t->queue->store, set);
                if (fd < 0)
                        return fd;
                t->locks[t->n_locks++] = fd;
        }
        return 0;
}

static void run_next(TaskQueue *q);

static void on_done(Job *job, void *userdata) {
        Task *t = userdata;
        TaskQueue *q = t->queue;

        t->worker = NULL; /* it frees itself after this */
        unlink_task(t);
        q->workers--;
        /* The worker is gone and its locks with it, so that what comes next can take them. */
        for (size_t i = 0; i < t->n_locks; i++)
                fd_close(t->locks[i]);
        t->n_locks = 0;
        t->done(job, t->userdata);
        task_free(t);
        run_next(q);
}

static int run(Task *t) {
        int r = worker_start(t->queue->event, t->job, t->locks, t->n_locks, on_done, t, &t->worker);

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
                        return; /* the list may have changed */
                }
                t = next;
        }
}

int task_start(TaskQueue *q, Job *job, task_done_t done, void *userdata, Task **ret) {
        _cleanup_(task_freep) Task *t = calloc(1, sizeof(*t));
        Task **link = &q->tasks;
        int r;

        if (!t) {
                close_consumed(job);
                return -ENOMEM;
        }
        t->queue = q;
        t->done = done;
        t->userdata = userdata;
        t->job = malloc(sizeof(*job));
        if (!t->job) {
                close_consumed(job);
                return -ENOMEM;
        }
        memcpy(t->job, job, job_size(job)); /* from here on it owns what is to be consumed */
        /* To look at a device needs no lock, and is needed most when a worker is stuck with it; to close one is no work on it. */
        if (job->kind != JOB_HOLDERS && job->kind != JOB_USES && job->kind != JOB_CLOSE) {
                r = lock_sets(t);
                if (r < 0)
                        return r;
        }
        if (q->workers < q->workers_max) {
                r = run(t);
                if (r < 0)
                        return r;
        }
        while (*link)
                link = &(*link)->next;
        *link = t;
        *ret = TAKE_PTR(t);
        return 0;
}

const Job *task_progress(const Task *t) {
        return t->worker ? worker_job(t->worker) : NULL;
}

uint64_t task_age(const Task *t) {
        return t->worker ? now_usec() - t->started : 0;
}

int task_queue_new(sd_event *event, const Store *store, unsigned workers_max, TaskQueue **ret) {
        TaskQueue *q = calloc(1, sizeof(*q));

        if (!q)
                return -ENOMEM;
        q->event = event;
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
        free(q);
        return NULL;
}
