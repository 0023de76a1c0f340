/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* iommud --check: do the kernel, the configuration, /run/iommud and the bus agree? Looks beside the daemon that runs, or without
 * one, and changes nothing. */

enum {
        CHECK_WELL,
        CHECK_OFF,         /* something is not as it should be */
        CHECK_CANNOT_TELL, /* what could be seen is well, and something could not be seen */
};

/* Tells on standard output, a line each. Returns one of the above: the exit status. */
int check_run(const char *config_root, const char *runtime_directory);
