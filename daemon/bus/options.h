/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/request.h"

/* Decodes what a client sends. Each returns a negative errno with error set; unknown options, options given twice and values of the
 * wrong type are errors, never ignored. */

typedef struct Options {
        bool has_as;
        uid_t as;     /* whom to judge for, of Explain */
        bool runtime; /* a limit that is to hold until reboot only */
        int for_fd;   /* pidfd of the process to charge, borrowed from the message; -EBADF if not given */
} Options;

typedef enum OptionSet {
        OPTIONS_ACQUIRE,
        OPTIONS_EXPLAIN,
        OPTIONS_ADD,
        OPTIONS_CHOOSE_DRIVER,
        OPTIONS_VIRTUAL,
        OPTIONS_LIMIT,
        OPTIONS_NONE,
} OptionSet;

/* "as": addresses, at least one unless may_be_empty. */
int options_read_devices(sd_bus_message *m, bool may_be_empty, AddressList *ret, sd_bus_error *error);
/* "h": borrowed from the message. */
int options_read_fd(sd_bus_message *m, int *ret, sd_bus_error *error);
/* "a{sv}": fills in the request; what is not given has its default. */
int options_read(sd_bus_message *m, OptionSet set, Request *request, Options *ret, sd_bus_error *error);
/* "a{sv}" of a call that has no options yet. */
int options_read_none(sd_bus_message *m, sd_bus_error *error);
