/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/inotify.h>

typedef void (*inotify_event_t)(const struct inotify_event *e, void *userdata);

/* Reads the events that have come, some at a time: what is left keeps the descriptor readable. Returns 0 or a negative errno. */
int inotify_read(int fd, inotify_event_t event, void *userdata);
