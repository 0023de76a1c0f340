/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* Proves the job's devices free by unbinding them from their VFIO drivers, resets them and gives them back to the host. Returns
 * -EBUSY and changes nothing if somebody is seen to have one open. Devices whose host driver does not come back have their
 * error set and are released all the same: nobody can reach them. */
int restore_run(Kernel *k, Job *job);

/* Gives an unbound device the driver and the override that it had, if the job says so; one that has the driver again keeps it. */
int restore_give_back(Kernel *k, const Job *job, JobDevice *d);

/* Puts back what a failed preparation has touched. Keeps the error of the device that failed. */
void restore_undo(Kernel *k, Job *job);
