/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/store.h"
#include "worker/worker.h"

/* Jobs on their way: each takes the locks of its reset sets and a worker, or waits in line until a worker is to be had. */

typedef struct TaskQueue TaskQueue;
typedef struct Task Task;

/* Once, when the job has ended; the task is gone afterwards. */
typedef void (*task_done_t)(Job *job, void *userdata);

int task_queue_new(sd_event *event, const Store *store, unsigned workers_max, TaskQueue **ret);
TaskQueue *task_queue_free(TaskQueue *q);

/* The descriptors of a JOB_CLOSE are consumed, even on error. -EWOULDBLOCK: a worker of an earlier daemon is still at work on one of the sets. */
int task_start(TaskQueue *q, Job *job, task_done_t done, void *userdata, Task **ret);
/* The job as it stands; NULL while it waits in line. */
const Job *task_progress(const Task *t);
/* How long it has been running, in microseconds. */
uint64_t task_age(const Task *t);
