/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kernel/hostsearch.h"

/* Addresses, routes and bridges of the interfaces collected. */
int hostnet_read(HostSearch *s);
/* dirfd is the directory of an interface. */
int hostnet_collect(HostSearch *s, int dirfd, const char *name);
