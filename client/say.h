/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdio.h>

#include "util/macro.h"

/* One line of output. Names of processes, reasons and units are chosen by others and end on a terminal: control
 * characters come out as \x1b, line breaks included, so that nothing can forge a line or talk to the terminal. */
void say(FILE *f, const char *format, ...) _printf_(2, 3);

/* "iommuctl: ..." on stderr. */
void say_error(const char *format, ...) _printf_(1, 2);

/* The same for a wrong command line; returns its exit status. */
int say_usage(const char *format, ...) _printf_(1, 2);

/* -ENOMEM, having said so. */
int say_oom(void);

/* A help text on stdout; returns exit status 0. */
int say_help(const char *text);
