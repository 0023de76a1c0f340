/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "system/client.h"

/* Calls that are not answered yet: they wait for polkit, for a look at the devices, for a device to become free, or for workers.
 * While it waits, a message is dispatched again and again, each time from the top; the call is what is known of it in between.
 * They are counted per user and bounded. */

typedef struct Call Call;

typedef struct CallList {
        Call *first;
        void *userdata; /* the Bus */
} CallList;

struct Call {
        Call *next; /* CallList::first */
        CallList *list;
        sd_bus_message *message;
        uid_t uid;
        Client *client; /* of the last dispatch */
        bool looking;   /* a look at the devices is under way */
        bool looked;    /* it has just ended: what the inventory says is fresh */
        int look_result;
        bool waiting;      /* for a device to become free */
        uint64_t deadline; /* of the wait, CLOCK_MONOTONIC, 0: not set */
        sd_event_source *timer;
        sd_bus_track *track; /* while it waits: whoever leaves the bus waits no more */
};

/* The call of this message, or NULL if it is new. */
Call *call_find(const CallList *list, sd_bus_message *m);
/* -EDQUOT: the user has too many already. */
int call_begin(CallList *list, sd_bus_message *m, uid_t uid, uint32_t per_user, Call **ret);
/* It was answered, or nobody wants the answer any more. */
Call *call_end(Call *c);
/* Puts the message in front of its handler once more. */
void call_again(Call *c);
/* Lets it wait for a device, until call_again() or the caller leaves the bus. */
int call_wait(Call *c);
/* All calls that wait for a device are tried again. */
void call_list_retry(CallList *list);
void call_list_clear(CallList *list);
