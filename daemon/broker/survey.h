/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* What only configuration space tells of a device is read once, when the device is first seen, and in a worker: to read there can
 * take long, and wakes a device that sleeps. */

/* Starts on all devices that were not surveyed yet, unless a survey is under way: its end begins the next one. */
void survey_start(Broker *b);
