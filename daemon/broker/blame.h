/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Says in words why a job failed: the kernel's errnos are ambiguous (EPERM of a claim has three causes), so it looks again. */

void blame_job(Broker *b, const Lease *l, const Job *job, JobFailure *ret);
void blame_text(JobFailure *ret, const char *error_name, const char *format, ...) _printf_(3, 4);
