/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Virtual functions that a worker takes off their VFIO drivers although nobody leases them: before their number changes, and before their
 * physical function leaves its driver. The worker puts back what stays; should it be killed, and the daemon with it, a mark (core/mark.h)
 * tells the next daemon what is missing. */

/* To be called before a job begins that may take some of its devices' virtual functions off... */
void taken_note(Broker *b, const Job *job);
/* ... and when it has ended. */
void taken_settle(Broker *b, const Job *job);
/* What an earlier daemon has left; after the marks and the leases are read. */
void taken_settle_all(Broker *b);
