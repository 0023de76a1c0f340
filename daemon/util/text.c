/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <strings.h>

#include "text.h"

bool text_copy(char *buf, size_t size, const char *s) {
        size_t length = strlen(s);

        if (length >= size) {
                buf[0] = '\0';
                return false;
        }
        memcpy(buf, s, length + 1);
        return true;
}

void text_append(char *buf, size_t size, const char *format, ...) {
        size_t used = strlen(buf);
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(buf + used, size - used, format, ap);
        va_end(ap);
        if (n >= 0 && (size_t) n >= size - used && size >= 4)
                memcpy(buf + size - 4, "...", 4);
}

static int to_number(const char *s, int base, uint64_t max, uint64_t *ret) {
        unsigned long long v;
        char *end;

        /* strtoull takes signs and white space, which no number of ours has. */
        if (!isxdigit((unsigned char) s[0]))
                return -EINVAL;
        errno = 0;
        v = strtoull(s, &end, base);
        if (*end != '\0' || end == s)
                return -EINVAL;
        if (errno == ERANGE || v > max)
                return -ERANGE;
        *ret = v;
        return 0;
}

int text_to_u64(const char *s, uint64_t max, uint64_t *ret) {
        return to_number(s, 10, max, ret);
}

int text_to_hex(const char *s, uint64_t max, uint64_t *ret) {
        if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
                s += 2;
        /* strtoull would take a second prefix. */
        if (s[0] == '0' && (s[1] == 'x' || s[1] == 'X'))
                return -EINVAL;
        return to_number(s, 16, max, ret);
}

int text_to_size(const char *s, uint64_t *ret) {
        static const char units[] = "KMGT";
        char digits[24];
        size_t length = strlen(s);
        unsigned shift = 0;
        uint64_t v;
        int r;

        if (streq(s, "infinity")) {
                *ret = UINT64_MAX;
                return 0;
        }
        if (length == 0 || length >= sizeof(digits))
                return -EINVAL;
        memcpy(digits, s, length + 1);
        const char *unit = strchr(units, toupper((unsigned char) s[length - 1]));
        if (unit && *unit) {
                shift = 10 * (unsigned) (unit - units + 1);
                digits[length - 1] = '\0';
        }
        r = text_to_u64(digits, UINT64_MAX >> shift, &v);
        if (r < 0)
                return r;
        *ret = v << shift;
        return 0;
}

int text_to_bool(const char *s, bool *ret) {
        static const char *const yes[] = { "yes", "true", "on", "1" }, *const no[] = { "no", "false", "off", "0" };

        for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
                if (strcasecmp(s, yes[i]) == 0 || strcasecmp(s, no[i]) == 0) {
                        *ret = strcasecmp(s, yes[i]) == 0;
                        return 0;
                }
        }
        return -EINVAL;
}

bool text_next_word(const char **s, const char **ret_word, size_t *ret_length) {
        const char *p = *s + strspn(*s, " \t");
        size_t length = strcspn(p, " \t");

        *s = p + length;
        *ret_word = p;
        *ret_length = length;
        return length > 0;
}

bool text_has_word(const char *words, const char *word) {
        const char *w;
        size_t n;

        while (text_next_word(&words, &w, &n))
                if (n == strlen(word) && memcmp(w, word, n) == 0)
                        return true;
        return false;
}

bool text_is_printable(const char *s) {
        for (; *s; s++)
                if (!isprint((unsigned char) *s) || (unsigned char) *s >= 0x80)
                        return false;
        return true;
}

bool text_has_suffix(const char *s, const char *suffix) {
        size_t n = strlen(s), m = strlen(suffix);

        return n > m && streq(s + n - m, suffix);
}
