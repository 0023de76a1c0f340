/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "broker/store.h"

/* The read end of a lease's FIFO. The client has the write end; when its last copy is closed, the lease ends. A FIFO survives a
 * restart of the daemon: it is opened again by its name. */

typedef struct Lifeline Lifeline;

typedef void (*lifeline_ended_t)(void *userdata);

/* Makes the FIFO and returns its write end, to be handed to the client and closed here. */
int lifeline_create(const Store *s, const char *id, Lifeline **ret, int *ret_write_end);
/* Opens it after a restart. 1: somebody still holds it. 0: nobody does. -ENOENT: it is not there. */
int lifeline_reopen(const Store *s, const char *id, Lifeline **ret);
/* From now on ended is called, once, when nobody holds it any more. */
int lifeline_watch(Lifeline *l, sd_event *event, lifeline_ended_t ended, void *userdata);
/* Is this the write end of it? */
bool lifeline_is(const Lifeline *l, int fd);
Lifeline *lifeline_free(Lifeline *l);
