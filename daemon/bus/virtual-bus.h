/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Device.SetVirtualFunctions. */
int virtual_bus_method_set(sd_bus_message *m, void *userdata, sd_bus_error *error);
