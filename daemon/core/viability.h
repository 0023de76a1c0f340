/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/finding.h"
#include "core/inventory.h"
#include "core/request.h"

/* What keeps a group from being owned by user space, whoever asks: appends blocking findings about members on host drivers that are
 * not in spared (may be NULL), direct regions, missing isolation. A group without such findings is viable. */
void viability_judge(const Inventory *inv, const Group *g, const AddressList *spared, Findings *findings);
