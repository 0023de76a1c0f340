/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* Says in words why a job failed: the kernel's errnos are ambiguous (EPERM of a claim has three causes), so it looks again. */

void blame_job(Broker *b, const Lease *l, const Job *job, JobFailure *ret);
void blame_text(JobFailure *ret, const char *format, ...) _printf_(2, 3);
/* The same text, but the devices are busy. */
void blame_busy(JobFailure *ret);
