/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* From here on this process can do what a running VMM does with descriptors that it has, and nothing else: every other system
 * call, and every other ioctl, fails with EPERM. Nothing can be opened, no device bound, none attached or detached. Cannot be
 * undone. Returns 0 or a negative errno. */
int sandbox_enter(void);
