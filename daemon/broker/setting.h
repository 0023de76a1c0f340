/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Sets limits of PASIDs, one after the other: each counts when it is written down, and for those that are to outlive the machine a worker
 * waits for the disk, and so do those that come after. */

/* result: 0, or why it could not be written down: then nothing has changed, unless it is the one until reboot that stays beside a new one. */
typedef void (*setting_done_t)(int result, void *userdata);

/* Sets the limit of a cgroup, until reboot or for good; QUOTA_UNLIMITED takes back what was set. What is booked already stays. done is
 * called exactly once, perhaps at once; a negative errno means that it will not be. -ENOENT: there is no such cgroup. -EPERM: it is below a
 * delegated one, whose path is in boundary then. -E2BIG: it is too deep. -EOPNOTSUPP: there is no cgroup v2. -ENOMEM. */
int setting_start(Broker *b, const char *cgroup, uint64_t limit, bool runtime, char boundary[static QUOTA_PATH_MAX],
                  setting_done_t done, void *userdata);
void setting_forget_all(Broker *b);
