/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "grant.h"

/* The placeholders in a command: {iommufd}, {container}, {group} (that of the first device), {lifeline}, {ioas}, {0}, {1}
 * ... (decimal, no leading zeros: the devices in their order). Exactly these are replaced, wherever they stand in an argument; every other brace stays as it is, and so does
 * a placeholder behind a "$": ${1} belongs to a shell. So JSON needs no escapes: {"fd":"{0}"} has one placeholder and
 * stays JSON. */

/* Returns 0, or a usage error's exit status if a placeholder names what q will not bring. command[0] is no argument. */
int fill_check(char *const *command, const Request *q);

/* The command with numbers instead of placeholders. Says what went wrong. */
int fill_command(char *const *command, const Request *q, const Grant *g, char ***ret);

char **fill_free(char **command);
DEFINE_CLEANUP(char *, fill_free)
