/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/health.h"

/* What there is in /run/iommud, whether it is ours or not. Changes nothing; a lock is tried for a moment, for which
 * nobody else is to want it: the daemon itself, or nobody while there is none. It is a tmpfs: nothing here waits for a disk. */

/* root_fd: of the directory. The list is to be freed; files that are being written are not in it. Locks of the caller's own count, too. */
int inspect_state(int root_fd, StateEntry **ret, size_t *ret_n);
