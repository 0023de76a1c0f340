/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pasid.h"

static const char *const enforcements[_ENFORCEMENT_MAX] = {
        [ENFORCEMENT_NONE] = "none",
        [ENFORCEMENT_GROUP] = "group",
        [ENFORCEMENT_KERNEL] = "kernel",
};

const char *enforcement_to_string(Enforcement e) {
        return (unsigned) e < _ENFORCEMENT_MAX ? enforcements[e] : "invalid";
}
