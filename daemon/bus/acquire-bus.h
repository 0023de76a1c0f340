/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Manager.Acquire, Lease.AddDevices and Manager.Explain: the calls that judge a request. */
int acquire_bus_method_acquire(sd_bus_message *m, void *userdata, sd_bus_error *error);
int acquire_bus_method_explain(sd_bus_message *m, void *userdata, sd_bus_error *error);
int acquire_bus_method_add_devices(sd_bus_message *m, void *userdata, sd_bus_error *error);
