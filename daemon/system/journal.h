/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/policy.h"

/* What the daemon tells the journal. Every grant, refusal and return is a structured message, so that
 * "journalctl -u iommud IOMMUD_DEVICE=0000:01:00.0" is the history of a device. Priorities are those of syslog.h. */

void journal_log(int priority, const char *format, ...) _printf_(2, 3);
/* Logs and returns r, for "return journal_error(r, ...)"; %m is not set. */
int journal_error(int r, const char *format, ...) _printf_(2, 3);

void journal_granted(const Lease *l);
void journal_refused(uid_t uid, pid_t pid, const char *error_name, const char *text);
/* A client begins to change the number of virtual functions of a device. */
void journal_virtual_functions(const Caller *caller, Address a, uint32_t n);
void journal_lease_ended(const Lease *l, const char *reason);
void journal_device_returned(const Lease *l, const LeaseDevice *d, const char *driver);
void journal_device_broken(const Lease *l, const LeaseDevice *d, const char *reason);
