/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* KernelOps.load_module. Without may_load (root is not /) only what the tree shows as loaded is found. */
int module_load(int root_fd, bool may_load, const char *module, char driver[NAME_MAX_LEN]);
