/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Lease.AttachPasid and Lease.DetachPasid. */
int pasid_bus_method_attach(sd_bus_message *m, void *userdata, sd_bus_error *error);
int pasid_bus_method_detach(sd_bus_message *m, void *userdata, sd_bus_error *error);
