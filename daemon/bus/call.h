/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/request.h"
#include "system/client.h"
#include "system/polkit.h"

/* Calls that are not answered yet: they wait to know who calls, for polkit, for a look at the devices, for a device to become free,
 * or for workers.
 * While it waits, a message is dispatched again and again, each time from the top; the call is what is known of it in between.
 * They are counted per user and bounded. */

typedef struct Call Call;

typedef struct CallList {
        Call *first;
        Polkit *polkit;
        void *userdata; /* the Bus */
} CallList;

struct Call {
        Call *next; /* CallList::first */
        CallList *list;
        sd_bus_message *message;
        sd_bus_slot *slot;           /* while the bus is asked who calls */
        sd_bus_message *credentials; /* its answer */
        bool counted;                /* the uid is known, and has not too many calls */
        uid_t uid;
        bool proven;    /* the lifeline was shown */
        Client *client; /* who is charged, once work has begun */
        bool looking;   /* a look at the devices is under way */
        bool looked;    /* it has just ended: what the inventory says is fresh */
        int look_result;
        bool ready; /* what was asked for is there, and has yet to be handed out: */
        char lease[LEASE_ID_LEN + 1];
        AddressList *added; /* to the lease that was there before, NULL: all of it */
        bool asking;        /* the bus, whether earlier descriptors were read, see unread.h */
        bool asked;
        bool waiting;      /* for a device to become free */
        uint64_t deadline; /* of the wait, CLOCK_MONOTONIC, 0: not set */
        sd_event_source *timer;
        sd_bus_track *track; /* while it waits: whoever leaves the bus waits no more */
};

/* The call of this message, or NULL if it is new. */
Call *call_find(const CallList *list, sd_bus_message *m);
/* A new one. The bus is asked who calls; then the message comes back to its handler. -EDQUOT: its connection alone has as many as a
 * user may have. */
int call_begin(CallList *list, sd_bus_message *m, uint32_t per_user);
/* -EDQUOT: the user has too many already. */
int call_count(Call *c, uid_t uid, uint32_t per_user);
/* Answers with nothing but that it is done. */
void call_answer(Call *c);
/* It was answered, or nobody wants the answer any more. */
Call *call_end(Call *c);
/* Puts the message in front of its handler once more. */
void call_again(Call *c);
/* The look that it waited for has ended; a look_done_t. */
void call_on_looked(int result, void *userdata);
/* Lets it wait for a device, until call_again() or the caller leaves the bus. */
int call_wait(Call *c);
/* All calls that wait for a device are tried again. */
void call_list_retry(CallList *list);
/* The bus has answered all questions: those that wait for it come back. */
void call_list_asked(CallList *list);
void call_list_clear(CallList *list);
