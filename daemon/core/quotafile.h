/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "core/quota.h"

/* The limits that were set on the bus, as the text that is kept: "LIMIT PATH" lines, closed by END so that a file that was cut short is
 * known. Pure: no file is touched here. */

#define QUOTAFILE_SIZE_MAX (1u << 20)

/* Gives the text, to be freed. -E2BIG, -ENOMEM. */
int quotafile_encode(const QuotaSettings *s, char **ret, size_t *ret_size);
/* Reads such a text. -EBADMSG with why for whatever quotafile_encode() would not have written; -ENOMEM with why, too. */
int quotafile_decode(const char *text, size_t size, QuotaSettings *ret, char why[static 128]);
