/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "say.h"
#include "verb.h"

/* Length of the control character at s, 0 for anything else. U+0080 to U+009F are controls too: some terminals obey
 * them. */
static size_t control_length(const unsigned char *s) {
        if (s[0] < 0x20 || s[0] == 0x7f)
                return 1;
        if (s[0] == 0xc2 && s[1] >= 0x80 && s[1] < 0xa0)
                return 2;
        return 0;
}

static void print_escaped(FILE *f, const char *text) {
        const unsigned char *s = (const unsigned char *) text;

        while (*s) {
                size_t n = control_length(s);

                if (n == 0)
                        fputc(*s++, f);
                for (; n > 0; n--)
                        fprintf(f, "\\x%02x", *s++);
        }
        fputc('\n', f);
}

static _printf_(3, 0) void say_v(FILE *f, const char *prefix, const char *format, va_list ap) {
        _cleanup_free_ char *text = NULL;

        fputs(prefix, f);
        if (vasprintf(&text, format, ap) < 0) {
                text = NULL;
                fputs("out of memory\n", f);
                return;
        }
        print_escaped(f, text);
}

void say(FILE *f, const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say_v(f, "", format, ap);
        va_end(ap);
}

void say_error(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say_v(stderr, "iommuctl: ", format, ap);
        va_end(ap);
}

int say_usage(const char *format, ...) {
        va_list ap;

        va_start(ap, format);
        say_v(stderr, "iommuctl: ", format, ap);
        va_end(ap);
        return VERB_USAGE;
}

int say_oom(void) {
        say_error("out of memory");
        return -ENOMEM;
}

int say_help(const char *text) {
        fputs(text, stdout);
        return 0;
}
