/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"
#include "core/finding.h"

/* The daemon's own view of its health, as of now: what it knows, and what /run/iommud has. Quick. */
int checkup_run(const Broker *b, Findings *ret);
