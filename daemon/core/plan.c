/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdlib.h>

#include "core/plan.h"

void plan_clear(Plan *p) {
        free(p->devices);
        *p = (Plan) {};
}
