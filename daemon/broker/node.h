/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "broker/broker.h"

/* Who may open the groups' nodes, /dev/vfio/22: nobody but the users of active leases with the hand-over node. An access control list
 * goes with the node when the group's last device leaves its VFIO driver, but not with a daemon that is killed. */

/* Lets the lease's user open the nodes of its groups. On failure *culprit is the group. */
int node_grant(Broker *b, const Lease *l, int *culprit);
/* Nobody can open them any more; who has one open keeps it. */
void node_revoke(Broker *b, const Lease *l);
/* At start: each node gets the list that its group's lease gives it, whatever an earlier daemon left and whether its lease file can
 * be read or not. */
void node_settle(Broker *b);
