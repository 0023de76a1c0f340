/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/policy.h"

/* The administrator's files: /etc/iommud/iommud.conf, and of /usr/lib/iommud and /etc/iommud the reservations in
 * reservations.d and the limits of PASIDs in quota.d. A mistake in any of them is an error that names the place; nothing of a broken configuration is used,
 * since a rule that is left out may be the one that was to restrain another. */

/* Reads everything below root ("" for the machine's own; tests use a directory of the caller's). -EBADMSG with
 * "FILE:LINE: what is wrong and what would be right" in why, to be freed; -ENOMEM without. ret is untouched on error.
 * May ask NSS for users. */
int config_load(const char *root, Config *ret, char **why);

/* The same for the text of one file, without the file. The file is called NAME.conf in why. */
int config_parse_reservation(const char *name, const char *text, size_t size, Reservation *ret, char **why);
int config_quota_parse(const char *name, const char *text, size_t size, QuotaRule *ret, char **why);
int config_parse_limits(const char *text, size_t size, Limits *ret, char **why);
