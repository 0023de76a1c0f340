/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "kernel/sandbox.h"
#include "worker/job.h"

/* A process that runs one job, since what it does can sleep in the kernel for a minute or for ever. It dies with the daemon (as
 * soon as the kernel lets it), inherits no descriptor that it does not need, and keeps its lock as long as it is at work, so
 * that a restarted daemon leaves its devices alone. */

typedef struct Worker Worker;

/* What workers have in common. */
typedef struct WorkerPool {
        sd_event *event;
        Sandbox *sandboxes[_SANDBOX_MAX]; /* by needs; each made for the first worker that enters it */
} WorkerPool;

void worker_pool_clear(WorkerPool *pool);

/* In the daemon, once, when the worker has ended. The job has results and descriptors; what is not taken out of it is closed
 * afterwards. A worker that died has result -ECHILD. */
typedef void (*worker_done_t)(Job *job, void *userdata);

#define WORKER_LOCKS_MAX (2 * (size_t) JOB_DEVICES_MAX) /* of virtual functions, too */

/* Copies the job and starts on it. locks: open file descriptions with flock() held, which the worker keeps as long as it lives. */
int worker_start(WorkerPool *pool, const Job *job, const int *locks, size_t n_locks, worker_done_t done, void *userdata,
                 Worker **ret);

/* The job as the worker has it now: its steps tell what it is at. */
const Job *worker_job(const Worker *w);

/* Kills the worker and forgets it: done will not be called. Copes with NULL. */
Worker *worker_free(Worker *w);
