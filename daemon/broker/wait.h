/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/run.h"

/* What the devices of a release wait for, as their StateReason says it. */

/* As long as nobody has looked who has it. */
#define WAIT_OPEN "a descriptor of it is still open"

/* Could somebody still have a descriptor of it, as far as we know? */
bool wait_may_be_open(const LeaseRun *run, const LeaseDevice *d);
bool wait_is_part_open(const LeaseRun *run, const LeasePart *part);

/* Says it of each device that has to go. */
void wait_describe(LeaseRun *run);
/* Says it of the devices of a part, until somebody has looked closer. Returns true if it was not said yet. */
bool wait_note(LeaseRun *run, const LeasePart *part, const char *what);
