/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/call.h"
#include "core/ledger.h"

/* Answers that nobody reads. They lie in the bus, and dbus-daemon counts them as ours: with 127 MiB of them (max_incoming_bytes) it
 * listens to us no more, for nobody's sake. What sd-bus answers by itself, such as all objects, passes no code of ours, so it is bounded by
 * the calls: as soon as much may lie there, a call is answered only if little of what was sent to its connection lies unread. The fuller
 * it gets the less that may be. */

#define BACKLOG_FREE  (16u << 20) /* so much may lie unread before anybody is asked about */
#define BACKLOG_MAX   (64u << 20) /* then each connection may have a 64th of what is left to this ... */
#define BACKLOG_LEAST (64u << 10) /* ... and at least so much */
/* Calls of one connection that wait their turn: no more can be without an answer in dbus-daemon. As many that want none may wait beside
 * them, and more of those are dropped. */
#define BACKLOG_HELD 128

typedef struct Held Held;

typedef struct Backlog {
        const CallList *calls;
        const Ledger *ledger;
        sd_bus_slot *filter, *question;
        uint64_t unread;        /* bytes of ours that lay in the bus when it was asked */
        uint64_t since, before; /* what the answers since then may add at most, and that when it was asked anew */
        Held *first;            /* calls that wait, in their order */
} Backlog;

/* Looks at each call before anything else does. */
int backlog_begin(Backlog *b, sd_bus *bus, const CallList *calls, const Ledger *ledger);
void backlog_clear(Backlog *b);
