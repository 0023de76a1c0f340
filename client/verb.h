/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs, one file each. A verb gets its own arguments (argv[0] names the program, for getopt's messages) and
 * returns the exit status, or a negative errno for a failure that it has already told the user about: exit status 1. */

enum {
        VERB_USAGE = 2, /* the exit status of a wrong command line */
};

int verb_list(int argc, char **argv);
int verb_tree(int argc, char **argv);
int verb_show(int argc, char **argv);
int verb_explain(int argc, char **argv);
int verb_acquire(int argc, char **argv);
int verb_run(int argc, char **argv);
int verb_plug(int argc, char **argv);
int verb_unplug(int argc, char **argv);
int verb_release(int argc, char **argv);
int verb_revoke(int argc, char **argv);
int verb_vfs(int argc, char **argv);
int verb_quota(int argc, char **argv);
int verb_health(int argc, char **argv);
int verb_monitor(int argc, char **argv);
