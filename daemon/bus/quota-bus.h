/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus/bus.h"

/* Manager.SetPasidLimit. */
int quota_bus_method_set_pasid_limit(sd_bus_message *m, void *userdata, sd_bus_error *error);
