/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "util/macro.h"

/* One inotify descriptor for the VFIO nodes of all leases. Workers inherit it and add the watches; an event says that a node's
 * last descriptor may be closed. It is a hint and never a count: equal events are merged, and the kernel's own release may
 * still be running (fs/file_table.c calls fsnotify_close before ->release). */

typedef struct Watch Watch;

/* closed: the watch descriptor, or -1 when events were lost and everything has to be looked at. */
typedef void (*watch_closed_t)(int wd, void *userdata);

/* fd: of an earlier daemon, from the fd store, or -EBADF for a new one; consumed. */
int watch_new(sd_event *event, int fd, watch_closed_t closed, void *userdata, Watch **ret);
/* From now on closed is called. What was closed before waits until then: nothing is known of leases while a daemon starts. */
int watch_begin(Watch *w);
int watch_fd(const Watch *w);
/* Is the descriptor an inotify one? */
bool watch_is(int fd);
/* A watch that is not needed any more. */
void watch_remove(Watch *w, int wd);
Watch *watch_free(Watch *w);
