/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "worker/job.h"

/* JOB_REQUEST: whoever has one of the devices and listens is told to let go of it. Says of each device whether somebody was. */
int revoke_request(Kernel *k, Job *job);
/* JOB_KILL, as the rule of the job lets it. Says whom it has killed, and who of the holders was left. */
int revoke_kill(Kernel *k, Job *job);
