/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* Gives the job's first device as many virtual functions as it says; the other devices are those that it has. Returns -EBUSY and
 * changes nothing if one of those is seen to be held open. On failure everything is as it was. */
int virtual_run(Kernel *k, Job *job);
