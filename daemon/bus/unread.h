/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/call.h"

/* Descriptors that were sent and are perhaps not read. Until the client's socket takes them they lie in the bus, and dbus-daemon counts
 * them as ours: with 64 of them (max_incoming_unix_fds) it listens to us no more, for nobody's sake. So they are bounded, for each user
 * and for all. Only the bus knows what has left it; it is asked (Debug.Stats) when a bound is reached. */

#define UNREAD_PER_USER_MAX 24
#define UNREAD_MAX          56

typedef struct Unread Unread;

typedef struct UnreadList {
        Unread *first;
        CallList *calls;
} UnreadList;

/* May n more descriptors (a message's worth at most) be sent in answer to this call? 1: yes, and they are noted. 0: the bus is being
 * asked, and the message comes back to its handler. Negative: no, and error is set. */
int unread_admit(UnreadList *list, Call *c, size_t n, sd_bus_error *error);
void unread_list_clear(UnreadList *list);
