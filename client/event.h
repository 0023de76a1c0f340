/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus.h"
#include "json.h"

/* What happens in iommud, from its signals. */

typedef enum EventKind {
        EVENT_ADDED,   /* data: the properties */
        EVENT_REMOVED, /* data: none */
        EVENT_CHANGED, /* data: the properties that changed, null for those without their new value */
        EVENT_SIGNAL,  /* name, and its arguments as data */
        EVENT_STARTED, /* iommud has its bus name */
        EVENT_STOPPED, /* iommud has lost it */
        EVENT_LOST,    /* the bus is gone: nothing more will be heard */
} EventKind;

typedef struct Event {
        EventKind kind;
        const char *path, *interface, *name;
        sd_json_variant *data;
} Event;

typedef void (*EventHandler)(const Event *e, void *userdata);

typedef struct EventWatch {
        EventHandler handler;
        void *userdata;
        bool lost;
} EventWatch;

/* Subscribes; w must live as long as the bus. What happens from now on is queued until the bus is processed. Says what
 * went wrong. */
int event_watch(sd_bus *bus, EventWatch *w);

/* Handles events until *done, or until the bus is lost. */
int event_wait(sd_bus *bus, const EventWatch *w, const bool *done);
