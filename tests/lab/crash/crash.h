/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kernel/kernel.h"
#include "worker/job.h"

/* A daemon that can be killed at each of its points; see points.py and crash.c. */

void crash_point(const char *name);

/* The kinds of jobs, in words. */
extern const char *const crash_jobs[_JOB_KIND_MAX];

/* Puts a point before each operation that changes something. */
void crash_stand_before(const KernelOps **ops);
