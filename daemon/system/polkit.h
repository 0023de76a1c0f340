/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "core/policy.h"

/* Asks polkit without waiting for it.
 *
 *   1. A handler that changes nothing yet calls polkit_check() for each authorization that it needs.
 *   2. The first time that sends CheckAuthorization and returns 0; the handler returns 1, "not answered yet".
 *   3. When polkit has answered, the same message is put back in front of the handler, which starts all over: nothing that it
 *      had looked up is trusted, since a person may have thought about it for minutes.
 *   4. polkit_check() now finds the verdict on this question, word for word, and returns 1, or an error that is set.
 *   5. When the message is answered, or nobody wants the answer any more, polkit_forget() is called. Verdicts are never kept from one
 *      call to the next: that is what auth_admin_keep is for.
 */

typedef struct Polkit Polkit;

typedef struct PolkitQuestion {
        const char *action;
        const char *device; /* address, lease id or path of a cgroup */
        /* for site rules; NULL is left out. The unit is the caller's */
        const char *ids, *group, *driver, *reservation, *unit;
        const Caller *charged; /* the process in whose name the caller asks, NULL: its own */
        bool yes_if_absent;    /* a machine without polkit need not have it for this */
} PolkitQuestion;

/* Has polkit been told of our actions? Also true where there is no polkit. */
bool polkit_has_actions(const char *root);

Polkit *polkit_new(void);
Polkit *polkit_free(Polkit *p);

/* 1: allowed. 0: asked. Negative: denied, and error is set. */
int polkit_check(Polkit *p, sd_bus_message *call, const PolkitQuestion *q, sd_bus_error *error);
void polkit_forget(Polkit *p, sd_bus_message *call);
