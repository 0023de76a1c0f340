/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Virtual functions that a worker takes off their VFIO drivers although nobody leases them: before their number changes, and before their
 * physical function leaves its driver. The worker puts back what stays; should it be killed, and the daemon with it, a mark (core/mark.h)
 * tells the next daemon what is missing. */

/* As task_start(), of a job that may take some of its devices' virtual functions off... */
int taken_start(Broker *b, Job *job, task_done_t done, void *userdata, Task **ret);
/* ... and to be called when it has ended. */
void taken_settle(Broker *b, const Job *job);
/* What an earlier daemon has left; after the marks and the leases are read. */
void taken_settle_all(Broker *b);
