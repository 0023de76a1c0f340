/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <getopt.h>
#include <stddef.h>
#include <stdint.h>

/* The end of a lease, by revocation: what the verbs release and revoke have in common. */

enum {
        ENDING_REASON = 0x100,
        ENDING_NO_WAIT,
        ENDING_DEADLINE,
};

/* A verb may add --deadline. */
#define ENDING_OPTIONS                                                                                                 \
        { "reason", required_argument, NULL, ENDING_REASON }, { "no-wait", no_argument, NULL, ENDING_NO_WAIT },        \
                { "help", no_argument, NULL, 'h' }

/* Revokes the lease that the command line names by its id, a unique beginning of it, or its object path. seconds: what its client is
 * given if --deadline does not say. Returns the verb's exit status. */
int ending_run(int argc, char **argv, const struct option *options, const char *help, const char *verb,
               uint64_t seconds);
