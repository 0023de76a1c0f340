/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/facts.h"

/* KernelOps.find_holders and .request_device. */
int holders_find(int root_fd, Address a, Holders *ret);
int holders_request(int root_fd, Address a, int pid);
