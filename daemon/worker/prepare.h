/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* Takes the job's devices from the host, binds them to their VFIO drivers, sees that the kernel grants ownership, and opens
 * what is to be handed over. On failure everything is undone; what could not be undone stays with touched set. */
int prepare_run(Kernel *k, Job *job);
