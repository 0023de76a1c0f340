/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* Does the job to its end, however long that takes; fills in the results. */
void work_run(Kernel *k, Job *job);
