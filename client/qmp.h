/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "json.h"

/* QEMU's monitor in JSON, by a socket that "-qmp unix:PATH,server=on,wait=off" made. All of these say what went wrong. */

typedef struct Qmp {
        FILE *stream;
        const char *device; /* its id; what is told of it sets these: */
        bool deleted;       /* the guest let go of it, and QEMU has removed it */
        bool kept;          /* the guest will not let go of it */
} Qmp;

#define QMP_ID_MAX 64

int qmp_open(const char *path, const char *device, Qmp *ret);
void qmp_close(Qmp *q);
#define _cleanup_qmp_ _cleanup_(qmp_close)

/* Runs a command, with a descriptor if fd >= 0, and waits for its end. Consumes arguments. -EREMOTE: QEMU refused. */
int qmp_execute(Qmp *q, const char *command, sd_json_variant *arguments, int fd);

/* Closes a descriptor that "getfd" has given to QEMU, unless a device has taken it. */
int qmp_close_fd(Qmp *q, const char *name);

/* Waits until the device is deleted or kept, for as long as the guest takes. */
int qmp_wait_deleted(Qmp *q);

/* The id that "plug" gives to a device, unless it is told another: that of 0000:01:00.0 is "iommud-0000-01-00.0". */
void qmp_device_id(const char *address, char ret[static QMP_ID_MAX]);
