/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/lease.h"

/* A lease as the text that is kept in /run/iommud/leases: KEY=value lines, closed by END=1 so that a file that was cut
 * short is known. Pure: no file is touched here. */

#define LEASEFILE_SIZE_MAX   (1u << 20)
#define LEASEFILE_UNIT_MAX   256 /* with the NUL */
#define LEASEFILE_CGROUP_MAX CGROUP_PATH_MAX

/* Gives the text of a lease, to be freed. -EINVAL if the lease has values that could not be read back (a newline in a
 * name, a number out of its range), -E2BIG if it has more than REQUEST_DEVICES_MAX devices, -ENOMEM. */
int leasefile_encode(const Lease *l, char **ret, size_t *ret_size);

/* Reads such a text. -EBADMSG with why for whatever leasefile_encode() would not have written: there is no guessing
 * what a damaged file meant, since devices are bound and unbound by what it says. -ENOMEM with why, too. */
int leasefile_decode(const char *text, size_t size, Lease **ret, char why[static 128]);
