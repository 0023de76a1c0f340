/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fnmatch.h>

#include "pattern.h"
#include "util/text.h"

bool pattern_match(const char *words, const char *value, int flags) {
        const char *word;
        size_t length;

        if (isempty(words))
                return true;
        while (text_next_word(&words, &word, &length)) {
                char pattern[PATTERN_WORD_MAX + 1];

                /* The reader of the configuration refuses longer words. */
                if (length >= sizeof(pattern))
                        continue;
                memcpy(pattern, word, length);
                pattern[length] = '\0';
                if (fnmatch(pattern, value, FNM_NOESCAPE | flags) == 0)
                        return true;
        }
        return false;
}
