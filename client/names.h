/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "json.h"

#define NAMES_USER_MAX 64

/* "Vendor Model" of a device with these properties: as iommud says, else from pci.ids, else the bare ids "[8086:10d3]". */
void names_device(sd_json_variant *device, char *buf, size_t size);

/* "Non-Volatile memory controller [010802]". */
void names_class(uint32_t class, char *buf, size_t size);

/* The name of a user, or the number of one that has none. */
void names_user(uint64_t uid, char *buf, size_t size);
