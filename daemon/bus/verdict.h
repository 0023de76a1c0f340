/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"
#include "core/finding.h"

/* From findings to the answer of a call: what it is refused for, and what polkit has to be asked. */

/* The first that blocks, NULL if none does. about_request: only what nobody has to be asked, and nothing looked at, to refuse for. */
const Finding *verdict_first_block(const Findings *findings, bool about_request);

int verdict_refuse(Bus *bus, sd_bus_message *m, const Client *client, const Finding *f);
/* Answers a call that goes wrong before anything is begun: with error if that is set, else with r. Clears the error, with which sd-bus
 * would answer once more. */
int verdict_give_up(Bus *bus, sd_bus_message *m, const Client *client, int r, sd_bus_error *error);

/* "a(ssssa{sv})" of findings. */
int verdict_append(sd_bus_message *reply, const Findings *findings);

/* Asks polkit for each authorization among the findings. charged: in whose name the client asks, NULL: its own. 1: all are granted.
 * 0: polkit is being asked. Negative: denied, and error is set. */
int verdict_authorize(Bus *bus, sd_bus_message *m, const Client *client, const Client *charged,
                      const Findings *findings, sd_bus_error *error);
