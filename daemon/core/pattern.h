/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "util/macro.h"

/* Patterns as administrators write them: words with shell wildcards, none of which has more than PATTERN_WORD_MAX characters. */

#define PATTERN_WORD_MAX 255

/* True if one of the words matches, or if there are none. flags: of fnmatch(3). */
bool pattern_match(const char *words, const char *value, int flags);
