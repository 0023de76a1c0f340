/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <getopt.h>
#include <stdint.h>

#include "bus.h"

/* What is asked of Acquire and Explain, from the command line to their arguments "as" and "a{sv}". */

#define ADDRESS_MAX 20
#define REQUEST_MAX 256

typedef struct AddressList {
        char items[REQUEST_MAX][ADDRESS_MAX];
        size_t n;
} AddressList;

typedef struct Request {
        AddressList devices, members;
        const char *hand_over, *driver, *reservation;
        uint32_t pasids;
        uint64_t wait_usec;
        uint32_t as;
        bool has_pasids, has_wait, has_as, force_in_use, no_restore, reset_set;
} Request;

enum {
        REQUEST_MEMBERS = 0x100,
        REQUEST_HAND_OVER,
        REQUEST_DRIVER,
        REQUEST_PASIDS,
        REQUEST_RESET_SET,
        REQUEST_FORCE_IN_USE,
        REQUEST_NO_RESTORE,
        REQUEST_RESERVATION,
        REQUEST_WAIT,
        REQUEST_AS,
};

#define REQUEST_OPTION(name, argument, value) { name, argument, NULL, value }

/* Of plug, and of all others that ask for devices. */
#define REQUEST_ADD_OPTIONS                                                                                            \
        REQUEST_OPTION("members", required_argument, REQUEST_MEMBERS),                                                 \
                REQUEST_OPTION("driver", required_argument, REQUEST_DRIVER),                                           \
                REQUEST_OPTION("force-in-use", no_argument, REQUEST_FORCE_IN_USE),                                     \
                REQUEST_OPTION("reservation", required_argument, REQUEST_RESERVATION)

/* Of acquire, run and explain; a verb adds its own and --wait or --as. */
#define REQUEST_OPTIONS                                                                                                \
        REQUEST_ADD_OPTIONS, REQUEST_OPTION("hand-over", required_argument, REQUEST_HAND_OVER),                        \
                REQUEST_OPTION("pasids", required_argument, REQUEST_PASIDS),                                           \
                REQUEST_OPTION("reset-set", no_argument, REQUEST_RESET_SET),                                           \
                REQUEST_OPTION("no-restore", no_argument, REQUEST_NO_RESTORE)

/* The help texts of both. */
#define REQUEST_ADD_HELP                                                                                               \
        "      --members ADDRESS,...  other members of the groups to take from their drivers\n"                        \
        "      --driver NAME          the VFIO driver, instead of the best match\n"                                    \
        "      --force-in-use         take devices although the host uses them\n"                                      \
        "      --reservation NAME     use this reservation and no other\n"
#define REQUEST_HELP                                                                                                   \
        REQUEST_ADD_HELP                                                                                               \
        "      --hand-over FORM       unbound, attached, group, node or none\n"                                        \
        "      --pasids N             book N PASIDs\n"                                                                 \
        "      --reset-set            take all that a hot reset hits, so that it works\n"                              \
        "      --no-restore           do not give the devices back to their host drivers\n"

/* An address as the kernel writes it, from that or from the short form "01:00.0". */
bool address_parse(const char *s, char ret[static ADDRESS_MAX]);

/* These return 0, or a usage error's exit status with the error said. */
int request_add_device(Request *q, const char *address);
/* Takes getopt_long's result; c must be one of REQUEST_*. */
int request_option(Request *q, int c, const char *argument);

/* Appends the arguments of Acquire and Explain. Says what went wrong. */
int request_append(const Request *q, sd_bus_message *m);

/* A whole verb that asks for devices: reads the command line (options: REQUEST_OPTIONS, "json" as 'j', "help" as 'h') and acts. */
int request_run(int argc, char **argv, const struct option *options, const char *help,
                int (*act)(const Request *q, bool json));
