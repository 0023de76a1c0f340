/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/store.h"
#include "worker/worker.h"

/* Jobs on their way: each takes the locks of its reset sets and a worker, or waits in line until a worker is to be had. */

typedef struct TaskQueue TaskQueue;
typedef struct Task Task;

/* Once, when the job has ended; the task is gone afterwards. */
typedef void (*task_done_t)(Job *job, void *userdata);

int task_queue_new(sd_event *event, Kernel *kernel, const Store *store, unsigned workers_max, TaskQueue **ret);
TaskQueue *task_queue_free(TaskQueue *q);

/* The descriptors of a JOB_CLOSE are consumed, even on error. -EWOULDBLOCK: another worker has the lock of one of the sets, perhaps one
 * of an earlier daemon. ret: NULL for who will not ask how it stands. */
int task_start(TaskQueue *q, Job *job, task_done_t done, void *userdata, Task **ret);
/* Closes a descriptor in a worker: with the last copy of an iommufd the kernel unpins all memory that was mapped through it, and with
 * that of a device it resets the device. Nothing happens without one. */
void task_close(TaskQueue *q, int fd);
/* Has one of the jobs, in line or at work, the lock of this reset set? */
bool task_has_set(const TaskQueue *q, Address set);
/* -EWOULDBLOCK: a worker of an earlier daemon has it. 0: none has, or one of ours. */
int task_check_set(const TaskQueue *q, Address set);
/* The job as it stands; NULL while it waits in line. */
const Job *task_progress(const Task *t);
/* How long it has been running, in microseconds. */
uint64_t task_age(const Task *t);
